"""The edge in front of MLflow's real process: what is passed on, what is kept apart, what it survives."""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
from typing import Any

import httpx
import pytest

from live.patience import PATIENCE_S
from smalt.arm.ports import RunChanges, RunSpec

API = "/api/2.0/mlflow"
LONG = "j" + "o-b_" * 62 + "x"  # 250 characters


@pytest.fixture
def run(site: Any, request: pytest.FixtureRequest) -> str:
    """A job's run in alpha."""
    name = re.sub(r"[^\w-]", "-", request.node.name)[:200]
    site.tracking.ensure_run(RunSpec(site.alpha.key, name, "jobs", "Display", "ada", {"a": "b"}))
    return name


def stored(client: httpx.Client, run: str) -> dict[str, Any]:
    answer = client.get(f"{API}/runs/get", params={"run_id": run})
    assert answer.status_code == 200, answer.text
    return answer.json()["run"]


def test_a_jobs_run_is_what_mlflow_itself_would_have_made(site: Any, run: str) -> None:
    with site.client() as client:
        experiment = client.get(f"{API}/experiments/get-by-name", params={"experiment_name": "jobs"}).json()[
            "experiment"
        ]
        own = {"experiment_id": experiment["experiment_id"], "user_id": "ada", "start_time": 1, "run_name": "Display"}
        stock = client.post(f"{API}/runs/create", json=own).json()["run"]
        job = stored(client, run)
        assert set(job["info"]) == set(stock["info"])
        assert (job["info"]["status"], job["info"]["lifecycle_stage"], job["info"]["run_name"]) == (
            "RUNNING",
            "active",
            "Display",
        )
        assert {tag["key"] for tag in job["data"]["tags"]} == {
            "mlflow.runName",
            "mlflow.user",
            "mlflow.source.type",
            "a",
        }
        made = client.post(f"{API}/experiments/create", json={"name": f"stock {run}"}).json()["experiment_id"]
        other = client.get(f"{API}/experiments/get", params={"experiment_id": made}).json()["experiment"]
        location = experiment["artifact_location"]
        assert location.rsplit("/", 1)[0] == other["artifact_location"].rsplit("/", 1)[0]
        assert location.endswith(f"/{experiment['experiment_id']}") and set(experiment) == set(other)


@pytest.mark.parametrize("name", [LONG, "a", "with-dash_and_underscore", "0123"])
def test_any_jobs_name_is_a_run_id_for_the_stock_server(site: Any, name: str) -> None:
    site.tracking.ensure_run(RunSpec(site.alpha.key, name, "long names"))
    with site.client() as client:
        ok = lambda answer: answer.raise_for_status().json()  # noqa: E731
        ok(
            client.post(
                f"{API}/runs/log-metric", json={"run_id": name, "key": "m", "value": 1, "timestamp": 1, "step": 0}
            )
        )
        metrics = [{"key": f"m{n}", "value": n, "timestamp": 1, "step": n} for n in range(50)]
        ok(
            client.post(
                f"{API}/runs/log-batch",
                json={"run_id": name, "metrics": metrics, "params": [{"key": "p", "value": "1"}]},
            )
        )
        ok(client.post(f"{API}/runs/set-tag", json={"run_id": name, "key": "t", "value": "v"}))
        found = stored(client, name)
        assert len(found["data"]["metrics"]) == 51
        searched = ok(
            client.post(
                f"{API}/runs/search",
                json={
                    "experiment_ids": [found["info"]["experiment_id"]],
                    "filter": f"attributes.run_id = '{name}' and metrics.m = 1",
                },
            )
        )
        assert [one["info"]["run_id"] for one in searched["runs"]] == [name]
        history = ok(client.get(f"{API}/metrics/get-history", params={"run_id": name, "metric_key": "m"}))
        assert len(history["metrics"]) == 1
        artifact = found["info"]["artifact_uri"]
        assert client.put(f"{artifact}/deep/file.txt", content=b"x").status_code == 200
        assert site.artifact(f"ExperimentRun/dcid.{name}/deep/file.txt") == b"x"
        listed = ok(
            client.get(f"{API}/artifacts/list", params={"run_id": name, "path": "deep"})
        )  # MLflow's process itself
        assert [(one["path"], int(one["file_size"])) for one in listed["files"]] == [("deep/file.txt", 1)]


def test_status_as_the_script_and_then_the_job_leave_it(site: Any, run: str) -> None:
    def status(client: httpx.Client) -> str:
        return stored(client, run)["info"]["status"]

    with site.client() as client:
        assert status(client) == "RUNNING"
        client.post(f"{API}/runs/update", json={"run_id": run, "status": "FINISHED", "end_time": 5}).raise_for_status()
        assert status(client) == "FINISHED"
        client.post(f"{API}/runs/update", json={"run_id": run, "status": "RUNNING"}).raise_for_status()
        site.tracking.end_run(site.alpha.key, run, "FAILED", 1234.5)
        assert status(client) == "FAILED" and stored(client, run)["info"]["end_time"] == 1234500
        site.tracking.change_run(site.alpha.key, run, RunChanges("New name", {"k": "v"}, hidden=True))
        info = stored(client, run)["info"]
        assert (info["run_name"], info["lifecycle_stage"]) == ("New name", "deleted")


def test_one_workspace_cannot_reach_another(site: Any, run: str) -> None:
    with site.client() as alpha:
        info = stored(alpha, run)["info"]
        alpha.put(f"{info['artifact_uri']}/secret.txt", content=b"secret")
        model = alpha.post(
            f"{API}/logged-models", json={"experiment_id": info["experiment_id"], "name": "m", "source_run_id": run}
        ).json()["model"]["info"]
    beta_job = site.token(site.beta, "job")
    with site.client(site.alpha, beta_job) as intruder:
        assert intruder.get(f"{API}/runs/get", params={"run_id": run}).status_code == 403
        assert intruder.get(f"{info['artifact_uri']}/secret.txt").status_code == 403
    experiment, header = info["experiment_id"], {"X-MLFLOW-WORKSPACE": "alpha", "x-mlflow-workspace": "alpha"}
    with site.client(site.beta) as beta:
        tries: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", f"{API}/runs/get", {"params": {"run_id": run}, "headers": header}),
            ("GET", f"{API}/experiments/get", {"params": {"experiment_id": experiment}}),
            ("GET", f"{API}/metrics/get-history", {"params": {"run_id": run, "metric_key": "m"}}),
            ("GET", f"{API}/artifacts/list", {"params": {"run_id": run}}),
            ("GET", "/get-artifact", {"params": {"run_uuid": run, "path": "secret.txt"}}),
            ("GET", f"{API}/logged-models/{model['model_id']}", {}),
            ("POST", f"{API}/runs/log-metric", {"json": {"run_id": run, "key": "m", "value": 1, "timestamp": 1}}),
            ("POST", f"{API}/runs/update", {"json": {"run_id": run, "status": "KILLED"}}),
            ("POST", f"{API}/runs/delete", {"json": {"run_id": run}}),
            ("POST", f"{API}/runs/create", {"json": {"experiment_id": experiment}}),
            (
                "POST",
                f"{API}/logged-models",
                {"json": {"experiment_id": experiment, "name": "x", "source_run_id": run}},
            ),
            ("GET", "/api/2.0/mlflow-artifacts/artifacts/ExperimentRun/dcid." + run + "/secret.txt", {}),
        ]
        for method, path, options in tries:
            answer = beta.request(method, path, **options)
            assert answer.status_code in (400, 404), (method, path, answer.text)
            assert "secret" not in answer.text.replace("secret.txt", "")
        searched = beta.post(f"{API}/runs/search", json={"experiment_ids": [experiment]}).json()
        assert searched.get("runs", []) == []
        listed = beta.get(f"{API}/experiments/search", params={"max_results": 1000}).json()
        assert "jobs" not in [one["name"] for one in listed["experiments"]]
        graph = {
            "query": "query Q($id: String) { mlflowGetRun(input: {runId: $id}) { apiError { code } run { info { runId } } } }",
            "variables": {"id": run},
        }
        assert run not in beta.post("/graphql", json=graph).text.replace(f"'{run}'", "").replace(f"={run}", "")
    with site.client() as alpha:
        assert stored(alpha, run)["info"]["status"] == "RUNNING" and stored(alpha, run)["data"].get("metrics", []) == []


def test_experiment_0_is_each_workspaces_own(site: Any) -> None:
    ids = set()
    for workspace in (site.alpha, site.beta):
        with site.client(workspace) as client:
            made = client.post(f"{API}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
            found = client.post(f"{API}/runs/search", json={"experiment_ids": ["0"]}).json()["runs"]
            assert made["run_id"] in [one["info"]["run_id"] for one in found]
            name = client.get(f"{API}/experiments/get", params={"experiment_id": 0}).json()["experiment"]["name"]
            assert name == "Default"
            ids.add(made["experiment_id"])
    assert len(ids) == 2 and "0" not in ids


def test_bad_bodies(site: Any, run: str) -> None:
    with site.client() as client:
        as_json = {"content-type": "application/json"}
        for body in (
            b"{",
            b"[]",
            b"\xff",
            b'"x"',
            b"null",
            b'{"run_id": 1}',
            b'{"run_id": "\xff"}',
            b'{"run_id": ["%s"]}' % run.encode(),
        ):
            answer = client.post(f"{API}/runs/log-metric", content=body, headers=as_json)
            assert 400 <= answer.status_code < 500, (body, answer.status_code, answer.text)
            assert "error_code" in answer.json()
        assert client.post(f"{API}/runs/log-batch", content=b"x" * (100 << 20), headers=as_json).status_code == 413
        assert client.post(f"{API}/nothing/here", json={}).status_code == 404
        assert stored(client, run)["info"]["status"] == "RUNNING"


def test_a_browser_opens_mlflows_ui(site: Any, run: str) -> None:
    with site.client() as client:
        client.put(f"{stored(client, run)['info']['artifact_uri']}/plot.txt", content=b"plot")
    del client.headers["Authorization"]
    browser = httpx.Client(
        base_url=client.base_url,
        cookies={"session": "opened"},
        verify=ssl.create_default_context(cafile=site.settings.tls / "ca.pem"),
    )
    with browser:
        page = browser.get("/")
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert any(link.endswith(".js") for link in links)
        for link in links:  # relative ones, so they stay below the workspace
            assert not link.startswith("/"), link
            assert browser.get(f"/{link.removeprefix('./')}").status_code == 200, link
        found = browser.post("/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 100}).json()
        assert "jobs" in [one["name"] for one in found["experiments"]]
        info = browser.get("/ajax-api/3.0/mlflow/server-info").json()
        assert info["workspaces_enabled"] is False
        shown = browser.get("/get-artifact", params={"run_uuid": run, "path": "plot.txt"})
        assert shown.content == b"plot", shown.text
        assert shown.headers["content-disposition"].startswith("attachment")
        assert browser.get("/get-artifact", params={"run_uuid": run, "path": "../../x"}).status_code == 400
        browser.cookies.clear()
        assert browser.get("/").status_code == 401


@pytest.mark.serial  # MLflow's start takes all there is
def test_a_kill_of_mlflow_is_not_noticed(site: Any, run: str) -> None:
    failures: list[str] = []
    posted: list[int] = []

    def log(worker: int) -> None:
        with site.client() as client:
            for step in range(60):
                metric = {"run_id": run, "key": f"w{worker}", "value": step, "timestamp": step, "step": step}
                answer = client.post(f"{API}/runs/log-metric", json=metric)
                if answer.status_code != 200:
                    failures.append(answer.text)
                posted.append(worker)

    workers = [threading.Thread(target=log, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + PATIENCE_S
    while len(posted) < 30:
        assert time.monotonic() < deadline, failures
        time.sleep(0.001)
    site.kill()
    assert len(posted) < 180 - 30  # in the middle
    site.tracking.change_run(site.alpha.key, run, RunChanges(tags={"while": "down"}))
    site.start()
    for worker in workers:
        worker.join()
    assert failures == []
    with site.client() as client:
        for number in range(3):
            history = client.get(
                f"{API}/metrics/get-history", params={"run_id": run, "metric_key": f"w{number}"}
            ).json()
            assert [one["step"] for one in history["metrics"]] == list(range(60))
        assert {"key": "while", "value": "down"} in stored(client, run)["data"]["tags"]


def test_a_large_artifact_is_streamed(site: Any, run: str) -> None:
    block = os.urandom(1 << 20)
    with site.client() as client:
        uri = stored(client, run)["info"]["artifact_uri"]
        assert client.put(f"{uri}/large.bin", content=(block for _ in range(64))).status_code == 200
        with client.stream("GET", f"{uri}/large.bin") as answer:
            assert answer.headers["content-length"] == str(64 << 20)
            assert all(chunk == block for chunk in answer.iter_bytes(1 << 20))


def test_a_logged_model_lies_with_its_run(site: Any, run: str) -> None:
    with site.client() as client:
        info = stored(client, run)["info"]
        ask = {"experiment_id": info["experiment_id"], "name": "model", "source_run_id": run}
        first = client.post(f"{API}/logged-models", json=ask).json()["model"]["info"]
        assert first["artifact_uri"] == f"{info['artifact_uri']}/model"
        client.put(f"{first['artifact_uri']}/MLmodel", content=b"first")
        second = client.post(f"{API}/logged-models", json=ask).json()["model"]["info"]
        client.put(f"{second['artifact_uri']}/MLmodel", content=b"second")
        assert site.artifact(f"ExperimentRun/dcid.{run}/model/MLmodel") == b"second"
        for model, content in ((first, b"first"), (second, b"second")):
            now = client.get(f"{API}/logged-models/{model['model_id']}").json()["model"]["info"]
            assert client.get(f"{now['artifact_uri']}/MLmodel").content == content


def test_the_plugins_own_call(site: Any, run: str) -> None:
    body = {"run_id": run, "metrics": [{"key": "m", "value": 1.0, "timestamp": 1, "step": 0}]}
    with site.client() as client:
        answer = client.post("/api/2.0/preview/mlflow/runs/log-batch-async", json=body)
        assert answer.status_code == 200 and not answer.json().get("batch_tracking_id")
        assert [one["key"] for one in stored(client, run)["data"]["metrics"]] == ["m"]
