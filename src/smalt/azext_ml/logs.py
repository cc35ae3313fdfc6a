"""Which of a job's logs are streamed, and what is new in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .connection import PIECE, Connection

_USER = re.compile(r"user_logs/std_log[\D]*[0]*(?:_ps)?\.txt")  # of the first node of several
_OLDER: Mapping[str, re.Pattern[str]] = {
    "Command": re.compile(r"azureml-logs/\d{2}.+\.txt"),
    "Pipeline": re.compile(r"logs/azureml/executionlogs\.txt"),
    "Sweep": re.compile(r"azureml-logs/hyperdrive\.txt"),
}


class Streamed:
    """As the SDK streams them: each under a heading, whole lines, in the order of their names."""

    def __init__(self, connection: Connection, job_type: str) -> None:
        self._connection = connection
        self._older = _OLDER.get(job_type)
        self._read: dict[str, int] = {}  # bytes, by the log's name

    def new(self, addresses: Mapping[str, str], ended: bool) -> Iterator[str]:
        """What has come since the last call, as text to write. `addresses` are URLs by the logs' names.

        The beginning of a line waits for its end, unless the job has `ended`.
        """
        names = [one for one in addresses if _USER.fullmatch(one)]
        if not names and self._older:
            names = [one for one in addresses if self._older.fullmatch(one)]
        for name in sorted(names):
            yield from self._of(name, addresses[name], ended)

    def _of(self, name: str, address: str, ended: bool) -> Iterator[str]:
        """A piece at a time, each up to the end of a line; a line that is longer than that comes in parts."""
        full = True
        while full:
            before = self._read.get(name, 0)
            come = self._connection.bytes_from(address, before)
            full = len(come) == PIECE
            lines = come[: come.rfind(b"\n") + 1]
            whole = come if ended and not full else lines or (come if full else b"")
            if not whole:
                return
            if not before:
                yield f"\nStreaming {name}\n{'=' * (len(name) + 10)}\n\n"
            self._read[name] = before + len(whole)
            text = whole.decode("utf-8", "replace")
            yield text if full or text.endswith("\n") else f"{text}\n"
