"""What the real MLflow does to runs is what ARM's jobs show, and a run is made once though MLflow is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from live.platform import eventually
from smalt.arm.ports import RunSpec
from smalt.arm.runs import JobRuns
from smalt.store import resources
from smalt.store.resources import Row

API = "/api/2.0/mlflow"


@pytest.fixture
def home(site: Any) -> str:
    """The workspace as ARM has it: jobs are in it."""
    with site.database.write() as connection:
        if resources.get(connection, site.alpha.key) is None:
            resources.insert(
                connection,
                key=site.alpha.key,
                written=str(site.alpha),
                kind="workspaces",
                parent=site.alpha.parent.key,
                name=site.alpha.name,
                spec={"properties": {}},
                status={},
                state="Succeeded",
                now=1.0,
                by="test",
            )
    return site.alpha.key


def job(site: Any, name: str) -> Row:
    with site.database.read() as connection:
        row = resources.get(connection, site.alpha.child("jobs", name).key)
    assert row is not None, name
    return row


def mlflow(site: Any, tmp_path: Path, script: str) -> dict[str, Any]:
    """What a user's script prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=site.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_runs_of_a_script_are_jobs(site: Any, home: str, tmp_path: Path) -> None:
    said = mlflow(
        site,
        tmp_path,
        "import json, mlflow; mlflow.set_experiment('outside'); c = mlflow.MlflowClient()\n"
        "with mlflow.start_run(run_name='notebook', description='By hand', tags={'a': '1', 'b': '2'}) as run:\n"
        "    mlflow.log_metric('m', 1); mlflow.log_params({'lr': 0.1})\n"
        "    with mlflow.start_run(run_name='kid', nested=True) as kid: pass\n"
        "r = run.info.run_id; c.set_tag(r, 'a', '3'); c.delete_tag(r, 'b'); c.update_run(r, name='renamed')\n"
        "c.log_batch(r, tags=[mlflow.entities.RunTag('d', '4')], params=[mlflow.entities.Param('p', 'q')])\n"
        "c.delete_run(kid.info.run_id)\n"
        "print(json.dumps({'run': r, 'kid': kid.info.run_id, 'tags': sorted(c.get_run(r).data.tags)}))\n",
    )
    row, kid = job(site, said["run"]), job(site, said["kid"])
    assert (row.state, row.properties["displayName"], row.properties["description"]) == (
        "Completed",
        "renamed",
        "By hand",
    )
    assert (row.properties["tags"], row.properties["experimentName"]) == ({"a": "3", "d": "4"}, "outside")
    assert (kid.parent, kid.archived, kid.properties["displayName"]) == (row.id, True, "kid")
    assert not any(tag.startswith("smalt") for tag in said["tags"])
    assert site.tracking.parameters(home, said["run"]) == {"lr": "0.1", "p": "q"}


def test_an_experiment_that_is_deleted_renamed_restored_takes_its_runs_along(site: Any, home: str) -> None:
    with site.client() as client:
        number = client.post(f"{API}/experiments/create", json={"name": "to rename"}).json()["experiment_id"]
        run = client.post(f"{API}/runs/create", json={"experiment_id": number}).json()["run"]["info"]["run_id"]
        client.post(
            f"{API}/experiments/update", json={"experiment_id": number, "new_name": "renamed"}
        ).raise_for_status()
        assert job(site, run).properties["experimentName"] == "renamed"
        client.post(f"{API}/experiments/delete", json={"experiment_id": number}).raise_for_status()
        assert job(site, run).archived
        client.post(f"{API}/experiments/restore", json={"experiment_id": number}).raise_for_status()
        assert not job(site, run).archived


def test_what_happened_while_this_server_was_away_is_made_good(
    site: Any, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None: ...

    with site.client() as client:
        with monkeypatch.context() as patched:
            patched.setattr(JobRuns, "take_over", away)
            run = client.post(f"{API}/runs/create", json={"experiment_id": "0", "run_name": "missed"}).json()
        name = run["run"]["info"]["run_id"]
    with site.database.read() as connection:
        assert resources.get(connection, site.alpha.child("jobs", name).key) is None
    while JobRuns(site.database, site.tracking, lambda: 5.0).take_over_all():
        pass
    assert job(site, name).properties["displayName"] == "missed"


def test_runs_are_made_once_though_mlflow_is_killed(site: Any, home: str) -> None:
    """As MLflow's client does it: what failed is sent again, the same bytes."""
    with site.client() as client:
        number = client.post(f"{API}/experiments/create", json={"name": "killed"}).json()["experiment_id"]
    made: list[str] = []
    wanted = 30

    def create(worker: int) -> None:
        with site.client() as client:
            for at in range(wanted):
                body = {"experiment_id": number, "start_time": at, "run_name": f"{worker}-{at}"}
                while (answer := client.post(f"{API}/runs/create", json=body)).status_code == 503:
                    pass
                made.append(answer.json()["run"]["info"]["run_id"])

    workers = [threading.Thread(target=create, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    while len(made) < 10 and any(worker.is_alive() for worker in workers):
        workers[0].join(0.001)
    site.kill()
    site.start()
    for worker in workers:
        worker.join()
    with site.client() as client:
        found = client.post(f"{API}/runs/search", json={"experiment_ids": [number], "max_results": 1000}).json()["runs"]
    assert sorted(one["info"]["run_id"] for one in found) == sorted(made)
    assert len(made) == len({*made}) == 2 * wanted


def test_what_a_run_logs_wakes_the_job_that_watches_it(site: Any, home: str) -> None:
    """As the real MLflow has it: in order, without what is no number; and parameters that the run logged itself stay."""
    now = 1000.0
    for name, parent, ours in (("sweep-w", home, {}), ("sweep-w_0", "sweep-w", {"watched": "acc"})):
        above = parent if parent == home else site.alpha.child("jobs", parent).key
        id_ = site.alpha.child("jobs", name)
        site.tracking.ensure_run(RunSpec(home, name, "tuning", started_at=now))
        with site.database.write() as connection:
            resources.insert(
                connection,
                key=id_.key,
                written=str(id_),
                kind="workspaces/jobs",
                parent=above,
                name=name,
                spec={"properties": {"jobType": "Command"}, "smalt": ours},
                status={},
                state="Running",
                now=now,
                by="test",
                due_at=4e9,
            )
    with site.client() as client:
        for step, value in enumerate((0.5, "NaN", 0.7, 0.6)):
            body = {"run_id": "sweep-w_0", "key": "acc", "value": value, "timestamp": 5 + step, "step": step}
            assert client.post(f"{API}/runs/log-metric", json=body).status_code == 200
            if not step:
                eventually(lambda: (job(site, "sweep-w").due_at or 0) < 4e9, "a wake")
        assert (
            client.post(
                f"{API}/runs/log-parameter", json={"run_id": "sweep-w_0", "key": "lr", "value": "1.0"}
            ).status_code
            == 200
        )
    assert site.tracking.metric_series(home, ["sweep-w_0", "nobody"], "acc") == {
        "sweep-w_0": [0.5, 0.7, 0.6],
        "nobody": (),
    }
    assert site.tracking.metric_names(home, ["sweep-w_0", "nobody"]) == ["acc"]
    for _ in range(2):
        site.tracking.end_run(home, "sweep-w_0", "FINISHED", 2000.0, {"lr": "1", "depth": "3"})
        site.tracking.log_metric(home, "sweep-w", "acc", 0.7, 2000.0, 1)
    assert site.tracking.parameters(home, "sweep-w_0") == {"lr": "1.0", "depth": "3"}
    with site.client() as client:
        run = client.get(f"{API}/runs/get", params={"run_id": "sweep-w"}).json()["run"]
        assert [(one["key"], one["value"], one["step"]) for one in run["data"]["metrics"]] == [("acc", 0.7, 1)]
        history = client.get(f"{API}/metrics/get-history", params={"run_id": "sweep-w", "metric_key": "acc"}).json()
        assert len(history["metrics"]) == 1
