"""Nothing above the engine knows a path: kinds name blobs, environments and addresses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import smalt.kinds
from smalt.arm.ports import Blobs, Engine, Environments

FILES = sorted(Path(smalt.kinds.__file__).parent.rglob("*.py"))
# Sockets are no files of the store: `diagnose` asks at the one, the gateway is given the other as an address.
ALLOWED = {("diagnosis.py", "mlflow_socket"), ("routing.py", "asleep_socket")}
PLACES = r"\bsettings\.(root|blobs|envs|tasks|homes|tls|secrets|logs|gateway|run|\w+_socket)\b"


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_kinds_have_no_path_of_the_store(path: Path) -> None:
    text = path.read_text()
    assert not {"pathlib", "os", "shutil", "tempfile", "glob"} & set(imported(ast.parse(text)))
    assert not {(path.name, found) for found in re.findall(PLACES, text)} - ALLOWED
    assert "blobs.path" not in text


@pytest.mark.parametrize("port", [Blobs, Engine, Environments])
def test_no_port_of_theirs_gives_one(port: type) -> None:
    functions = [one for name, one in vars(port).items() if callable(one) and not name.startswith("_")]
    assert functions and not [one for one in functions if "Path" in str(one.__annotations__)]
