"""A virtual environment with an official client, in versions tried together: what the quickstart runs in."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from uv import find_uv_bin

from smalt.agent.whole_file import write_whole
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
    """The Python of an environment with that version of the SDK: see `install`."""
    return install(folder, cache, environment, say, [f"azure-ai-ml=={sdk}", *PACKAGES], constraints(sdk))


def install(
    folder: Path,
    cache: Path,
    environment: Mapping[str, str],
    say: Callable[[str], None],
    packages: Sequence[str],
    pinned: Path,
) -> Path:
    """The environment's Python, made where missing, incomplete, or of other versions; by one process at a time.

    `packages`, the client first, in the versions of the constraints file `pinned`. Raises CliError with uv's words.
    """
    python, marker, wanted = folder / "bin" / "python", folder / ".complete", _digest(packages, pinned)

    def is_complete() -> bool:
        return python.exists() and marker.exists() and marker.read_text() == wanted

    if is_complete():
        return python
    with _alone(folder, say):
        if is_complete():
            return python
        say(f"installing {packages[0].replace('==', ' ')} and what goes with it into {folder}")
        uv = _Uv(find_uv_bin(), {**environment, "UV_CACHE_DIR": str(cache)})
        if folder.exists():
            shutil.rmtree(folder)
        uv.run("venv", "--python", sys.executable, str(folder))
        uv.run("pip", "install", "--python", str(python), "--constraint", str(pinned), *packages)
        write_whole(marker, wanted, sync=True)
    return python


@contextmanager
def _alone(folder: Path, say: Callable[[str], None]) -> Generator[None]:
    """No other process makes `folder` meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another command is making {folder}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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


def _digest(packages: Sequence[str], pinned: Path) -> str:
    content = pinned.read_bytes() + "\n".join([*packages, sys.version]).encode()
    return hashlib.sha256(content).hexdigest()
