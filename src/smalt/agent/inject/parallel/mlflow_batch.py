"""An MLflow model in place of an entry script: it reads each file of a mini-batch, and predicts.

A row of the result is a line of CSV: row, prediction, file. `row` counts the rows of the file from 0, and is there for
tables alone; of an image there is one line. Of an MLTable it counts those of the mini-batch, whose number is in place
of the file. A prediction is as the model returned it; one of several values is JSON.
https://learn.microsoft.com/azure/machine-learning/how-to-mlflow-batch
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Sequence

from .entry import Script

TABLES = (".csv", ".parquet", ".pqt", ".json", ".jsonl")
IMAGES = (".png", ".jpg", ".jpeg", ".tiff", ".bmp", ".gif")

# MLflow's types of columns, and pandas' types: https://mlflow.org/docs/latest/ml/model/signatures/
_READ_AS = {
    "boolean": "bool", "integer": "int32", "long": "int64", "float": "float32", "double": "float64", "string": "object",
}  # fmt: skip


class NotScored(Exception):
    """A file cannot be read, or its predictions are no answer to it; the message says why."""


def script(folder: str) -> Script:
    """As `entry.load` gives one. `init` raises what MLflow raises."""
    loaded: list[Any] = []

    def init() -> None:
        import mlflow.pyfunc

        loaded.append(mlflow.pyfunc.load_model(folder))

    def run(files: Any, context: Any) -> list[str]:
        if not isinstance(files, list):
            return _rows(loaded[0], _of_types(files, _types(loaded[0])), str(context.minibatch_index))
        return [line for file in files for line in _lines(loaded[0], Path(file))]

    return Script(init, run, lambda: None)


def _lines(model: Any, file: Path) -> list[str]:
    kind = file.suffix.lower()
    if kind in TABLES:
        return _rows(model, _table(file, kind, _types(model)), file.name)
    if kind in IMAGES:
        found = _predictions(model.predict(_image(model, file)))
        return [_line("", found[0] if len(found) == 1 else found, file.name)]
    known = ", ".join((*TABLES, *IMAGES))
    raise NotScored(f"Error processing input file {file.name}: files of type '{kind}' are none of {known}.")


def _rows(model: Any, frame: Any, where: str) -> list[str]:
    """A line for each row of a table; `where` it is from."""
    found = _predictions(model.predict(frame))
    if len(found) != len(frame):
        raise NotScored(f"The model gave {len(found)} predictions for the {len(frame)} rows of {where}.")
    return [_line(number, one, where) for number, one in enumerate(found)]


def _of_types(frame: Any, types: Any) -> Any:
    """The columns of an MLTable as the signature says them. Raises NotScored for a value that cannot be."""
    for name in (one for one in types if one in frame.columns):
        column = frame[name]
        try:
            if types[name] != "object":
                frame[name] = column.astype(types[name])
            elif column.dtype != object:
                frame[name] = column.astype("string").astype(object).where(column.notna(), None)
        except (ValueError, TypeError) as error:
            raise NotScored(f"Column {name!r} of the table is no {types[name]}: {error}") from error
    return frame


def _types(model: Any) -> Any:
    """What the signature says of columns, by name, for a reader of text: so a `double` may be written `1`.

    Dates are left to MLflow, which reads them from text, and so is what is no single value.
    """
    schema = _schema(model)
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        return {}
    kinds = {one.name: getattr(one.type, "name", "") for one in schema.inputs}
    return {name: _READ_AS[kind] for name, kind in kinds.items() if kind in _READ_AS}


def _table(file: Path, kind: str, types: Any) -> Any:
    import pandas

    try:
        if kind == ".csv":
            return pandas.read_csv(file, dtype=types)
        if kind in (".json", ".jsonl"):
            return pandas.read_json(file, lines=kind == ".jsonl", dtype=types or None)
    except ValueError as error:
        raise NotScored(f"Error processing input file {file.name}: {error}") from error
    return pandas.read_parquet(file)


def _image(model: Any, file: Path) -> Any:
    """A batch of one, of the type that the model's signature says."""
    try:
        import numpy
        from PIL import Image
    except ImportError as error:
        raise NotScored(f"{file.name} is an image: {error}. Add pillow to the model's environment.") from error
    with Image.open(file) as opened:
        pixels = numpy.asarray(opened)[numpy.newaxis]
    schema = _schema(model)
    if schema is None or not schema.is_tensor_spec():
        raise NotScored("For images the model needs a signature with a tensor.")
    return pixels.astype(schema.inputs[0].type)


def _schema(model: Any) -> Any:
    return getattr(model.metadata, "get_input_schema", lambda: None)()


def _predictions(returned: Any) -> list[Any]:
    """One for each row."""
    if hasattr(returned, "to_dict") and hasattr(returned, "columns"):
        rows = returned.to_dict(orient="records")
        return [next(iter(row.values())) for row in rows] if len(returned.columns) == 1 else rows
    if hasattr(returned, "tolist"):
        return _list(returned.tolist())
    return list(returned)


def _list(values: Any) -> list[Any]:
    found = values if isinstance(values, list) else [values]
    return [one[0] if isinstance(one, list) and len(one) == 1 else one for one in found]


def _line(number: Any, prediction: Any, file: str) -> str:
    several = isinstance(prediction, (dict, list, tuple))
    written = json.dumps(prediction, default=_plain) if several else _plain(prediction)
    return _csv((number, written, file))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value if isinstance(value, (str, int, float)) else str(value)


def _csv(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
