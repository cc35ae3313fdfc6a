"""Scripts with inference-schema's decorators over values that hold others, at Azure's own inference server and at ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Pair, pair_of  # pyright: ignore

NESTED = """
import datetime
import numpy as np, pandas as pd
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType as Plain

sample = {"a": pd.Series([1], dtype="int64"), "b": [0.5], "s": ["x"], "t": pd.to_datetime(["2020-01-01"])}
frame = PandasParameterType(pd.DataFrame(sample), enforce_shape=False)
array = NumpyParameterType(np.array([[1.0, 2.0]], dtype="float32"), enforce_shape=False)
nested = Plain({
    "frame": frame, "arrays": Plain([array]), "when": Plain(datetime.datetime(2020, 1, 1)), "name": Plain("n"),
    "plain": Plain({"deep": [1, {"x": 2.5}]}),
})

def init():
    pass

@input_schema("Inputs", nested)
@input_schema("GlobalParameters", Plain({"method": "predict"}))
@output_schema(Plain({"Results": Plain([1.0])}))
def run(Inputs, GlobalParameters={"method": "x"}):
    if GlobalParameters.get("method") == "boom":
        raise ValueError("grüße ☃ \\ud83d")
    f, arrays = Inputs["frame"], Inputs["arrays"]
    seen = [f.dtypes.map(str).to_dict(), f.to_json(), [a.tolist() for a in arrays], [str(a.dtype) for a in arrays]]
    return {"Results": [*seen, str(Inputs["when"]), repr(Inputs["plain"]), GlobalParameters]}
"""
FRAMES = """
import numpy as np, pandas as pd
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType

def init():
    pass

sample = pd.DataFrame({"a": [1], "b": [0.5], "c": ["x"]})

@input_schema("records", PandasParameterType(sample))
@input_schema("split", PandasParameterType(sample, orient="split", apply_column_names=True))
@output_schema(NumpyParameterType(np.array([1.0])))
def run(records, split):
    return [[one.dtypes.map(str).to_dict(), one.to_json()] for one in (records, split)]
"""
GOOD = {
    "frame": [{"a": 1, "b": 2, "s": "ü", "t": "2021-02-03"}],
    "arrays": [[[1, 2]], [[3, 4]]],
    "when": "2021-01-01T00:00:00",
    "name": "n",
    "plain": {"deep": [3, {"x": 1}]},
}


@pytest.fixture(scope="module")
def nested(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    yield from pair_of(serving_python, tmp_path_factory.mktemp("nested"), NESTED)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"frame": []},
        {"frame": [{"a": "no"}]},
        {"frame": {"a": [1]}},
        {"extra": 1},
        {"arrays": [["x"]]},
        {"name": 5},
        {"when": "never"},
        {"plain": None},
    ],
)
def test_values_that_hold_others(nested: Pair, changed: dict) -> None:
    nested.post({"Inputs": {**GOOD, **changed}})


@pytest.mark.parametrize(
    "body",
    [
        {"Inputs": GOOD, "GlobalParameters": {"method": "predict_proba"}},
        {"Inputs": GOOD, "GlobalParameters": {"method": "boom"}},
        {"Inputs": GOOD, "GlobalParameters": 5},
        {"Inputs": GOOD, "GlobalParameters": None},
        {"Inputs": {name: value for name, value in GOOD.items() if name != "when"}},
        {"Inputs": []},
        {"Inputs": None},
        {"inputs": GOOD},
    ],
)
def test_parameters_beside_them(nested: Pair, body: dict) -> None:
    nested.post(body)


@pytest.mark.parametrize("version", ["2", "3", "3.1"])
def test_they_are_described(nested: Pair, version: str) -> None:
    expected = nested.reference.ask("GET", f"/swagger.json?version={version}")
    got = nested.ours.ask("GET", f"/swagger.json?version={version}")
    assert (got.status, got.json()) == (expected.status, expected.json())


def test_frames_of_both_orientations(serving_python: Path, tmp_path: Path) -> None:
    records, split = [{"a": 1, "b": 2, "c": "y"}], {"columns": ["a", "b", "c"], "data": [[1, 2, "y"]], "index": [5]}
    odd = [[{"a": 1}], [{"a": None, "b": 1, "c": None}], [{"a": 1, "b": 2, "c": "y", "d": 1}], [[1, 2, "y"]], split]
    for pair in pair_of(serving_python, tmp_path, FRAMES):
        expected, _ = pair.post({"records": records, "split": split})
        assert expected.status == 200
        for one in odd:
            pair.post({"records": one, "split": split})
            pair.post({"records": records, "split": one})
