"""The smaller parts: settings, stand-in modules, requests and responses, metrics, postponed imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from smalt.agent.inject.amlapi import AMLResponse
from smalt.agent.inject.config import AzureSettings, ConfigError, ServeConfig
from smalt.agent.inject.containers import Headers, MultiDict
from smalt.agent.inject.metrics import Metrics
from smalt.agent.inject.mlflow_model import answer_value, find_model
from smalt.agent.inject.outcome import to_json
from smalt.agent.inject.predictor import EXAMPLE_BYTES, EXAMPLE_FILE, Predictor

SOURCE = Path(__file__).parents[3] / "src"


def test_variables_win_over_the_apps_config_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"SCORING_TIMEOUT_MS": 500, "SERVICE_NAME": "stored"}))
    settings = AzureSettings.read({"SERVICE_NAME": "set", "AML_CORS_ORIGINS": "a, b,"}, str(tmp_path), "")
    assert (settings.service_name, settings.scoring_timeout_ms) == ("set", 500)
    assert settings.cors_origins == ("a", "b")
    assert settings.server_version.startswith("smalt-inference/")
    assert AzureSettings.read({"SERVER_VERSION_LOG_RESPONSE_ENABLED": "false"}, "", "").server_version == ""


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="WORKER_COUNT"):
        AzureSettings.read({"WORKER_COUNT": "many"}, "", "")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(ConfigError, match="AZUREML_CONFIG_FILE"):
        AzureSettings.read({"AZUREML_CONFIG_FILE": str(tmp_path / "bad")}, "", "")
    with pytest.raises(ConfigError, match="launch file"):
        ServeConfig.from_file(str(tmp_path / "none"))


@pytest.mark.parametrize(
    "line",
    [
        "from azureml.contrib.services.aml_request import AMLRequest, rawhttp",
        "from azureml.contrib.services.aml_request import *; rawhttp",
        "import azureml.contrib.services.aml_request as m; m.rawhttp",
        "import azureml.contrib.services.aml_response; azureml.contrib.services.aml_response.AMLResponse",
        "from azureml_inference_server_http.api.aml_request import rawhttp",
        "from azureml_inference_server_http.api.aml_response import AMLResponse",
    ],
)
def test_scripts_find_the_raw_http_classes_where_azure_has_them(line: str) -> None:
    code = f"from smalt.agent.inject.amlapi import install_modules; install_modules()\n{line}"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(SOURCE)})


def test_the_rest_of_an_installed_azureml_stays_importable(tmp_path: Path) -> None:
    for package in ("azureml/own", "azureml/contrib/other"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    code = """
from smalt.agent.inject.amlapi import install_modules; install_modules()
import azureml.own, azureml.contrib.other
from azureml.contrib.services.aml_response import AMLResponse
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": f"{SOURCE}:{tmp_path}"})


def test_headers_and_multidicts() -> None:
    headers = Headers([("A", 1), ("b", 2)])
    headers.add("a", 3)
    assert headers["a"] == "1"
    assert headers.getlist("A") == ["1", "3"]
    headers["A"] = 4
    assert headers.items() == [("A", "4"), ("b", "2")]
    values = MultiDict([("n", "1"), ("n", "x")])
    assert values.get("n", type=int) == 1
    assert values.get("m", 5, type=int) == 5
    assert values.getlist("n") == ["1", "x"]


def test_a_response_is_read_once_and_may_be_changed() -> None:
    made = AMLResponse((part for part in ["a", b"b"]), 200)
    assert made.get_data() == made.data == b"ab"
    made.data = "ü"
    assert made.get_data(as_text=True) == "ü"
    made.content_type = "x/y"
    assert made.mimetype == "x/y"


def test_values_of_numpy_and_pandas_are_json() -> None:
    import numpy as np
    import pandas as pd

    value = {"a": np.arange(2), "f": np.float32(0.5), "t": pd.Timestamp("2020-01-02"), "d": pd.DataFrame({"x": [1]})}
    assert json.loads(to_json(value)) == {"a": [0, 1], "f": 0.5, "t": "2020-01-02T00:00:00", "d": [{"x": 1}]}
    assert answer_value(pd.Series([1, 2], name="n")) == [{"n": 1}, {"n": 2}]
    with pytest.raises(TypeError, match="not JSON serializable"):
        to_json(object())


def test_the_model_is_found_below_the_models_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no MLmodel file"):
        find_model(str(tmp_path))
    (tmp_path / "model" / "inner").mkdir(parents=True)
    (tmp_path / "model" / "MLmodel").touch()
    (tmp_path / "model" / "inner" / "MLmodel").touch()
    assert find_model(str(tmp_path)) == str(tmp_path / "model")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "MLmodel").touch()
    with pytest.raises(FileNotFoundError, match="2 MLmodel files"):
        find_model(str(tmp_path))


def test_metrics_add_up() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.001, 0.02, 100):
        metrics.scored(200, False, seconds)
    metrics.scored(424, True, 0.01)
    metrics.batch(3, 0.03)
    metrics.waited(0.2)
    text = metrics.text().decode()
    assert 'requests_total{code="200"} 4' in text
    assert "run_failures_total 1" in text
    assert 'request_seconds_bucket{le="0.001"} 2' in text
    assert 'request_seconds_bucket{le="60"} 4' in text
    assert 'request_seconds_bucket{le="+Inf"} 5' in text
    assert 'batch_requests_bucket{le="4"} 1' in text
    assert 'call_seconds_bucket{le="0.05"} 1' in text and 'call_seconds_bucket{le="0.025"} 0' in text
    assert "wait_seconds_sum 0.2" in text


def test_a_postponed_package_runs_when_it_is_used(tmp_path: Path) -> None:
    package = tmp_path / "heavy"
    (package / "part").mkdir(parents=True)
    (package / "__init__.py").write_text("print('heavy ran')\nfrom heavy.part import WORD\nVALUE = WORD + '!'\n")
    (package / "part" / "__init__.py").write_text("WORD = 'part'\n")
    code = """
from smalt.agent.inject.postpone import postpone
assert postpone("heavy") and not postpone("heavy") and not postpone("not_there")
from heavy.part import WORD
import heavy
print("before", WORD)
from heavy import VALUE
print(VALUE, heavy.VALUE)
try:
    heavy.nothing
except AttributeError as ex:
    print(ex)
"""
    variables = {"PYTHONPATH": f"{SOURCE}:{tmp_path}"}
    done = subprocess.run([sys.executable, "-c", code], check=True, env=variables, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "before part",
        "heavy ran",
        "part! part!",
        "module 'heavy' has no attribute 'nothing'",
    ]


def test_the_description_has_the_models_own_example(tmp_path: Path) -> None:
    predictor = Predictor.__new__(Predictor)
    predictor.folder, predictor.layout = str(tmp_path), None

    def example() -> object:
        return predictor.swagger_schemas()[0]["example"]

    assert example() == {"input_data": []}
    given = {"dataframe_split": {"columns": ["a"], "data": [[1]]}}
    (tmp_path / EXAMPLE_FILE).write_text(json.dumps(given))
    assert example() == given
    for unusable in ("[1]", "{", json.dumps({"inputs": "x" * EXAMPLE_BYTES})):
        (tmp_path / EXAMPLE_FILE).write_text(unusable)
        assert example() == {"input_data": []}
