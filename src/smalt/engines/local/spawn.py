"""Starting Smalt's own interpreter as an agent: fast, and detached from this process in every respect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from smalt.agent import wire

# Isolated and without `site` an interpreter starts in a third of the time. The path goes last, so that nothing beside
# this package can hide a module of the standard library.
_START = "import sys; sys.path.append(sys.argv.pop(1)); from smalt.agent.launcher import main; main()"
_PACKAGES = Path(wire.__file__).parents[2]
_BURY_TIMEOUT_S = 30


def spawn_agent(folder: Path, hints: Path, lock: int) -> None:
    """Start the agent of the task in `folder`; it inherits the task's lock. Returns when it is no longer our child."""
    with (folder / "agent.log").open("ab") as errors:
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *_python(folder), "--hints", str(hints), "--lock", str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            pass_fds=(lock,),
            start_new_session=True,
            cwd="/",
            check=True,
        )


def bury(folder: Path, hints: Path) -> None:
    """End what a vanished agent left behind and make its task LOST. Waits for the agent where one is still ending."""
    subprocess.run(
        [*_python(folder), "--hints", str(hints), "--bury"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        timeout=_BURY_TIMEOUT_S,
        check=True,
    )


def _python(folder: Path) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _START, str(_PACKAGES), str(folder)]
