"""Rows → what a page says of them: the first ones, and each column's type, missing, distinct, range, distribution."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any

from smalt.studio.tables.reading import Read

SHOWN_ROWS = 100
BINS = 16
_CELL_MOST = 200  # characters
_COMMON = 5
_MISSING = frozenset(("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-"))


def described(found: Read, format_: str) -> dict[str, Any]:
    """JSON: `columns`, `rows` (text, None: missing), `seen`, `total`, `whole`, `notes`."""
    columns = [[row[at] for row in found.rows] for at in range(len(found.columns))]
    types = [one[:_CELL_MOST] for one in found.types] or [""] * len(columns)
    return {
        "columns": [
            {"name": name[:_CELL_MOST], **profiled(values, type_, format_ == "csv")}
            for name, values, type_ in zip(found.columns, columns, types, strict=True)
        ],
        "rows": [[_cell(value) for value in row] for row in found.rows[:SHOWN_ROWS]],
        "seen": len(found.rows),
        "total": found.total,
        "whole": found.whole,
        "notes": found.notes,
    }


def profiled(values: Sequence[Any], type_: str = "", is_text: bool = False) -> dict[str, Any]:
    """Of one column. `is_text`: the file has no types, so numbers are looked for."""
    there = [one for one in values if not _is_missing(one, is_text)]
    numbers = _numbers(there, is_text)
    texts = [_cell(one) or "" for one in there]
    counts = Counter(texts)
    found: dict[str, Any] = {
        "type": type_ or _type(there, numbers),
        "missing": len(values) - len(there),
        "distinct": len(counts),
        "common": sorted(counts.items(), key=lambda one: -one[1])[:_COMMON],
    }
    if numbers:
        finite = [one for one in numbers if math.isfinite(one)]
        found |= _range(finite) if finite else {}
    elif there and not any(isinstance(one, (dict, list, bool, bytes)) for one in there):
        found |= {"min": min(texts), "max": max(texts)}
    return found


def _range(numbers: Sequence[float]) -> dict[str, Any]:
    low, high = min(numbers), max(numbers)
    bins = [0] * BINS
    width = (high - low) / BINS
    for one in numbers:
        at = int((one - low) / width) if width and math.isfinite(width) else 0
        bins[min(at, BINS - 1)] += 1
    mean = math.fsum(one / len(numbers) for one in numbers)
    return {"min": _number(low), "max": _number(high), "mean": _number(mean), "bins": bins if width else None}


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def _is_missing(value: Any, is_text: bool) -> bool:
    if is_text:
        return value is None or str(value).strip() in _MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def _numbers(values: Sequence[Any], is_text: bool) -> list[float] | None:
    """None: they are no numbers, all of them."""
    try:
        if is_text:
            if any(one[:1] == "0" and one[1:2].isdigit() for one in values):  # a postcode, a customer's number
                return None
            return [float(one) for one in values] or None
        if any(isinstance(one, (bool, str, bytes)) for one in values):
            return None
        return [float(one) for one in values] or None
    except (TypeError, ValueError, OverflowError):
        return None


def _type(there: Sequence[Any], numbers: Sequence[float] | None) -> str:
    if not there:
        return "empty"
    if numbers is not None:
        return "integer" if all(math.isfinite(one) and one == int(one) for one in numbers) else "number"
    texts = {str(one).strip().lower() for one in there}
    if texts <= {"true", "false"}:
        return "boolean"
    if any(isinstance(one, (dict, list)) for one in there):
        return "nested"
    return "time" if all(map(_is_time, there)) else "text"


def _is_time(value: Any) -> bool:
    if isinstance(value, (date, time)):
        return True
    text = str(value).strip()
    if not 8 <= len(text) <= 40 or not text[:4].isdigit():
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        text = f"{len(value)} bytes"
    elif isinstance(value, (dict, list)):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    return text if len(text) <= _CELL_MOST else f"{text[:_CELL_MOST]}…"
