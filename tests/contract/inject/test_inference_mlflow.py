"""No-code MLflow deployments with real models, in the environment of the side-by-side tests."""

from __future__ import annotations

import concurrent.futures
import functools
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live.patience import PATIENCE_S

from .conftest import Running, our_server  # pyright: ignore

NAMES = ["tenure", "monthly", "calls", "late"]
TRAIN = """
import json, pathlib, sys
import mlflow.sklearn, mlflow.pyfunc, numpy as np, pandas as pd
from mlflow.models import infer_signature
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from mlflow.types import ColSpec, Schema, TensorSpec
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

root = sys.argv[1]
REQUESTS = json.load(sys.stdin)
rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(300, 4)), columns=["tenure", "monthly", "calls", "late"])
y = (X.tenure + X.monthly * X.calls > 0).astype(int)

def save(name, model, data, target):
    model.fit(data, target)
    signature = infer_signature(data, model.predict(data))
    mlflow.sklearn.save_model(model, f"{root}/{name}", signature=signature, pip_requirements=["scikit-learn"])
    loaded = mlflow.pyfunc.load_model(f"{root}/{name}")
    frames = [infer_and_parse_data({"dataframe_split": one}, signature.inputs) for one in REQUESTS[name]]
    predictions = [loaded.predict(frame).tolist() for frame in frames]
    pathlib.Path(f"{root}/{name}.json").write_text(json.dumps(predictions))

save("numbers", make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=30, random_state=0)), X, y)
save("linear", LinearRegression(), X, X.tenure * 3.3 + X.calls * 0.1)

M = X.assign(plan=["a", "b", "c"] * 100, calls=(X.calls * 10).astype(int))
columns = ColumnTransformer([("n", StandardScaler(), ["tenure", "calls"]), ("c", OneHotEncoder(), ["plan"])])
save("mixed", make_pipeline(columns, GradientBoostingClassifier(n_estimators=10, random_state=0)), M, y)

def among_themselves(frame):
    return frame - frame.mean()

rows = FunctionTransformer(among_themselves)
save("together", make_pipeline(rows, LinearRegression()), X, X.tenure)

class Own(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if model_input["tenure"].iloc[0] > 1000:
            raise RuntimeError("this customer is too old")
        return model_input.assign(sum=model_input.sum(axis=1))[["sum"]]

mlflow.pyfunc.save_model(f"{root}/own", python_model=Own(), signature=infer_signature(X), pip_requirements=["pandas"])

class Tensor(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return np.asarray(model_input) * 2

class Seen(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if isinstance(model_input, dict):
            return {name: [str(one.dtype), one.tolist()] for name, one in model_input.items()}
        if isinstance(model_input, pd.DataFrame):
            return [model_input.dtypes.map(str).tolist(), model_input.index.tolist(), model_input.values.tolist()]
        return model_input.tolist()

def seen(name, *specs):
    signature = mlflow.models.ModelSignature(inputs=Schema(list(specs))) if specs else None
    mlflow.pyfunc.save_model(f"{root}/{name}", python_model=Seen(), pip_requirements=["pandas"], signature=signature)

seen("tensors", TensorSpec(np.dtype("float32"), (-1, 2), "a"), TensorSpec(np.dtype("uint8"), (-1,), "b"))
seen("unnamed", ColSpec("double"), ColSpec("double"))
seen("unsigned")
seen("typed", ColSpec("string", "s"), ColSpec("boolean", "b"), ColSpec("long", "n"), ColSpec("binary", "raw", required=False))

mlflow.pyfunc.save_model(f"{root}/deep/er/tensor", python_model=Tensor(), pip_requirements=["pandas"], signature=mlflow.models.ModelSignature(
    inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 2))])))

"""


@pytest.fixture(scope="module")
def models(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    (root / "train.py").write_text(TRAIN)
    requests = json.dumps({name: rows_for(name) for name in ("numbers", "linear", "mixed", "together")})
    command = [serving_python, root / "train.py", root]
    subprocess.run(command, input=requests, check=True, capture_output=True, text=True)
    return root


def serve(python: Path, models: Path, name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp(name)
    launch: dict[str, Any] = {
        "mode": "mlflow",
        "entry_script": "",
        "model_dir": str(models / name),
        "app_root": str(folder),
    }
    collections = {one: {"folder": str(folder / one)} for one in ("model_inputs", "model_outputs")}
    launch["collector"] = {"collections": collections, "instance": "i"}
    with our_server(python, folder, **launch) as running:
        yield running


@pytest.fixture(scope="module")
def numbers(serving_python: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from serve(serving_python, models, "numbers", tmp_path_factory)


@pytest.fixture(scope="module")
def own(serving_python: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from serve(serving_python, models, "own", tmp_path_factory)


ROW = [0.5, -1, 2.25, 0]
RECORD = dict(zip(NAMES, ROW, strict=True))


@pytest.fixture(scope="module")
def typed(serving_python: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from serve(serving_python, models, "typed", tmp_path_factory)


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": {"columns": NAMES, "index": [0], "data": [ROW]}},
        {"input_data": {"columns": NAMES, "data": [ROW]}},
        {"input_data": {"columns": NAMES[::-1], "data": [ROW[::-1]]}},
        {"input_data": {"columns": [*NAMES, "more"], "data": [[*ROW, "x"]]}},
        {"input_data": [ROW]},
        {"input_data": [RECORD]},
        {"input_data": {name: [value] for name, value in RECORD.items()}},
        {"input_data": RECORD},
        {"dataframe_split": {"columns": NAMES, "data": [ROW]}},
        {"dataframe_records": [RECORD]},
        {"inputs": {name: [value] for name, value in RECORD.items()}},
        {"instances": [RECORD]},
        {"inputs": [ROW]},
    ],
)
def test_every_form_of_a_row_is_answered_with_a_bare_list(numbers: Running, body: dict) -> None:
    answer = numbers.post(body)
    assert (answer.status, answer.json()) == (200, [0]), answer.body
    assert answer.raw["x-ms-run-function-failed"] == "False"
    assert float(answer.raw["x-ms-run-fn-exec-ms"]) > 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "POST body is empty"),
        (b"{", "could not be decoded as JSON"),
        (b"[" * 100_000, "could not be decoded as JSON"),
        ([1], "should be a JSON dictionary"),
        ({}, "'input_data'"),
        ({"data": [ROW]}, "it has 'data'"),
        ({"input_data": [ROW], "inputs": [ROW]}, "only one of"),
        ({"input_data": 5}, "not a number"),
        ({"input_data": []}, "no rows"),
        ({"input_data": [ROW[:3]]}, "3 values"),
        ({"input_data": [ROW, ROW[:3]]}, "Row 1"),
        ({"input_data": {"columns": NAMES[:3], "data": [ROW[:3]]}}, "'late'"),
        ({"input_data": {"columns": NAMES, "data": [ROW[:3]]}}, "Row 0"),
        ({"input_data": {"columns": [*NAMES, "late"], "data": [[*ROW, 1]]}}, "twice: 'late'"),
        ({"input_data": [{**RECORD, "late": "x"}]}, "late"),
        ({"input_data": [{**RECORD, "late": True}]}, "late"),
        ({"input_data": [{**RECORD, "late": {"a": 1}}]}, "late"),
        ({"input_data": {**{name: [1.0] for name in NAMES}, "late": [1.0, 2.0]}}, "different lengths"),
        ({"input_data": [ROW], "params": 5}, "'params'"),
    ],
)
def test_a_request_that_cannot_be_scored_is_400_and_says_why(numbers: Running, body: object, said: str) -> None:
    answer = numbers.post(body)
    assert answer.status == 400, answer.body
    assert said in answer.json()["message"]


def test_other_statuses(numbers: Running) -> None:
    assert numbers.ask("GET", "/score").status == 405
    assert numbers.ask("OPTIONS", "/score").status == 200
    assert numbers.ask("POST", "/score", b"{}", {"Content-Type": "text/csv"}).status == 415
    described = numbers.ask("GET", "/swagger.json").json()
    assert described["definitions"]["ServiceInput"]["example"]["input_data"]["columns"] == NAMES


def test_null_is_a_missing_number_and_the_models_refusal_is_424(numbers: Running) -> None:
    answer = numbers.post({"input_data": [{**RECORD, "late": None}]})
    assert answer.status == 424  # GradientBoosting does not take NaN
    assert "NaN" in answer.json()["message"]
    assert numbers.post({"input_data": [ROW]}).json() == [0]


def rows_for(name: str) -> list[dict]:
    columns = [*NAMES, "plan"] if name == "mixed" else NAMES
    requests = []
    for at in range(60):
        rows = []
        for more in range(1 + at % 3):
            row: list = [at / 7 - 4, (at * 37 % 11) - 5.5, (at + more) % 9 - 4, at % 5]
            row[2] = row[2] if name == "mixed" else row[2] / 3
            rows.append([*row, "abc"[at % 3]] if name == "mixed" else row)
        requests.append({"columns": columns, "data": rows})
    return requests


@pytest.mark.parametrize("name", ["numbers", "linear", "mixed", "together"])
def test_together_or_alone_the_predictions_are_pyfuncs(
    serving_python: Path, models: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    requests = rows_for(name)
    expected = json.loads((models / f"{name}.json").read_text())  # from pyfunc, with MLflow's own reading of requests
    for running in serve(serving_python, models, name, tmp_path_factory):
        post = functools.partial(predictions, running)
        alone = list(map(post, requests))
        assert alone == expected
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            together = list(pool.map(post, requests * 4))
        if name == "linear":  # a product of several rows may round the last bit differently
            flat = [value for one in together for value in one]
            assert flat == pytest.approx([value for one in expected * 4 for value in one], rel=1e-12)
        else:
            assert together == expected * 4
        sizes = batch_sizes(running)
        assert (max(sizes) > 1) == (name != "together"), "what waits must be scored together where rows are independent"
        said = {"numbers": "array", "linear": "array", "mixed": "frame"}.get(name)
        assert said is None or f"as one {said}" in running.output()


def predictions(running: Running, split: dict) -> list:
    return running.post({"input_data": split}).json()


def batch_sizes(running: Running) -> list[float]:
    text = running.ask("GET", "/metrics").body.decode()
    count = float(text.split("smalt_inference_batch_requests_count ")[1].split()[0])
    total = float(text.split("smalt_inference_batch_requests_sum ")[1].split()[0])
    return [1.0] if count == total else [1.0, total / count]


def test_one_bad_row_does_not_spoil_the_others(numbers: Running) -> None:
    good = {"input_data": [ROW]}
    bad = {"input_data": [[0.5, -1, 2.25, 1e300]]}  # clean by its type, too large for the model's float32

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda at: numbers.post(bad if at % 4 == 0 else good), range(200)))
    for at, answer in enumerate(answers):
        assert answer.status == (424 if at % 4 == 0 else 200), answer.body
        if at % 4:
            assert answer.json() == [0]


def collected(running: Running, correlation: str) -> tuple[list, list]:
    """What was collected of one request's rows and answers, once it is there."""
    end, found = time.monotonic() + PATIENCE_S, dict[str, list]()
    while len(found) < 2:
        assert time.monotonic() < end, f"only {found.keys()} of {correlation}"
        time.sleep(0.01)
        for name in ("model_inputs", "model_outputs"):
            for path in (running.log.parent / name).rglob("*.jsonl"):
                for one in map(json.loads, path.read_text().splitlines()):
                    if one["correlationid"] == correlation:
                        found[name] = one["data"]
    return found["model_inputs"], found["model_outputs"]


def test_rows_and_predictions_are_collected_as_the_signature_names_them(numbers: Running, own: Running) -> None:
    reverse = {"columns": NAMES[::-1], "data": [ROW[::-1], [1, 2, 3, 4]]}
    answer = numbers.post({"input_data": reverse}, x_request_id="one").json()
    rows = [RECORD, dict(zip(NAMES, [4, 3, 2, 1], strict=True))]
    assert collected(numbers, "one") == (rows, [{"0": one} for one in answer])
    assert own.post({"input_data": [ROW]}, x_request_id="two").status == 200
    assert collected(own, "two") == ([RECORD], [{"sum": 1.75}])
    assert own.post({"input_data": [{"tenure": 1}]}, x_request_id="refused").status == 400


def test_a_model_of_the_users_own(own: Running) -> None:
    assert own.post({"input_data": [ROW]}).json() == [{"sum": 1.75}]
    failed = own.post({"input_data": [{**RECORD, "tenure": 2000}]})
    assert failed.status == 424
    assert failed.json()["message"] == "The model failed: RuntimeError: this customer is too old"
    assert failed.raw["x-ms-run-function-failed"] == "True"
    assert "RuntimeError: this customer is too old" in own.output()
    missing = own.post({"input_data": {"columns": NAMES[1:], "data": [ROW[1:]]}})
    assert missing.status == 400
    assert "'tenure'" in missing.json()["message"]
    assert own.post({"input_data": [ROW]}).status == 200


def test_tensors(serving_python: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for running in serve(serving_python, models, "deep", tmp_path_factory):
        assert running.post({"input_data": [[1, 2], [3, 4]]}).json() == [[2, 4], [6, 8]]
        assert running.post({"inputs": [[1.5, 2]]}, x_request_id="t").json() == [[3, 4]]
        assert collected(running, "t") == ([{"0": 1.5, "1": 2}], [{"0": 3, "1": 4}])
        assert running.post({"input_data": [[1, 2, 3]]}).status == 400
        assert running.post({"input_data": [["x", 2]]}).status == 400
        assert running.post({"input_data": [[1, 2], [3]]}).status == 400


def test_named_tensors_come_together_and_by_rows(
    serving_python: Path, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for running in serve(serving_python, models, "tensors", tmp_path_factory):
        seen = {"a": ["float32", [[1, 2], [3, 4]]], "b": ["uint8", [5, 6]]}
        assert running.post({"inputs": {"a": [[1, 2], [3, 4]], "b": [5, 6]}}).json() == seen
        assert running.post({"instances": [{"a": [1, 2], "b": 5}, {"a": [3, 4], "b": 6}]}).json() == seen
        split = {"columns": ["b", "a"], "data": [[5, [1, 2]], [6, [3, 4]]]}
        assert running.post({"input_data": split}).json() == seen
        for wrong in (256, -1, 1.5, None, "x"):
            refused = running.post({"inputs": {"a": [[1, 2]], "b": [wrong]}})
            assert refused.status == 400 and refused.json()["message"].startswith("'b' is not an array of uint8"), wrong


def test_columns_without_names_are_told_by_their_places(
    serving_python: Path, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for running in serve(serving_python, models, "unnamed", tmp_path_factory):
        for body in ([[1, 2]], {"columns": ["x", "y"], "data": [[1, 2]]}, {"columns": [0, 1], "data": [[1, 2.0]]}):
            answer = running.post({"input_data": body}, x_request_id="one")
            assert answer.json() == [["float64", "float64"], [0], [[1.0, 2.0]]]
        assert collected(running, "one")[0] == [{"0": 1, "1": 2}]
        assert "2 columns" in running.post({"input_data": [[1]]}).json()["message"]


def test_rows_keep_the_names_that_a_request_gives_them(
    serving_python: Path, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for running in serve(serving_python, models, "unsigned", tmp_path_factory):
        split = {"columns": ["a"], "data": [[1], [2]], "index": ["k", 7]}
        assert running.post({"input_data": split}).json() == [["int64"], ["k", 7], [[1], [2]]]
        assert running.post({"input_data": {**split, "index": ["k"]}}).status == 400
        assert running.post({"input_data": None}).status == 400


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"s": ["a"]}, "'s'"), ({"s": 5}, "column s"), ({"b": "true"}, "'b'"), ({"n": 1.5}, "column n"), ({"raw": "***"}, "'raw'")],
)  # fmt: skip
def test_what_is_not_of_its_columns_type_is_named_without_the_rest(typed: Running, changed: dict, said: str) -> None:
    row = {"s": "ü", "b": True, "n": 1, "raw": "YWJj"}
    assert typed.post({"input_data": [{"s": None, "b": False, "n": 2, "raw": None}]}).status in (200, 424)
    refused = typed.post({"input_data": [{**row, **changed}]})
    assert refused.status == 400 and said in refused.json()["message"] and len(refused.body) < 200
