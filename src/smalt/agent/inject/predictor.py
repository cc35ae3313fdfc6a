"""One pyfunc model of the user's MLflow, whatever its version: signature, conversion of data, predict."""

from __future__ import annotations

import base64
import importlib
import json
import traceback
from pathlib import Path
from typing import Any

from .outcome import InputError
from .postpone import postpone
from .tabular import INT_RANGES, Column, Layout, Table, read_table

SCHEMA_CODES = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
EXAMPLE_FILE, EXAMPLE_BYTES = "serving_input_example.json", 64 * 1024
EXAMPLE_VALUES = {"double": 0.0, "float": 0.0, "integer": 0, "long": 0, "boolean": False, "string": ""}
# What MLflow tells apart by itself, or turns into the type (text into a double), is left to it.
NUMBERS = (int, float, str)
PLAIN_TYPES = {"string": str, "boolean": bool, "double": NUMBERS, "float": NUMBERS, "integer": NUMBERS, "long": NUMBERS}
JSON_TYPES = {"double": "number", "float": "number", "integer": "integer", "long": "integer", "boolean": "boolean"}


class Predictor:
    """`layout` is the signature where it has plain columns; None for tensors and models without one."""

    def __init__(self, folder: str) -> None:
        self.numpy = importlib.import_module("numpy")
        self.pandas = importlib.import_module("pandas")
        postpone("databricks.sdk")
        pyfunc = importlib.import_module("mlflow.pyfunc")
        self.folder = folder
        self.model = pyfunc.load_model(folder)
        self.metadata = self.model.metadata
        flavor = (self.metadata.flavors or {}).get("python_function", {})
        self.loader_module = str(flavor.get("loader_module", ""))
        self.predict_name = str(flavor.get("predict_fn", "predict"))
        signature = getattr(self.metadata, "signature", None)
        self._inputs = getattr(signature, "inputs", None)
        outputs = getattr(signature, "outputs", None)
        self.output_names = [str(name) for name in (outputs.input_names() if outputs else []) if name is not None]
        self.has_params = bool(getattr(signature, "params", None))
        self.layout = self._columns()

    def predict(self, data: Any, params: dict[str, Any] | None) -> Any:
        """`data` is a Table that fits `layout`, or what `read_tensors` gave. Raises InputError where the signature
        refuses it, and whatever the model raises."""
        values = self.frame(data) if isinstance(data, Table) else data
        try:
            return self.model.predict(values) if params is None else self.model.predict(values, params=params)
        except Exception as ex:
            if self._refused(ex, params):
                # Without the whole of the data and of the schema, which come before it.
                raise InputError(str(ex).rpartition("]'. Error: ")[2]) from None
            raise

    def frame(self, table: Table) -> Any:
        """A DataFrame with the types of the signature, where the values can have them."""
        pandas = self.pandas
        frame = pandas.DataFrame(table.rows, columns=list(table.columns or ()), index=table.index)
        kinds = {column.name: column.kind for column in self.layout.columns} if self.layout else {}
        for name in frame.columns:
            converted = self._convert(frame[name], kinds.get(name, ""))
            if converted is not None:
                frame[name] = converted
        if self.layout is not None and self.layout.unnamed:
            frame.columns = range(len(frame.columns))
        return frame

    def typed_frame(self, rows: list[list[Any]]) -> Any:
        """Clean rows as a DataFrame, exactly as the signature wants it."""
        assert self.layout is not None
        kinds = {"double": "float64", "float": "float32", "integer": "int32", "long": "int64", "boolean": "bool"}
        columns = {
            column.name: self.numpy.array(values, dtype=kinds.get(column.kind, "object"))
            for column, values in zip(self.layout.columns, zip(*rows))
        }
        return self.pandas.DataFrame(columns, columns=list(self.layout.names))

    def read_tensors(self, key: str, data: Any) -> Any:
        """For models without columns: a dictionary of arrays, one array, or a frame where the request is a table."""
        if data is None:
            raise InputError(f"{key!r} is null.")
        kinds = self._tensor_kinds()
        if isinstance(data, dict) and not isinstance(data.get("data"), list):
            return {name: self._array(name, value, kinds.get(name)) for name, value in data.items()}
        if isinstance(data, dict) or (isinstance(data, list) and data and isinstance(data[0], dict)):
            table = read_table(key, data)
            if self._inputs is None:
                columns = list(table.columns) if table.columns else None
                return self.pandas.DataFrame(table.rows, columns=columns, index=table.index)
            if table.columns and not kinds.keys().isdisjoint(table.columns):  # rows of named tensors
                names = enumerate(table.columns)
                return {name: self._array(name, [row[at] for row in table.rows], kinds.get(name)) for at, name in names}
            data = table.rows
        return self._array(key, data, kinds.get("") or (next(iter(kinds.values())) if len(kinds) == 1 else None))

    def swagger_schemas(self) -> tuple[Any, Any]:
        """What /swagger.json says of the input and the output."""
        output = {"type": "array", "items": {}}
        given = self._example()
        if self.layout is None:
            return {"type": "object", "properties": {"input_data": {}}, "example": given or {"input_data": []}}, output
        names = list(self.layout.names)
        row = [EXAMPLE_VALUES.get(column.kind, "") for column in self.layout.columns]
        data = {"type": "array", "items": {"type": "array", "items": {}}}
        split = {
            "type": "object",
            "properties": {
                "columns": {"type": "array", "items": {"type": "string"}},
                "index": {"type": "array", "items": {"type": "integer"}},
                "data": data,
            },
            "x-columns": {one.name: JSON_TYPES.get(one.kind, "string") for one in self.layout.columns},
        }
        example = given or {"input_data": {"columns": names, "index": [0], "data": [row]}}
        return {"type": "object", "properties": {"input_data": split}, "example": example}, output

    def _example(self) -> Any:
        """A request with the input example that MLflow wrote beside the model; None: there is none, or a long one."""
        path = Path(self.folder) / EXAMPLE_FILE
        try:
            if path.stat().st_size > EXAMPLE_BYTES:
                return None
            given = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        return given if isinstance(given, dict) else None

    def _columns(self) -> Layout | None:
        if self._inputs is None or self._inputs.is_tensor_spec():
            return None
        columns = [
            Column(
                "" if one.name is None else str(one.name),
                getattr(getattr(one, "type", None), "name", ""),
                bool(getattr(one, "required", not getattr(one, "optional", False))),
            )
            for one in self._inputs.inputs
        ]
        unnamed = not all(column.name for column in columns)
        if unnamed:
            columns = [Column(str(at), column.kind) for at, column in enumerate(columns)]
        return Layout(columns, unnamed) if columns else None

    def _tensor_kinds(self) -> dict[str, Any]:
        if self._inputs is None or not self._inputs.is_tensor_spec():
            return {}
        return {one.name or "": one.type for one in self._inputs.inputs}

    def _array(self, name: str, value: Any, kind: Any) -> Any:
        try:
            given = self.numpy.array(value)
            found = given if kind is None else given.astype(kind)
        except (ValueError, TypeError, OverflowError) as ex:
            raise InputError(f"{name!r} is not an array{f' of {kind}' if kind is not None else ''}: {ex}") from None
        if found.dtype.kind in "iu" and given.dtype.kind in "iufO" and not (found == given).all():
            raise InputError(f"{name!r} is not an array of {kind}: it holds values that this type does not have.")
        return found

    def _convert(self, column: Any, kind: str) -> Any:
        """The column with the signature's type; None where MLflow should judge it as it is."""
        found = column.dtype.kind
        if kind in ("double", "float") and (found in "if" or (found == "O" and _numbers(column))):
            return column.astype("float64" if kind == "double" else "float32")
        if kind in INT_RANGES and found == "i":
            low, high = INT_RANGES[kind]
            return (
                column.astype("int32") if kind == "integer" and low <= column.min() and column.max() <= high else None
            )
        if kind == "datetime" and found == "O":
            try:
                return self.pandas.to_datetime(column)
            except (ValueError, TypeError) as ex:
                raise InputError(f"The column {column.name!r} must hold dates: {ex}") from None
        if kind in PLAIN_TYPES and found == "O":
            wrong = [value for value in column if value is not None and not isinstance(value, PLAIN_TYPES[kind])]
            if wrong:
                raise InputError(f"The column {column.name!r} must hold {kind} values, not {type(wrong[0]).__name__}.")
        if kind == "binary" and found == "O":
            try:
                return column.map(lambda text: text if text is None else base64.b64decode(text, validate=True))
            except (ValueError, TypeError):
                raise InputError(f"The column {column.name!r} must hold base64 text.") from None
        return None

    def _refused(self, ex: Exception, params: dict[str, Any] | None) -> bool:
        """Whether the signature's check raised it, not the model: told by the functions that it came through."""
        if isinstance(ex, TypeError) and params is not None and "params" in str(ex):
            return True
        if type(ex).__name__ != "MlflowException" or getattr(ex, "error_code", "") not in SCHEMA_CODES:
            return False
        names = [frame.name for frame in traceback.extract_tb(ex.__traceback__)]
        return any(name.startswith(("_enforce", "_validate_prediction_input", "_validate_params")) for name in names)


def _numbers(column: Any) -> bool:
    return all(value is None or type(value) in (int, float) for value in column)
