"""The process that parses: `ask` in, a table out, both over its standard streams.

→ {"format": "csv", "size": 1234, …}        what is to be read (`Wanted`), in one line
← {"read": [0, 1234]}                       asks for bytes; they come behind a line with how many there are
← {"table": {…}} or {"error": "…"}          the last line
"""

from __future__ import annotations

import json
import resource
import sys

from smalt.studio.tables.profile import described
from smalt.studio.tables.reading import Unreadable, Wanted, read

MEMORY_MOST, SECONDS_MOST = 4 << 30, 15


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MOST, MEMORY_MOST))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_MOST, SECONDS_MOST))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    wanted = Wanted(**json.loads(sys.stdin.buffer.readline()))
    try:
        _say({"table": described(read(wanted, _ask), wanted.format)})
    except Unreadable as error:
        _say({"error": str(error)})
    except MemoryError:
        _say({"error": "it takes more memory than a preview has"})


def _ask(start: int, length: int) -> bytes:
    _say({"read": [start, length]})
    return sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))


def _say(what: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(what).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
