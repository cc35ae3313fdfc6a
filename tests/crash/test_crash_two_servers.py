"""Two servers on one PostgreSQL and one store: each goes on where the other was killed, and nothing happens twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from live.nodes import Node
from live.patience import ANSWER_S
from live.platform import HOME, Platform, eventually
from live.schedules import made_ahead
from live.servers import Pair, Tally
from live.serving import Endpoint
from live.soak import Soak
from live.tokens import container_sas
from smalt.settings import STORAGE_SUFFIX

pytestmark = pytest.mark.e2e
SEEDS = [int(one) for one in os.environ.get("SMALT_SOAK_SEEDS", "1,2,3").split(",")]


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    database = request.getfixturevalue("postgres").create()
    with Pair(tmp_path_factory.mktemp("pair"), database).started() as one:
        one.warm()
        yield one


@pytest.fixture
def servers(pair: Pair) -> Pair:
    """Both running, whatever the test before did to them."""
    pair.wait_until_all_answer()
    return pair


def held(pair: Pair, through: Platform, name: str) -> tuple[Tally, Platform]:
    """A job that has begun and waits to be released, and on which of the two it runs."""
    tally = Tally(pair, name)
    answer = through.submit(name, tally.command(tally.held), outputs=tally.output)
    assert answer.status_code == 201, answer.text
    through.wait_for(name, "Running")
    eventually(lambda: tally.lines, "its first line")
    return tally, pair.wait_until_it_runs(name)


def test_a_token_and_a_blob_of_one_are_good_at_the_other(servers: Pair) -> None:
    a, b = servers.both
    given = {"Authorization": f"Bearer {a.token()}"}
    url = f"{b.url}{HOME}?api-version=2024-04-01"
    assert requests.get(url, headers=given, verify=a.ca, timeout=ANSWER_S).json()["name"] == "default"
    keys = a.call("POST", "listKeys").json()
    account = keys["userStorageResourceId"].rpartition("/")[2]
    container = servers.container.name
    sas = container_sas(account, keys["userStorageKey"], container)
    path = f"/{account}.blob.{STORAGE_SUFFIX}/{container}/of-a.txt?{sas}"
    headers = {"x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"}
    put = requests.put(f"{a.url}{path}", data=b"of a", headers=headers, verify=a.ca, timeout=ANSWER_S)
    assert put.status_code == 201, put.text
    assert requests.get(f"{b.url}{path}", headers=headers, verify=b.ca, timeout=ANSWER_S).content == b"of a"


def test_a_run_of_one_is_read_at_the_other(servers: Pair) -> None:
    tracking = f"/mlflow/v1.0{HOME}/api/2.0/mlflow"
    for one, other in (servers.both, reversed(servers.both)):
        name = f"experiment of {one.root.name}"

        def made(one: Platform = one, name: str = name) -> str:
            return one.call("POST", f"{tracking}/experiments/create", {"name": name}).json().get("experiment_id", "")

        experiment = eventually(made, "MLflow", pause_s=0.5)
        run = one.call("POST", f"{tracking}/runs/create", {"experiment_id": experiment, "start_time": 1}).json()["run"]
        read = other.call("GET", f"{tracking}/runs/get?run_id={run['info']['run_id']}")
        assert read.status_code == 200 and read.json()["run"]["info"]["experiment_id"] == experiment, read.text


def test_a_job_is_seen_at_both_and_outlives_the_server_that_runs_it(servers: Pair) -> None:
    tally, here = held(servers, servers.a, "outlives")
    other = servers.other(here)
    here.restarted("server", here.kill("server"))
    assert other.job("outlives")["status"] == "Running"
    tally.release()
    other.wait_for("outlives", "Completed")
    assert tally.lines == ["began", "ended"]


def test_a_cancel_at_one_ends_what_runs_at_the_other(servers: Pair) -> None:
    tally, here = held(servers, servers.b, "canceled")
    assert servers.other(here).call("POST", "jobs/canceled/cancel").status_code in (200, 202)
    servers.other(here).wait_for("canceled", "Canceled")
    eventually(lambda: servers.runs_on("canceled") is None, "the end of its task")
    assert tally.lines == ["began"]


def test_each_time_of_a_schedule_has_one_job(servers: Pair) -> None:
    job = {"jobType": "Command", "command": "true", "environmentId": servers.a.ensure_environment()}
    names, _ = made_ahead("fires", job, 4, servers.both)

    def jobs(name: str) -> list[str]:
        return [one["name"] for one in servers.b.get(f"jobs?scheduleId={name}")["value"]]

    for name in names:
        eventually(lambda name=name: jobs(name), f"the job of {name}")
        assert len(jobs(name)) == 1


def test_what_a_lost_server_ran_fails_and_ends_when_it_is_back(servers: Pair) -> None:
    tally, here = held(servers, servers.a, "lost")
    other = servers.other(here)
    with servers.stopped(here):
        servers.take_for_lost(here)
        eventually(lambda: other.job("lost")["status"] == "Failed", "the job given up")
        assert "has not been heard of" in other.job_error("lost")
        assert other.submit("goes-on", "true").status_code == 201
        other.wait_for("goes-on", "Completed")
    eventually(lambda: servers.runs_on("lost") is None, "the end of what nobody waits for")
    assert tally.lines == ["began"]


def served_by(pair: Pair, name: str, through: Platform) -> Platform:
    """The server that `scoring_uri` names."""
    uri = through.get(f"onlineEndpoints/{name}")["properties"]["scoringUri"]
    return next(one for one in pair.both if uri.startswith(f"{one.url}/"))


def replicas(one: Platform) -> set[str]:
    return {name for name, state in one.agents().items() if name.startswith("srv-") and state["phase"] == "running"}


def test_an_endpoint_goes_to_the_other_server_and_back(servers: Pair) -> None:
    """Each time the server that serves it is lost: the other starts replicas anew. The one that is back ends its own."""
    made = Endpoint(servers.a, "moves")
    made.create(1)
    marks: list[str] = []
    here = served_by(servers, "moves", servers.a)
    for _ in range(2):
        other = servers.other(here)
        asked, then = made.at(here), made.at(other)
        marks.append(eventually(lambda one=asked: answered(one), "an answer", 30))
        with servers.stopped(here):
            servers.take_for_lost(here)
            marks.append(eventually(lambda one=then: answered(one), "an answer of the other", 240, 0.2))
            assert served_by(servers, "moves", other) is other and len(replicas(here)) == len(replicas(other)) == 1
        eventually(lambda here=here: not replicas(here), "the end of what is served elsewhere")
        assert served_by(servers, "moves", here) is other and answered(then) == marks[-1]
        eventually(lambda one=asked: one.ask().status_code == 404, "the end of its routes")
        here = other
    assert marks[1] == marks[2] and len(set(marks)) == 3, marks
    assert servers.a.call("DELETE", "onlineEndpoints/moves").status_code in (200, 202)
    eventually(lambda: not (replicas(servers.a) or replicas(servers.b)), "the end of all")


def answered(endpoint: Endpoint) -> str:
    """The mark of the replica that answered; empty: none did."""
    try:
        answer = endpoint.ask()
    except requests.RequestException:
        return ""
    return answer.json()["task"] if answer.ok else ""


def test_orders_reach_a_node_by_the_server_that_it_dialled(servers: Pair, tmp_path: Path) -> None:
    scale = {"minNodeCount": 0, "maxNodeCount": 1}
    machine = {"vmSize": "Standard_DS3_v2", "scaleSettings": scale}
    servers.b.put("computes/far", {"computeType": "AmlCompute", "properties": machine}, location="local")
    node = Node(servers.a, tmp_path / "far-1", "far-1", "far", ["--isolation", "off"])
    node.start()
    try:
        for number in range(2):
            name = f"far-{number}"
            command = "echo $PWD"
            assert servers.b.submit(name, command, computeId=f"{HOME}/computes/far").status_code == 201
            servers.b.wait_for(name, "Completed", timeout_s=240)
            assert str(node.root) in servers.b.job_log(name)
        assert servers.b.submit("far-long", "sleep 600", computeId=f"{HOME}/computes/far").status_code == 201
        servers.b.wait_for("far-long", "Running")
        assert servers.b.call("POST", "jobs/far-long/cancel").status_code in (200, 202)
        servers.b.wait_for("far-long", "Canceled")
    finally:
        node.end()
        servers.a.smalt("node", "remove", node.name)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_in_turn_under_jobs_of_all_sorts(servers: Pair, seed: int) -> None:
    """More seeds, more jobs and a longer time: scripts/soak --two-servers."""
    print(Soak(servers, seed, jobs=10, kill_s=4).run())
