"""`kill -9` of one part: Envoy, MLflow, an agent, a replica, the server in the middle of a deployment."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import requests

from live.files import text_of
from live.marks import Marks
from live.patience import ANSWER_S
from live.platform import HOME, Platform, eventually
from live.processes import alive
from live.serving import Endpoint, Load

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def endpoint(victim: Platform) -> Endpoint:
    one = Endpoint(victim, "crash-scores")
    one.create(instances=2)
    return one


def test_who_comes_while_envoy_is_away_waits_and_is_answered(platform: Platform) -> None:
    for _ in range(3):
        gone = platform.kill("envoy")
        eventually(lambda gone=gone: not alive(gone), "Envoy's end")
        killed = time.monotonic()
        assert requests.get(f"{platform.url}/healthz", verify=platform.ca, timeout=ANSWER_S).ok
        print(f"answered {time.monotonic() - killed:.2f} s after Envoy was killed")


def test_mlflow_comes_back_and_nothing_was_lost(platform: Platform) -> None:
    def search() -> requests.Response:
        path = f"/mlflow/v1.0{HOME}/api/2.0/mlflow/experiments/search"
        return platform.call("POST", path, {"max_results": 10})

    create = platform.call(
        "POST", f"/mlflow/v1.0{HOME}/api/2.0/mlflow/experiments/create", {"name": f"kept-{time.time_ns()}"}
    )
    assert create.status_code == 200, create.text
    before = platform.kill("mlflow")
    assert platform.submit("while-mlflow-is-away", "true").status_code == 201
    platform.restarted("mlflow", before)
    found = eventually(lambda: (answer := search()).status_code == 200 and answer, "MLflow's answer", pause_s=0.2)
    assert create.json()["experiment_id"] in {one["experiment_id"] for one in found.json()["experiments"]}
    platform.wait_for("while-mlflow-is-away", "Completed")
    run = platform.call("GET", f"/mlflow/v1.0{HOME}/api/2.0/mlflow/runs/get?run_id=while-mlflow-is-away")
    assert run.json()["run"]["info"]["status"] == "FINISHED", run.text


def test_a_job_whose_agent_is_killed_fails_with_the_reason(platform: Platform) -> None:
    marks = Marks(platform.shared())
    platform.submit("orphan", marks.command)
    marks.wait_until_running(platform, "orphan")
    (state,) = [
        one for one in platform.agents().values() if one["phase"] == "running" and is_of(platform, one, "orphan")
    ]
    os.kill(state["agent_pid"], signal.SIGKILL)
    platform.wait_for("orphan", "Failed")
    assert "vanished" in platform.job_error("orphan"), platform.job_error("orphan")
    eventually(lambda: not alive(state["pid"]), "the end of the command, which nobody watches any more")
    marks.release()
    assert marks.lines == ["began"]


def is_of(platform: Platform, state: dict, job: str) -> bool:
    return f"/jobs/{job}" in text_of(platform.root / "tasks" / state["name"] / "task.json")


def process_of(platform: Platform, mark: str) -> int:
    """The process of the task with this mark, as it is outside of its walls."""
    folder = next(one.parent for one in (platform.root / "tasks").glob("*/mark") if text_of(one) == mark)
    return json.loads((folder / "state.json").read_text())["pid"]


def test_a_replica_is_replaced_and_costs_what_it_worked_on(platform: Platform, endpoint: Endpoint) -> None:
    """A script may do what must not be done twice, so what one was given is given to no other."""
    with Load(endpoint) as load:
        eventually(lambda: len(load.tasks) == 2, "answers of both replicas")
        os.kill(process_of(platform, next(iter(load.tasks))), signal.SIGKILL)
        eventually(lambda: len(load.tasks) == 3, "an answer of the successor")
    print(dict(load.answers))
    lost = {said: times for said, times in load.answers.items() if said != "ok"}
    assert all(said.startswith("502 ") and "InstanceEnded" in said for said in lost), lost
    assert sum(lost.values()) <= load.clients and load.answers["ok"] > 20, load.answers


def test_the_endpoint_answers_while_the_server_is_away(platform: Platform, endpoint: Endpoint) -> None:
    with Load(endpoint) as load:
        platform.restarted("server", platform.kill("server"))
        platform.wait_until_it_answers()
    assert set(load.answers) == {"ok"}, load.answers
    assert len(load.tasks) == 2


def test_a_deployment_in_progress_goes_on(platform: Platform, endpoint: Endpoint) -> None:
    with Load(endpoint) as load:
        answer = endpoint.deploy(2, "second")
        platform.restarted("server", platform.kill("server"))
        platform.wait_until_it_answers()
        endpoint.finish(answer)
        eventually(lambda: endpoint.ask().json()["note"] == "second", "the new revision")
    assert set(load.answers) == {"ok"}, load.answers
    eventually(lambda: len(serving(platform)) == 2, "only the replicas of the new revision")


def test_everything_at_once_and_the_endpoint_is_back(platform: Platform, endpoint: Endpoint) -> None:
    before = serving(platform)
    platform.kill_all()
    platform.up()
    eventually(lambda: endpoint.ask().ok, "an answer")
    assert serving(platform) == before, "the replicas were adopted, not started again"


def serving(platform: Platform) -> set[str]:
    """The names of the replicas that run."""
    return {name for name, one in platform.agents().items() if name.startswith("srv-") and one["phase"] == "running"}
