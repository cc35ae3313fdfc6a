"""What is asked of a task's agent by who wants behind its walls, and where: see `door.py`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self

DOOR_SOCKET, DOOR_KEY_FILE = "door", "door.key"  # in the task's folder
MOST_ASKED = 64 << 10  # bytes of the line that asks


@dataclass(frozen=True)
class Visit:
    """`argv` is run (a shell where it is empty), with a terminal of this size or without.

    With a `port` nothing is run: the answer is a connection to what the task listens with there, as a descriptor.
    """

    argv: list[str] = field(default_factory=list)
    terminal: bool = False
    rows: int = 24
    columns: int = 80
    term: str = ""
    port: int = 0

    def line(self, key: str) -> bytes:
        return json.dumps({"key": key, **asdict(self)}).encode() + b"\n"

    @classmethod
    def read(cls, raw: Any) -> tuple[str, Self]:
        """With the key that was shown. Raises ValueError, TypeError."""
        if not isinstance(raw, dict):
            raise ValueError("it must be an object")
        argv, term = raw.get("argv") or [], raw.get("term") or ""
        if not isinstance(argv, list) or not all(isinstance(one, str) and "\0" not in one for one in argv):
            raise ValueError("argv must be a list of words")
        if not isinstance(term, str) or "\0" in term:
            raise ValueError("term must be a word")
        rows, columns, port = (raw.get(name) or 0 for name in ("rows", "columns", "port"))
        if not isinstance(rows, int) or not isinstance(columns, int) or not isinstance(port, int):
            raise ValueError("rows, columns and port must be whole numbers")
        if not 0 <= port <= 65535:
            raise ValueError("port must be one of TCP")
        rows, columns = (min(max(one, 0), 10_000) for one in (rows, columns))
        return str(raw.get("key") or ""), cls(argv, bool(raw.get("terminal")), rows, columns, term, port)
