"""From the body of a no-code MLflow request to rows in the order of the model's signature.

Azure's no-code deployments take `input_data`; MLflow's own server takes `dataframe_split`, `dataframe_records`,
`inputs` and `instances`. All are read here without pandas, because most requests need none: a row whose values already
have the types of the signature ("clean") can go to the model with others in one array.
"""

from __future__ import annotations

import json
from typing import Any, Iterable

from .outcome import InputError

KEYS = ("input_data", "dataframe_split", "dataframe_records", "inputs", "instances")
INT_RANGES = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
FLOATS = ("double", "float")
KNOWN_LAYOUTS = 64  # distinct orders of columns whose mapping is remembered
SHOWN = 20


class Column:
    """One column of a signature: `kind` is MLflow's type (double, long, string, ...), '' where it is no plain one."""

    __slots__ = ("kind", "name", "required")

    def __init__(self, name: str, kind: str, required: bool = True) -> None:
        self.name = name
        self.kind = kind
        self.required = required


class Table:
    """Rows as they came; `columns` is None where the request does not name them, as `index` where it does not name
    rows."""

    __slots__ = ("columns", "index", "rows")

    def __init__(self, columns: tuple[str, ...] | None, rows: list[list[Any]], index: list[Any] | None = None) -> None:
        self.columns = columns
        self.rows = rows
        self.index = index


class Layout:
    """A signature of columns, and what a table must have to fit it. Columns of signatures that name none are `unnamed`:
    numbered here, and told by their places alone."""

    def __init__(self, columns: Iterable[Column], unnamed: bool = False) -> None:
        self.columns = list(columns)
        self.unnamed = unnamed
        self.names = tuple(column.name for column in self.columns)
        self._all_required = all(column.required for column in self.columns)
        self._allowed = [_allowed_types(column.kind) for column in self.columns]
        kinds = {column.kind for column in self.columns}
        self.numeric = bool(kinds) and kinds <= {"double", "float", "integer", "long"}
        self.batchable = self._all_required and all(self._allowed)
        self._floats = kinds <= set(FLOATS)
        self._orders: dict[tuple[str, ...], list[int] | None] = {}

    def fit(self, table: Table) -> Table:
        """The table with the signature's columns, in its order, others left out. Raises InputError."""
        if table.columns is None or self.unnamed:
            table = self._name(table)
        columns = table.columns or ()
        if columns == self.names:
            return table
        if columns not in self._orders:
            if len(self._orders) >= KNOWN_LAYOUTS:
                self._orders.clear()
            self._orders[columns] = self._order(columns)
        order = self._orders[columns]
        if order is None:
            return table
        names = tuple(columns[at] for at in order)
        return Table(names, [[row[at] for at in order] for row in table.rows], table.index)

    def clean(self, table: Table) -> bool:
        """Whether every value has exactly its column's type, so that MLflow's own conversion would change nothing."""
        if table.columns != self.names or not table.rows or table.index is not None:
            return False
        if self._floats:
            for row in table.rows:
                if not {type(value) for value in row} <= _FLOAT_TYPES:
                    return False
            return not any(type(value) is int and abs(value) > 2**53 for row in table.rows for value in row)
        return all(
            type(value) in allowed and (column.kind not in INT_RANGES or _in_range(value, column.kind))
            for row in table.rows
            for value, allowed, column in zip(row, self._allowed, self.columns)
        )

    def _name(self, table: Table) -> Table:
        width = len(table.rows[0]) if table.rows else len(self.names)
        if width != len(self.names):
            raise InputError(
                f"The model needs {len(self.names)} columns ({_listed(self.names)}), the rows of the request have "
                f"{width} values."
            )
        return Table(self.names, table.rows, table.index)

    def _order(self, columns: tuple[str, ...]) -> list[int] | None:
        missing = [column.name for column in self.columns if column.required and column.name not in columns]
        if missing:
            word = "column is" if len(missing) == 1 else "columns are"
            raise InputError(
                f"The model's {word} missing in the request: {_listed(missing)}. "
                f"The model needs: {_listed(self.names)}. The request has: {_listed(columns)}."
            )
        order = [columns.index(name) for name in self.names if name in columns]
        return None if order == list(range(len(columns))) else order


_FLOAT_TYPES = {float, int}


def _allowed_types(kind: str) -> tuple[type, ...]:
    table: dict[str, tuple[type, ...]] = {
        "double": (float, int),
        "float": (float, int),
        "integer": (int,),
        "long": (int,),
        "string": (str,),
        "boolean": (bool,),
    }
    return table.get(kind, ())


def _in_range(value: int, kind: str) -> bool:
    low, high = INT_RANGES[kind]
    return low <= value <= high


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")


def read_body(body: bytes) -> tuple[str, Any, Any]:
    """The key under which the data stands, the data, and `params` (None where there are none). Raises InputError."""
    if not body:
        raise InputError("POST body is empty. Expecting a JSON dictionary.")
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError) as ex:
        raise InputError(f"POST body could not be decoded as JSON: {ex}") from None
    if not isinstance(whole, dict):
        raise InputError("POST body should be a JSON dictionary.")
    found = [key for key in KEYS if key in whole]
    if not found:
        raise InputError(
            "A value is not provided for the 'input_data' parameter. The body must have one of "
            f"{_listed(KEYS)}; it has {_listed(map(str, whole)) or 'nothing'}."
        )
    if len(found) > 1:
        raise InputError(f"The body must have only one of {_listed(KEYS)}; it has {_listed(found)}.")
    params = whole.get("params")
    if params is not None and not isinstance(params, dict):
        raise InputError("'params' must be a JSON dictionary.")
    return found[0], whole[found[0]], params or None


def read_table(key: str, data: Any) -> Table:
    """The data as rows. Raises InputError where it is no table."""
    if key == "dataframe_split" or (isinstance(data, dict) and isinstance(data.get("data"), list)):
        return _split(key, data)
    if isinstance(data, dict):
        return _by_column(key, data)
    if not isinstance(data, list):
        raise InputError(f"{key!r} must be a list of rows or a dictionary, not {_json_name(data)}.")
    if data and isinstance(data[0], dict):
        return _records(key, data)
    if data and not isinstance(data[0], list):
        return Table(None, [[value] for value in data])  # one column, one value a row
    return Table(None, _rows(key, data))


def _split(key: str, data: Any) -> Table:
    if not isinstance(data, dict) or not isinstance(data.get("data"), list):
        raise InputError(f"{key!r} must have 'data', a list of rows, and 'columns'.")
    rows = _rows(f"{key}.data", data["data"])
    index = _index(key, data.get("index"), len(rows))
    columns = data.get("columns")
    if columns is None:
        return Table(None, rows, index)
    if not isinstance(columns, list) or not all(isinstance(name, (str, int)) for name in columns):
        raise InputError(f"'{key}.columns' must be a list of names.")
    names = tuple(map(str, columns))
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"'{key}.columns' names columns twice: {_listed(twice)}.")
    for at, row in enumerate(rows):
        if len(row) != len(names):
            raise InputError(f"Row {at} of '{key}.data' has {len(row)} values for {len(names)} columns.")
    return Table(names, rows, index)


def _index(key: str, index: Any, count: int) -> list[Any] | None:
    """The names of rows; None where they are the numbers that a frame has by itself, or only counted from elsewhere."""
    if index is None or (isinstance(index, list) and index == list(range(count))):
        return None
    if not isinstance(index, list) or len(index) != count:
        raise InputError(f"'{key}.index' must be a list with a value for each of the {count} rows.")
    return index


def _rows(key: str, data: list[Any]) -> list[list[Any]]:
    width = len(data[0]) if data and isinstance(data[0], list) else 0
    for index, row in enumerate(data):
        if not isinstance(row, list):
            raise InputError(f"Row {index} of {key!r} must be a list of values, not {_json_name(row)}.")
        if len(row) != width:
            raise InputError(f"Row {index} of {key!r} has {len(row)} values, row 0 has {width}.")
    return data


def _records(key: str, data: list[Any]) -> Table:
    names: dict[str, None] = {}
    for index, record in enumerate(data):
        if not isinstance(record, dict):
            raise InputError(f"Record {index} of {key!r} must be a dictionary, not {_json_name(record)}.")
        names.update(dict.fromkeys(record))
    return Table(tuple(names), [[record.get(name) for name in names] for record in data])


def _by_column(key: str, data: dict[str, Any]) -> Table:
    lists = {name: value if isinstance(value, list) else [value] for name, value in data.items()}
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"The columns of {key!r} have different lengths: {lengths}.")
    return Table(tuple(lists), [list(row) for row in zip(*lists.values())])


def _json_name(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "a dictionary")
