"""Bytes → rows: the beginning of a CSV (any delimiter and encoding), of JSON lines, of a Parquet file."""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import accumulate, islice
from typing import Any

SAMPLE_BYTES = 4 << 20  # of a text
ROWS_MOST = 5000
COLUMNS_MOST = 200
_FIELD_MOST = 1 << 20
_PAGES_BYTES, _COLUMNS_BYTES = 5 << 19, 80 << 20  # of a Parquet file: read of one column, of all
_DELIMITERS = (",", ";", "\t", "|", "^", "~", ":", " ")
_CODECS = ("utf-8-sig", "utf-16", "cp1252")
_LOOKED_AT = 40  # lines, to find the delimiter

Ask = Callable[[int, int], bytes]  # (start, length) → bytes of the file, fewer only at its end


class Unreadable(Exception):
    """Why the file is no such table: for people."""


@dataclass(frozen=True)
class Wanted:
    """`size` in bytes; `delimiter`, `encoding`: empty where they are to be found; `header` None: likewise."""

    format: str
    size: int
    delimiter: str = ""
    encoding: str = ""
    header: bool | None = None


@dataclass
class Read:
    """`types`: by column, where the file itself says them. `total`: rows of the whole file, where it says that."""

    columns: list[str]
    rows: list[Sequence[Any]]
    types: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    whole: bool = False
    total: int | None = None


def prepare(wanted: Wanted) -> None:
    """Loads what `read` needs; behind this it opens nothing."""
    for one in (*_CODECS, wanted.encoding or "utf-8"):
        with suppress(LookupError):
            codecs.lookup(one)
    if wanted.format == "parquet":
        sys.modules["pandas"] = None  # type: ignore[assignment]  # pyarrow would take a second to load it for times
        for one in ("pyarrow.compute", "pyarrow.parquet"):
            import_module(one)


def read(wanted: Wanted, ask: Ask) -> Read:
    """Raises Unreadable."""
    return {"csv": _csv, "jsonl": _json_lines, "parquet": _parquet}[wanted.format](wanted, ask)


def _note_more(notes: list[str], columns: int, shown: int = COLUMNS_MOST) -> None:
    """Rows have no more than is shown: one line of commas may be as long as the sample, and each row as wide as it."""
    if columns > shown:
        notes.append(f"{columns - shown} more columns are not shown.")


def _text(wanted: Wanted, ask: Ask, notes: list[str]) -> tuple[str, bool]:
    """The beginning, without a line that is cut; whether it is all."""
    data = ask(0, min(wanted.size, SAMPLE_BYTES))
    whole = len(data) >= wanted.size
    text = _decoded(data, wanted.encoding, whole, notes)
    if not whole:
        text = text[: text.rfind("\n") + 1] or text
    return text, whole


def _decoded(data: bytes, encoding: str, whole: bool, notes: list[str]) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode(encoding or "utf-8-sig")
    except LookupError:
        notes.append(f"The encoding {encoding[:40]!r} is not known: read as UTF-8.")
    except UnicodeDecodeError as error:
        if not whole and error.start >= len(data) - 4 and not encoding:  # the sample ends in the middle of a character
            return data[: error.start].decode("utf-8-sig")
        if not encoding:
            notes.append(f"It is not UTF-8 (byte {error.start}): read as Windows-1252.")
            return data.decode("cp1252", "replace")
        notes.append(f"It is not {encoding} throughout: what is not is shown as \ufffd.")
        return data.decode(encoding, "replace")
    return data.decode("utf-8-sig", "replace")


def _csv(wanted: Wanted, ask: Ask) -> Read:
    notes: list[str] = []
    text, whole = _text(wanted, ask, notes)
    csv.field_size_limit(_FIELD_MOST)
    delimiter = wanted.delimiter[:1] or _delimiter(text)
    rows: list[Sequence[Any]] = []
    widths: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in islice((row for row in reader if row), ROWS_MOST + 1):
            widths.append(len(row))
            rows.append(row[:COLUMNS_MOST])
    except csv.Error as error:
        notes.append(f"Line {reader.line_num} cannot be read ({error}): what is before it is shown.")
    if not rows:
        return Read([], [], notes=notes, whole=whole)
    width = max(widths)
    shown = min(width, COLUMNS_MOST)
    header = _is_header(rows) if wanted.header is None else wanted.header
    columns = [str(one) for one in rows.pop(0)] if header else []
    columns += [f"column {at + 1}" for at in range(len(columns), shown)]
    ragged = sum(one != width for one in widths[int(header) :])
    if ragged:
        notes.append(f"{ragged} of the rows looked at have another number of fields than the others.")
    _note_more(notes, width)
    rows = [[*row, *[None] * (shown - len(row))] for row in rows[:ROWS_MOST]]
    read_all = whole and next(reader, None) is None and len(rows) < ROWS_MOST
    return Read(columns, rows, notes=notes, whole=read_all)


def _delimiter(text: str) -> str:
    """The one that cuts most of the first lines into the same number of fields, and into many."""
    lines = list(islice((line for line in text.splitlines() if line.strip()), _LOOKED_AT))
    best, mark = ",", 0.0
    for one in _DELIMITERS:
        try:
            counts = Counter(len(row) for row in csv.reader(lines, delimiter=one))
        except csv.Error:
            continue
        fields, times = max(counts.items(), key=lambda found: (found[1], found[0]), default=(1, 0))
        found = times / len(lines) + min(fields, 50) / 1000 if fields > 1 else 0.0
        if found > mark and (one not in ": " or times == len(lines)):  # those two stand in values, too
            best, mark = one, found
    return best


def _is_header(rows: Sequence[Sequence[Any]]) -> bool:
    """No number and nothing twice in it, and nothing missing."""
    first = [str(one).strip() for one in rows[0]]
    return len(set(first)) == len(first) and all(first) and not any(map(_is_number, first))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json_lines(wanted: Wanted, ask: Ask) -> Read:
    notes: list[str] = []
    text, whole = _text(wanted, ask, notes)
    found: list[dict[str, Any]] = []
    bad = seen = 0
    for line in text.splitlines():
        if not line.strip():
            continue
        if seen == ROWS_MOST:
            whole = False
            break
        seen += 1
        try:
            one = json.loads(line)
        except (ValueError, RecursionError):
            bad += 1
            continue
        found.append(one if isinstance(one, dict) else {"value": one})  # pyright: ignore[reportUnknownArgumentType]
    if bad and not found:
        raise Unreadable("none of its lines is JSON")
    if bad:
        notes.append(f"{bad} of the lines looked at are not JSON, and are left out.")
    names = list(dict.fromkeys(str(name) for one in found for name in one))
    _note_more(notes, len(names))
    columns = names[:COLUMNS_MOST]
    rows: list[Sequence[Any]] = [[one.get(name) for name in columns] for one in found]
    return Read(columns, rows, notes=notes, whole=whole)


class _Asked(io.RawIOBase):
    """A file that is somewhere else."""

    def __init__(self, ask: Ask, size: int) -> None:
        self._ask, self._size, self._at = ask, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        length = self._size - self._at if size is None or size < 0 else min(size, self._size - self._at)  # pyright: ignore[reportUnnecessaryComparison]
        data = self._ask(self._at, length) if length > 0 else b""
        self._at += len(data)
        return data


def _affordable(metadata: Any, names: list[str]) -> list[str]:
    """The first columns whose first pages, of 1 MiB each as a rule behind a dictionary, are not too much together."""
    cost = Counter[str]()
    for at in range(metadata.num_columns if metadata.num_row_groups else 0):
        column = metadata.row_group(0).column(at)
        cost[column.path_in_schema.partition(".")[0]] += min(column.total_compressed_size, _PAGES_BYTES)
    sums = accumulate(cost[one] for one in names)
    return [one for one, before in zip(names, sums, strict=True) if before <= _COLUMNS_BYTES] or names[:1]


def _values(column: Any) -> list[Any]:
    """Times of a zone as UTC, to the microsecond: the zones of the machine are out of reach."""
    import pyarrow

    if pyarrow.types.is_timestamp(column.type):
        column = column.cast(pyarrow.timestamp(column.type.unit)).cast(pyarrow.timestamp("us"), safe=False)
    try:
        return column.to_pylist()
    except (ArithmeticError, OSError, ValueError):  # a time beyond Python's, or of a zone within a list
        return ["cannot be shown"] * len(column)


def _parquet(wanted: Wanted, ask: Ask) -> Read:
    import pyarrow
    import pyarrow.parquet

    pyarrow.set_cpu_count(1)
    try:
        source = pyarrow.PythonFile(_Asked(ask, wanted.size), mode="r")
        whole = pyarrow.parquet.ParquetFile(source, buffer_size=1 << 18, pre_buffer=False)  # page by page
        schema = whole.schema_arrow
        shown = _affordable(whole.metadata, [one.name for one in schema][:COLUMNS_MOST])
        batches = whole.iter_batches(batch_size=ROWS_MOST, columns=shown, use_threads=False)
        batch = next(batches, None)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise Unreadable(f"it is no Parquet file that can be read ({str(error)[:200]})") from None
    columns = [_values(one) for one in batch.columns] if batch is not None else []
    rows: list[Sequence[Any]] = list(zip(*columns, strict=True))
    total = whole.metadata.num_rows
    notes: list[str] = []
    _note_more(notes, len(schema), len(shown))
    types = [str(schema.field(at).type) for at in range(len(shown))]
    return Read(shown, rows, types, notes, len(rows) >= total, total)
