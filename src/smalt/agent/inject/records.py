"""What a no-code model was given and answered, as the records that are collected: one object for each row.

As a pandas frame would write them: columns without a name are "0", "1", …, and what JSON has no number for is null.
"""

from __future__ import annotations

import json
import math
from typing import Any, Sequence

from .tabular import Column, Layout, Table, read_body, read_table


class RowRecords:
    """`columns`: the signature's, [NAME, TYPE, REQUIRED] each, or of one that is `unnamed`; None where it has no plain
    ones. `outputs`: its names of what the model returns."""

    def __init__(self, columns: Sequence[Sequence[Any]] | None, outputs: Sequence[str], unnamed: bool = False) -> None:
        self._layout = Layout((Column(*one) for one in columns), unnamed) if columns else None
        self._outputs: list[str] = list(outputs)

    def inputs(self, body: bytes) -> bytes:
        """The rows of a request that was scored, in the signature's order."""
        key, data, _ = read_body(body)
        if self._layout is not None:
            return records_line(self._layout.fit(read_table(key, data)), self._layout.names)
        split = isinstance(data, dict) and isinstance(data.get("data"), list)
        return records_line(read_table(key, data) if split else data)

    def outputs(self, body: bytes) -> bytes:
        return records_line(json.loads(body), self._outputs)


def records_line(value: Any, names: Sequence[str] = ()) -> bytes:
    """JSON in one line, of a Table or of values from JSON. `names`: of as many columns that have none of their own."""
    found = records(value, names)
    try:
        return json.dumps(found, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        return json.dumps(_finite(found), separators=(",", ":")).encode()


def records(value: Any, names: Sequence[str] = ()) -> list:
    if isinstance(value, Table):
        names = value.columns or names
        return [_record(row, names) for row in value.rows]
    if isinstance(value, dict):
        lengths = {len(one) if isinstance(one, list) else -1 for one in value.values()}
        if len(lengths) == 1 and -1 not in lengths:
            return [dict(zip(value, row)) for row in zip(*value.values())]
        return [value]
    if isinstance(value, list):
        return [one if isinstance(one, dict) else _record(one, names) for one in value]
    return [_record(value, names)]


def _record(row: Any, names: Sequence[str]) -> dict:
    values = row if isinstance(row, list) else [row]
    if len(names) != len(values):
        names = [str(at) for at in range(len(values))]
    return dict(zip(names, values))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
