"""What `run` returned, as rows of text: one line for each element of a list, or for each row of a DataFrame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .frames import MOST_BYTES


class NoResult(Exception):
    """What was returned is no result; the message says why."""


@dataclass(frozen=True)
class Rows:
    """`count` of them as `text`; `header`: the names of a table's columns, if they are wanted."""

    count: int
    text: bytes = b""
    header: bytes = b""


def rows_of(returned: Any, written: bool, header: bool = False, most: int = MOST_BYTES) -> Rows:
    """`written`: the rows are kept; without, they are only counted. Raises NoResult, also for over `most` bytes."""
    rows = _rows(returned, written, header)
    if len(rows.text) > most:
        raise NoResult(
            f"run() returned {len(rows.text)} bytes of rows, more than {most}; use a smaller mini_batch_size."
        )
    return rows


def _rows(returned: Any, written: bool, header: bool) -> Rows:
    if returned is None:
        raise NoResult("run() returned nothing; return a list, a tuple or a DataFrame with a row for each item.")
    if hasattr(returned, "to_csv") and hasattr(returned, "columns"):
        text = returned.to_csv(sep=" ", header=False, index=False) if written else ""
        names = returned.iloc[:0].to_csv(sep=" ", index=False) if written and header else ""
        return Rows(len(returned), text.encode(), names.encode())
    if isinstance(returned, (str, bytes, dict)):
        raise NoResult(f"run() returned a {type(returned).__name__}; return a list, a tuple or a DataFrame.")
    try:
        count = len(returned)
    except TypeError:
        raise NoResult(f"run() returned {type(returned).__name__}; return a list, a tuple or a DataFrame.") from None
    return Rows(count, "".join(f"{one}\n" for one in returned).encode(errors="surrogateescape") if written else b"")
