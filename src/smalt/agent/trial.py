"""What of the walls this machine allows, found out by building them: `… smalt.agent.trial FOLDER USER LEVEL`.

`FOLDER` is an empty one of the platform's own file system. Prints JSON: `{"walls", "owners", "network", "files",
"reason"}`: whether walls stand; whether with files that belong to the user number USER (for an agent that is root);
whether with a network of their own; whether Landlock fences; and why the walls do not stand, or not as they should.
Only what LEVEL (auto, network, files) needs is tried.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from smalt.agent.barrier import barrier
from smalt.agent.mounts import Namespace
from smalt.agent.processes import Brood, Command, StartError
from smalt.agent.wire import WallsSpec


def main() -> None:
    folder, user, asked = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    problem = _try(folder, WallsSpec(user=user)) if asked != "files" else ""
    owners = asked != "files" and bool(user) and not problem
    walls = owners or (asked != "files" and not (_try(folder, WallsSpec()) if user else problem))
    network = asked == "network" and walls and not _try(folder, WallsSpec(level="network", port=1))
    files = not walls and asked != "network" and not _try(folder, WallsSpec(level="files"))
    print(json.dumps({"walls": walls, "owners": owners, "network": network, "files": files, "reason": problem}))


def _try(folder: Path, spec: WallsSpec) -> str:
    """Why a command could not run behind walls and write a file there; empty if it did. In a child: it is for good."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        problem = "the trial itself failed"
        try:
            problem = _build(folder, spec)
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


def _build(folder: Path, spec: WallsSpec) -> str:
    walls, brood = barrier(spec), Brood()
    assert not isinstance(walls, Namespace)
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
