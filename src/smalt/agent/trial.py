"""What of the walls this machine allows, found out by building them: `python -m smalt.agent.trial FOLDER USER`.

`FOLDER` is an empty one of the platform's own file system. Prints JSON: `{"walls", "owners", "reason"}`: whether walls
stand, whether with files that belong to the user number USER (for an agent that is root), and why not.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from smalt.agent.processes import Brood, Command, StartError
from smalt.agent.walls import Walls
from smalt.agent.wire import WallsSpec


def main() -> None:
    folder, user = Path(sys.argv[1]), int(sys.argv[2])
    problem = _try(folder, user)
    if problem and user:
        found = {"walls": not _try(folder, 0), "owners": False, "reason": problem}
    else:
        found = {"walls": not problem, "owners": bool(user) and not problem, "reason": problem}
    print(json.dumps(found))


def _try(folder: Path, user: int) -> str:
    """Why a command could not run behind walls and write a file there; empty if it did. In a child: it is for good."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        problem = "the trial itself failed"
        try:
            problem = _build(folder, user)
        except OSError as error:
            problem = (
                f"{error.strerror or error} ({error.filename})" if error.filename else error.strerror or str(error)
            )
        finally:
            os.write(writing, problem.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        problem = pipe.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return problem


def _build(folder: Path, user: int) -> str:
    walls, brood = Walls(WallsSpec(user=user)), Brood()
    walls.show(folder, writable=True)
    nothing = os.open(os.devnull, os.O_WRONLY)
    command = Command(["touch", "made"], {"PATH": "/usr/bin:/bin"}, str(folder), nothing, enter=walls.enter)
    try:
        brood.first = walls.raise_up()
        brood.start(command)
    except StartError as error:
        return str(error)
    while brood.status is None:
        brood.reap(block=True)
    brood.end()
    made = folder / "made"
    if not made.exists() or made.stat().st_uid != os.geteuid():
        return "a command could start, but not write its own file"
    made.unlink()
    return ""


if __name__ == "__main__":
    main()
