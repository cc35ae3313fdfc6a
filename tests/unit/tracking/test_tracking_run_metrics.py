"""Azure's metric service, as `azureml.core` 1.61 asks it: what a run logs and reads, and what cannot be kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from fakes import mlflow_tables
from fakes.tracking_edge import WORKSPACE, Edge
from smalt.arm.ports import RunSpec
from smalt.tracking.database import schema
from smalt.tracking.edge import run_metrics
from smalt.tracking.runs import logged

AT = "2026-01-02T03:04:05.678Z"
SCALAR, LIST, TABLE = "azureml.v1.scalar", "azureml.v1.list", "azureml.v1.table"


def value(step: int | None = None, **data: Any) -> dict[str, Any]:
    return {"metricId": "x", "createdUtc": AT, "data": data, **({} if step is None else {"step": step})}


def metric(name: str, *values: dict[str, Any], type_: str = SCALAR, **columns: str) -> dict[str, Any]:
    return {
        "name": name,
        "columns": columns or {name: "double"},
        "value": list(values),
        "properties": {"uxMetricType": type_},
    }


class Service:
    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def post(self, call: str, body: Any, run: str = "job", status: int = 200, **options: Any) -> Any:
        answer = self._edge.ask("POST", f"/runs/{run}/{call}", prefix="/metric/v2.0", json=body, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def logs(self, *metrics: dict[str, Any], status: int = 200) -> Any:
        return self.post("batch", {"values": list(metrics), "reportErrors": True}, status=status)

    def read(self, name: str) -> list[Any]:
        """As `InlineMetric.get_cells_from_metric_v2_dto` reads an answer."""
        full = self.post("full", {"metricName": name})
        assert full["properties"]["uxMetricType"] == SCALAR and full["dataContainerId"] == "dcid.job"
        found = list(full["value"])
        while token := full["continuationToken"]:
            full = self.post("full", {"metricName": name, "continuationToken": token})
            found += full["value"]
        return [(one["step"], float(one["data"][name])) for one in found]


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Edge:
    made = Edge(tmp_path_factory.mktemp("edge"))
    mlflow_tables.make(made.settings)
    with made.tracking.database.write() as connection:
        connection.execute(insert(schema.revisions).values(version_num=schema.REVISION))
    return made


@pytest.fixture
def service(edge: Edge) -> Iterator[Service]:
    edge.tracking.ensure_workspace(WORKSPACE.key)
    edge.tracking.ensure_run(RunSpec(WORKSPACE.key, "job", "e"))
    yield Service(edge)
    edge.tracking.remove_run(WORKSPACE.key, "job")


def test_what_a_run_logs_is_mlflows_and_read_back(service: Service, edge: Edge) -> None:
    service.logs(metric("loss", value(loss=0.5)), metric("loss", value(loss=0.25)), metric("auc", value(7, auc=1)))
    service.logs(metric("loss", value(loss=0.125)), metric("many", *(value(many=n) for n in (1, 1, 2)), type_=LIST))
    assert service.read("loss") == [(0, 0.5), (1, 0.25), (2, 0.125)]
    assert service.read("auc") == [(7, 1.0)] and [one for _, one in service.read("many")] == [1, 1, 2]
    run = edge.tracking.run(WORKSPACE.key, "job")
    assert run is not None and run.metrics == {"loss": 0.125, "auc": 1, "many": 2}
    assert {one["metricKey"]["name"] for one in service.post("list", {})["value"]} == {"loss", "auc", "many"}


def test_a_row_is_a_metric_for_each_column(service: Service) -> None:
    row = metric("curve", value(x=1, y=2.5), value(x=2, y=3), type_=TABLE, x="int", y="double")
    service.logs(row)
    assert service.read("curve/x") == [(0, 1.0), (1, 2.0)] and service.read("curve/y") == [(0, 2.5), (1, 3.0)]


def test_numbers_that_are_none(service: Service) -> None:
    service.logs(metric("odd", value(odd="NaN"), value(odd="Infinity"), value(odd="-Infinity"), value(odd=True)))
    found = [one for _, one in service.read("odd")]
    assert math.isnan(found[0]) and found[1:] == [math.inf, -math.inf, 1.0]


def test_what_cannot_be_kept_is_named_and_the_rest_is_kept(service: Service) -> None:
    answer = service.logs(
        metric("text", value(text="blue"), text="string"),
        metric("a?b", value(**{"a?b": 1})),
        metric("ok", value(ok=1)),
        metric(
            "picture",
            value(picture="aml://artifactId/ExperimentRun/dcid.job/p.png"),
            type_="azureml.v2.image",
            picture="Artifact",
        ),
        status=207,
    )
    told = {one["metric"]["name"]: one["errorResponse"]["error"]["message"] for one in answer["errors"]}
    assert set(told) == {"text", "a?b"} and "run.tag" in told["text"] and "no metric's name" in told["a?b"]
    assert service.read("ok") == [(0, 1.0)]


@pytest.mark.parametrize("at", [1_800_000_000_000_000, 1_800_000_000_000_000_000, 253_402_300_800_000, -(10**17)])
def test_times_that_mlflow_has_in_another_unit(service: Service, edge: Edge, at: int) -> None:
    with edge.tracking.database.write() as connection:
        logged.log_metric(connection, "job", "m", 0.5, at, 0)
    assert service.read("m") == [(0, 0.5)]


def test_the_step_after_the_greatest_one(service: Service, edge: Edge) -> None:
    with edge.tracking.database.write() as connection:
        logged.log_metric(connection, "job", "m", 0.5, 0, 2**63 - 1)
    service.logs(metric("m", value(m=1)))
    assert len(service.read("m")) == 2


def test_long_metrics_come_in_pages(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_metrics, "PAGE", 2)
    service.logs(*(metric("m", value(m=n)) for n in range(5)))
    assert service.read("m") == [(n, float(n)) for n in range(5)]


@pytest.mark.parametrize(
    ("call", "body", "status", "words"),
    [
        ("batch", [1], 400, "no object"),
        ("batch", {"values": {}}, 400, "values"),
        ("batch", {"values": [metric("m", {**value(m=1), "createdUtc": "soon"})]}, 400, "values.0.value.createdUtc"),
        ("batch", {"values": [metric("m", {**value(m=1), "step": "7"})]}, 400, "values.0.value.step"),
        ("batch", {"values": [metric("m", *(value(m=n) for n in range(1001)))]}, 400, "1001 numbers"),
        ("full", {"metricName": "nothing"}, 404, "nothing"),
        ("full", {"metricName": "m", "continuationToken": "x"}, 400, "continuationToken"),
        ("full", {"metricName": "m", "continuationToken": "9" * 30}, 400, "continuationToken"),
        ("full", {"metricName": "m", "continuationToken": "9" * 5000}, 400, "continuationToken"),
        ("sums", {}, 404, "sums"),
    ],
)
def test_what_is_wrong_is_named(service: Service, call: str, body: Any, status: int, words: str) -> None:
    assert words in service.post(call, body, status=status)["error"]["message"]


def test_runs_that_are_not_there(service: Service) -> None:
    assert "nobody" in service.post("batch", {}, run="nobody", status=404)["error"]["message"]


def test_the_old_registry_says_what_to_write(edge: Edge) -> None:
    answer = edge.ask("POST", "/models", prefix="/modelmanagement/v1.0", json={"name": "m"})
    assert answer.status_code == 501 and "mlflow.register_model" in answer.json()["error"]["message"]


def test_there_are_no_web_services_of_version_1(edge: Edge) -> None:
    def ask(method: str, path: str, **more: Any) -> Any:
        return edge.ask(method, path, prefix="/modelmanagement/v1.0", **more)

    assert ask("GET", "/services").json()["value"] == []
    assert ask("DELETE", "/services/one").status_code == 204
    one = ask("GET", "/services/one")
    assert one.status_code == 404 and "NoSuchService" in one.json()["error"]["message"]
    made = ask("POST", "/services", json={"name": "one"})
    assert made.status_code == 501 and "endpoint=" in made.json()["error"]["message"]


def test_a_jobs_token_logs_in_its_own_workspace_only(service: Service, edge: Edge, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {edge.token('/subscriptions/s/other', 'job')}"}
    assert service.post("list", {}, status=403, headers=headers)
