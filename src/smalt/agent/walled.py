"""One command behind walls, for work of the platform that runs other people's code: `… smalt.agent.walled ROOM ARGV…`.

ROOM is JSON, see `Room`. The command has this process's environment and its three streams, and nothing else that is
open here. It ends with this process, and with it all that it started; the exit status is its own, 128+n for signal n.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from smalt.agent import linux
from smalt.agent.barrier import barrier
from smalt.agent.mounts import Namespace
from smalt.agent.processes import Brood, Command, StartError
from smalt.agent.start import python
from smalt.agent.wire import WallsSpec

WALLS = "SMALT_WALLS"  # tells a task of the platform the walls for what it runs of others: JSON, a WallsSpec
_NOT_STARTED = 125


@dataclass(frozen=True)
class Room:
    """What is seen: `folder`, the only one that can be written, the work happens there, and its `tmp` is `/tmp`;
    `readable`, and `programs`: interpreters, with all that belongs to them.
    """

    walls: WallsSpec
    folder: str
    readable: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)

    @property
    def temporary(self) -> str:
        """The folder for temporary files, as it is called inside."""
        return f"{self.folder}/tmp" if self.walls.level == "files" else "/tmp"

    def entering(self) -> list[str]:
        """The words in front of a command that make it run in here."""
        return [*python("walled"), json.dumps(asdict(self))]


def main() -> None:
    """Exit status 125: there was no way to put the command behind its walls, so it did not run."""
    raw = json.loads(sys.argv[1])
    try:
        status = _run(Room(**{**raw, "walls": WallsSpec(**raw["walls"])}), sys.argv[2:])
    except (StartError, OSError) as error:
        sys.stderr.write(f"error: No walls could be built for '{sys.argv[2]}', so it was not run: {error}\n")
        sys.exit(_NOT_STARTED)
    code = os.waitstatus_to_exitcode(status)
    sys.exit(128 - code if code < 0 else code)


def _run(room: Room, argv: Sequence[str]) -> int:
    """The command's wait status."""
    walls, brood = barrier(room.walls), Brood()
    assert not isinstance(walls, Namespace)
    for one in room.programs:
        walls.show_interpreter(Path(one))
    for one in map(Path, room.readable):
        if one.stat().st_mode & 0o004:
            walls.show_public(one)
        else:
            walls.show(one)
    walls.show(Path(room.folder), writable=True)
    walls.show_temporary(Path(room.folder, "tmp"))
    linux.become_subreaper()
    try:
        brood.first = walls.raise_up()
        brood.start(Command([*argv], dict(os.environ), room.folder, log=-1, enter=walls.enter))
        while brood.status is None:
            brood.reap(block=True)
        return brood.status
    finally:
        brood.end()


if __name__ == "__main__":
    main()
