"""MLflow models in place of an entry script: which files they take, and what is written for each of their rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.pyfunc
import numpy
import pandas
import pytest
from mlflow.types.schema import ColSpec, Schema, TensorSpec

from smalt.agent.inject.parallel import mlflow_batch
from smalt.agent.inject.parallel.entry import MiniBatchContext
from smalt.agent.inject.parallel.mlflow_batch import NotScored


class Doubles:
    """A loaded model: twice the first column, as `shape` says."""

    def __init__(self, shape: Any = lambda values: values, schema: Any = None) -> None:
        self._shape = shape
        self.metadata = SimpleNamespace(get_input_schema=lambda: schema)

    def predict(self, data: Any) -> Any:
        values = data.iloc[:, 0].to_numpy() * 2 if hasattr(data, "iloc") else data.sum(axis=(1, 2)).astype("int64")
        return self._shape(values)


FRAME = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})


def score(model: Any, *files: Path) -> list[list[str]]:
    lines = [line for one in files for line in mlflow_batch._lines(model, one)]
    return list(csv.reader(lines))


def table(folder: Path, name: str) -> Path:
    file, kind = folder / name, name.rpartition(".")[2]
    if kind == "csv":
        FRAME.to_csv(file, index=False)
    elif kind in ("parquet", "pqt"):
        FRAME.to_parquet(file)
    else:
        FRAME.to_json(file, orient="records", lines=kind == "jsonl")
    return file


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.pqt", "t.json", "t.jsonl"])
def test_each_row_of_a_table_has_its_number_its_prediction_and_its_file(tmp_path: Path, name: str) -> None:
    assert score(Doubles(), table(tmp_path, name)) == [["0", "2", name], ["1", "4", name]]


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        (lambda values: values.reshape(-1, 1), "2"),
        (lambda values: pandas.Series(values), "2"),
        (lambda values: pandas.DataFrame({"p": values}), "2"),
        (lambda values: list(values), "2"),
        (lambda values: [f"so, {one}" for one in values], "so, 2"),
        (lambda values: numpy.stack([values, values], axis=1), [2, 2]),
        (lambda values: pandas.DataFrame({"p": values, "q": values * 0.5}), {"p": 2, "q": 1.0}),
    ],
)
def test_a_prediction_is_as_the_model_gave_it(tmp_path: Path, shape: Any, first: Any) -> None:
    row = score(Doubles(shape), table(tmp_path, "t.csv"))[0]
    assert (row[1] if isinstance(first, str) else json.loads(row[1])) == first and row[2] == "t.csv"


def test_too_few_predictions_and_files_of_another_type_are_told(tmp_path: Path) -> None:
    with pytest.raises(NotScored, match=r"1 predictions for the 2 rows of t\.csv"):
        score(Doubles(lambda values: values[:1]), table(tmp_path, "t.csv"))
    with pytest.raises(NotScored, match=r"notes.txt.*'.txt'.*\.parquet"):
        score(Doubles(), tmp_path / "notes.txt")


def test_an_image_is_one_line_and_needs_a_tensor(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    file = tmp_path / "dot.png"
    image.fromarray(numpy.full((2, 2), 3, dtype="uint8")).save(file)
    tensor = SimpleNamespace(is_tensor_spec=lambda: True, inputs=[SimpleNamespace(type=numpy.dtype("float32"))])
    assert score(Doubles(schema=tensor), file) == [["", "12", "dot.png"]]
    with pytest.raises(NotScored, match="signature with a tensor"):
        score(Doubles(), file)


SIGNATURE = Schema([ColSpec("double", "a"), ColSpec("string", "zip"), ColSpec("long", "none", required=False)])


@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.jsonl"])
def test_text_is_read_as_the_types_that_the_signature_says(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text(
        {"csv": "zip,a\n007,1\n", "json": '[{"zip": "007", "a": 1}]', "jsonl": '{"zip": "007", "a": 1}\n'}[name[2:]]
    )

    class Strict(Doubles):
        def predict(self, data: Any) -> Any:
            assert data.a.dtype == "float64" and list(data.zip) == ["007"]
            return [1]

    assert score(Strict(schema=SIGNATURE), file) == [["0", "1", name]]


def test_text_that_is_not_of_those_types_fails_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("zip,a\n007,many\n")
    with pytest.raises(NotScored, match=r"t\.csv: could not convert string to float: 'many'"):
        score(Doubles(schema=SIGNATURE), tmp_path / "t.csv")
    tensor = Schema([TensorSpec(numpy.dtype("float32"), (-1, 2))])
    assert score(Doubles(schema=tensor), table(tmp_path, "t.csv"))[0][1] == "2"


def test_a_mini_batch_of_a_table_has_the_types_of_the_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[pandas.DataFrame] = []

    class Model(Doubles):
        def predict(self, data: Any) -> Any:
            asked.append(data)
            return super().predict(data)

    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda _: Model(schema=SIGNATURE))
    script = mlflow_batch.script("model")
    script.init()
    given = pandas.DataFrame({"a": [1, 2], "zip": [8005, None], "more": [1, 2]})
    assert script.run(given, MiniBatchContext(7)) == ["0,2.0,7", "1,4.0,7"]
    assert asked[0]["a"].dtype == "float64" and asked[0]["zip"].dtype == object
    assert asked[0]["zip"].tolist()[1] is None
    with pytest.raises(NotScored, match="'a' of the table is no float64"):
        script.run(pandas.DataFrame({"a": ["x"]}), MiniBatchContext(0))
