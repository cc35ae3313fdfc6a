"""The process that parses: `ask` in, a table out, both over its standard streams.

→ {"format": "csv", "size": 1234, …}        what is to be read (`Wanted`), in one line
← {"read": [0, 1234]}                       asks for bytes; they come behind a line with how many there are
← {"table": {…}} or {"error": "…"}          the last line
"""

from __future__ import annotations

import json
import resource
import sys
from contextlib import suppress

from smalt.agent import linux
from smalt.studio.tables.profile import described
from smalt.studio.tables.reading import Unreadable, Wanted, prepare, read

MEMORY_MOST, SECONDS_MOST = 4 << 30, 15
_ALL_OF_FILES, _SCOPES, _SCOPED_SINCE = (1 << 13) - 1, 0b11, 6  # landlock(7)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MOST, MEMORY_MOST))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_MOST, SECONDS_MOST))
    wanted = Wanted(**json.loads(sys.stdin.buffer.readline()))
    prepare(wanted)
    _shut()
    try:
        _say({"table": described(read(wanted, _ask), wanted.format)})
    except Unreadable as error:
        _say({"error": str(error)})
    except MemoryError:
        _say({"error": "it takes more memory than a preview has"})
    except Exception as error:  # the edge: whatever a file is
        _say({"error": f"it cannot be read ({type(error).__name__}: {str(error)[:200]})"})


def _shut() -> None:
    """From here on it opens no file and no socket, gains no right, and sees into no other process."""
    linux.give_up_privileges()
    with suppress(OSError):  # a kernel without Landlock: there is still nothing that it could open
        scopes = _SCOPES if linux.landlock_version() >= _SCOPED_SINCE else 0
        linux.landlock_enforce(linux.landlock_ruleset(_ALL_OF_FILES, scopes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def _ask(start: int, length: int) -> bytes:
    _say({"read": [start, length]})
    return sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))


def _say(what: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(what).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
