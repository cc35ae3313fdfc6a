"""What the benchmarks need of the machine, looked for before the first of them begins: the list of what is missing.

python bench/needs.py [--azurite FOLDER] [--python PREFIX/bin/python]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import model_servers

ALL = ("deployment", "environments", "platform_blobs", "reading", "startup", "submit")
AZURITE = "node_modules/azurite/dist/src/blob/main.js"
_WITH_WRK = {"deployment", "platform_blobs"}


def missing(
    parts: Collection[str], azurite: Path | None, python: Path | None, with_peers: Collection[str] = ()
) -> list[str]:
    """One line for each thing that `parts` cannot do without and that is not here, with how to get it."""
    return [*_missing(set(parts), azurite, python), *_missing_of(with_peers)]


def check(parts: Collection[str], azurite: Path | None, python: Path | None, with_peers: Collection[str] = ()) -> None:
    """Ends the process with all that is missing. `with_peers`: names of other servers (`model_servers.py`)."""
    if lacking := missing(parts, azurite, python, with_peers):
        sys.exit("\n".join(["The benchmarks cannot begin:", *(f"- {one}" for one in lacking)]))


def _missing(parts: set[str], azurite: Path | None, python: Path | None) -> Iterator[str]:
    if parts & _WITH_WRK and not shutil.which("wrk"):
        yield "wrk, which sends the requests, is not on PATH (Debian: apt-get install wrk)"
    if "platform_blobs" in parts:
        if not shutil.which("node"):
            yield "node, which runs Azurite, is not on PATH (Debian: apt-get install nodejs npm)"
        if azurite is None:
            yield "Azurite, the peer of the blobs: npm install --prefix FOLDER azurite, then --azurite FOLDER"
        elif not (azurite / AZURITE).is_file():
            yield f"{azurite / AZURITE} is not there: npm install --prefix {azurite} azurite"
    if "deployment" in parts and python is not None and not _serves(python):
        yield f"{python} lacks azureml-inference-server-http, mlflow or scikit-learn; leave --python out and one is made"


def _missing_of(with_peers: Collection[str]) -> Iterator[str]:
    if with_peers and model_servers.uv() is None:
        yield "uv, which makes the environments of the other servers, is not on PATH: python -m pip install uv"
        return
    for name in with_peers:
        if why := model_servers.unresolved(name):
            yield f"{name}, with the model's packages, is not to be had from the package index: {why}"


def _serves(python: Path) -> bool:
    try:
        code = "import azureml_inference_server_http, mlflow, sklearn"
        return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--azurite", type=Path)
    parser.add_argument("--python", type=Path)
    given = parser.parse_args()
    check(ALL, given.azurite, given.python)
    print("Everything is here.")


if __name__ == "__main__":
    main()
