"""A virtual environment with the official Azure ML SDK, in versions tried together: what the quickstart runs in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from uv import find_uv_bin

from smalt.cli.root import CliError

SDK = "1.35.2"
PACKAGES = (
    "azure-identity",
    "azureml-mlflow",
    "mlflow",
    "numpy",
    "pandas",
    "requests",
    "scikit-learn",
)
QUICKSTART = Path(__file__).with_name("quickstart")


def constraints(sdk: str = SDK) -> Path:
    """The versions of everything for that version of azure-ai-ml."""
    return QUICKSTART / f"constraints-{sdk}.txt"


def ensure(
    folder: Path, cache: Path, environment: Mapping[str, str], say: Callable[[str], None], sdk: str = SDK
) -> Path:
    """The environment's Python, made where missing, incomplete, or of other versions.

    Raises CliError with uv's words.
    """
    python, marker, wanted = folder / "bin" / "python", folder / ".complete", _digest(sdk)
    if python.exists() and marker.exists() and marker.read_text() == wanted:
        return python
    say(f"installing azure-ai-ml {sdk} and what goes with it into {folder}")
    uv = _Uv(find_uv_bin(), {**environment, "UV_CACHE_DIR": str(cache)})
    if folder.exists():
        shutil.rmtree(folder)
    uv.run("venv", "--python", sys.executable, str(folder))
    uv.run("pip", "install", "--python", str(python), "--constraint", str(constraints(sdk)), *_packages(sdk))
    marker.write_text(wanted)
    return python


class _Uv:
    def __init__(self, binary: str, environment: Mapping[str, str]) -> None:
        self._binary = binary
        self._environment = {name: value for name, value in environment.items() if name != "VIRTUAL_ENV"}

    def run(self, *arguments: str) -> None:
        """On a terminal uv shows its own progress; elsewhere only what went wrong is told."""
        quiet = not os.isatty(2)
        # A pyproject.toml in or above the working folder is somebody's project, whose constraints are not for us.
        command = [self._binary, "--project", "/", *arguments, *(["--no-progress"] if quiet else [])]
        done = subprocess.run(
            command, env=self._environment, stderr=subprocess.PIPE if quiet else None, text=True, check=False
        )
        if done.returncode != 0:
            words = "\n" + "\n".join(done.stderr.strip().splitlines()[-15:]) if quiet else ""
            raise CliError(f"uv {arguments[0]} failed; is the package index reachable?{words}")


def _packages(sdk: str) -> list[str]:
    return [f"azure-ai-ml=={sdk}", *PACKAGES]


def _digest(sdk: str) -> str:
    content = constraints(sdk).read_bytes() + "\n".join([*_packages(sdk), sys.version]).encode()
    return hashlib.sha256(content).hexdigest()
