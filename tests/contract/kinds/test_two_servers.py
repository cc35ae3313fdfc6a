"""Two servers on one PostgreSQL: who steps what, what becomes of a lost server's, and what each has for itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from fakes.deployments import BLUE, ENDPOINT, come_up, deploy, state
from fakes.examples import prepare
from fakes.framed import Framed
from fakes.jobs import JOBS, cluster, status, submit
from fakes.pipelines import component, data, job_of, leave, node
from fakes.pipelines import submit as pipeline
from fakes.platform import WORKSPACE
from fakes.two_servers import TwoServers
from smalt.arm.ports.serving import GATEWAY
from smalt.kinds.serving.place import _take, withdraw
from smalt.store import claims, node_tasks, nodes, servers
from smalt.store.tables import resource, server

LOST_S = 300.0


@pytest.fixture
def pair(tmp_path: Path, framed: Framed) -> Iterator[TwoServers]:
    with framed.copied(tmp_path) as url:
        made = TwoServers(tmp_path, url)
        yield made
        made.close()


def of_one(pair: TwoServers, at: int) -> None:
    """One server alone does all that is due."""
    while pair.loops[at].run_due():
        pass


def lose(pair: TwoServers, at: int) -> None:
    """It says nothing for so long that the other takes it for lost."""
    pair.clock.pass_(LOST_S + 1)
    pair.platforms[1 - at].servers.beat()
    with pair.database.write() as connection:  # nobody holds a lease of it any more
        connection.execute(update(resource).values(lease=None, lease_until=None))


def test_a_job_with_a_task_is_stepped_by_its_server_alone(pair: TwoServers) -> None:
    submit(pair)
    of_one(pair, 0)
    assert pair.row(f"{JOBS}/train-1").home == "first"
    (task,) = pair.platforms[0].engine.states
    pair.platforms[0].engine.start(task)
    pair.platforms[0].engine.finish(task)
    pair.clock.pass_(61)
    of_one(pair, 1)
    assert status(pair) == "Starting" and not pair.platforms[1].engine.states
    of_one(pair, 0)
    assert status(pair) == "Completed" and pair.row(f"{JOBS}/train-1").home is None


def test_what_was_claimed_before_its_server_was_heard_of_is_given_back(pair: TwoServers) -> None:
    submit(pair)
    of_one(pair, 0)
    pair.platforms[1].servers.others = {}
    pair.clock.pass_(61)
    of_one(pair, 1)
    row = pair.row(f"{JOBS}/train-1")
    assert row.home == "first" and row.lease is None and row.due_at is not None and row.due_at <= pair.clock()
    assert pair.platforms[1].servers.others == {"first": "https://first:1"} and not pair.platforms[1].engine.starts


def test_the_job_of_a_lost_server_fails_and_gives_its_node_back(pair: TwoServers) -> None:
    submit(pair)
    of_one(pair, 0)
    (task,) = pair.platforms[0].engine.states
    pair.platforms[0].engine.start(task)
    lose(pair, 0)
    of_one(pair, 1)
    shown = pair.get(f"{JOBS}/train-1").json()["properties"]
    assert shown["status"] == "Failed" and pair.row(f"{JOBS}/train-1").status["error"]["code"] == "NodeLost"
    assert not pair.platforms[1].engine.starts, "no step is done twice"
    assert pair.platforms[0].servers.beat(), "it is told that it counted as lost"
    with pair.database.read() as connection:
        owner = pair.platforms[0].engine.tasks[task].owner
        assert servers.orphans(connection, "first", {task: owner, "other": "/gone"}) == [task, "other"]


def test_what_a_lost_server_had_is_looked_at_when_it_is_found_to_be_lost(pair: TwoServers) -> None:
    """Not when it would have been looked at anyway; and once."""
    submit(pair)
    of_one(pair, 0)
    pair.platforms[0].engine.start(next(iter(pair.platforms[0].engine.states)))
    of_one(pair, 0)
    pair.clock.pass_(LOST_S + 1)
    later = pair.clock() + 3600
    with pair.database.write() as connection:
        mine = resource.c.home == "first"
        connection.execute(update(resource).where(mine).values(due_at=later, lease=None, lease_until=None))
    woken: list[bool] = []
    pair.platforms[1].hub.listen(lambda: woken.append(True))
    for _ in range(2):
        pair.platforms[1].servers.beat()
        assert woken == [True], "its loop does not wait for its next look, and is woken once"
    of_one(pair, 1)
    assert pair.row(f"{JOBS}/train-1").status["error"]["code"] == "NodeLost"


def test_a_job_of_a_lost_server_that_was_canceled_is_canceled(pair: TwoServers) -> None:
    submit(pair)
    of_one(pair, 0)
    pair.platforms[0].engine.start(next(iter(pair.platforms[0].engine.states)))
    assert pair.send("POST", f"{JOBS}/train-1/cancel").status_code in (200, 202)
    lose(pair, 0)
    of_one(pair, 1)
    assert status(pair) in ("Canceled", "Failed") and pair.row(f"{JOBS}/train-1").home is None


def on_a_machine_of_the_first(pair: TwoServers) -> str:
    """A job on a machine that has dialled the first server; the second one has not heard yet that this one lives."""
    compute = cluster(pair)
    now = pair.clock()
    with pair.database.write() as connection:
        nodes.add(connection, "far-1", compute.lower(), {}, now)
        about = {"cpus": 2, "memory_bytes": 8 << 30, "gpus": 0, "seen_at": now, "address": "192.0.2.1"}
        nodes.note(connection, "far-1", state=nodes.CONNECTED, server="first", **about)
    submit(pair, computeId=compute)
    return f"{JOBS}/train-1"


def test_a_job_goes_to_the_server_that_its_machine_has_dialled_also_to_one_that_was_away(pair: TwoServers) -> None:
    job = on_a_machine_of_the_first(pair)
    pair.platforms[1].servers.others = {}
    of_one(pair, 1)
    assert pair.row(job).home == "first" and not pair.platforms[1].engine.starts
    of_one(pair, 0)
    assert len(pair.platforms[0].engine.starts) == 1


def test_a_server_that_is_back_has_again_what_its_machines_run(pair: TwoServers) -> None:
    job = on_a_machine_of_the_first(pair)
    lose(pair, 0)
    of_one(pair, 1)
    (task,) = pair.platforms[1].engine.tasks.values()
    assert pair.row(job).home == "second", "no other has been heard of"
    with pair.database.write() as connection:
        node_tasks.add(connection, task, pair.clock())
    assert pair.platforms[0].servers.beat()
    assert pair.row(job).home == "first"
    of_one(pair, 0)
    assert pair.platforms[0].engine.starts == [task.name], "at once, and not when the row would be looked at again"


def test_each_builds_for_its_own_machine(pair: TwoServers) -> None:
    for one in pair.platforms:
        one.environments.build_at_once, one.environments.ready = False, set()
    submit(pair, "one")
    of_one(pair, 0)
    (built,) = pair.platforms[0].engine.states
    pair.platforms[0].engine.start(built)
    submit(pair, "two")
    of_one(pair, 1)
    assert list(pair.platforms[1].engine.states) == [built]
    for one in pair.platforms:
        one.environments.ready.add(pair.row(f"{JOBS}/one").spec["smalt"]["plan"]["key"])
        one.engine.finish(built)
    pair.settle()
    started = [task.owner.rpartition("/")[2] for task in pair.engine.tasks.values() if task.name.startswith("job-")]
    assert sorted(started) == ["one", "two"]


def test_one_serves_all_endpoints_and_the_next_where_it_is_lost(pair: TwoServers) -> None:
    prepare(pair, "workspaces/onlineendpoints/deployments")
    deploy(pair)
    come_up(pair)
    assert state(pair) == "Succeeded"
    serving = pair.row(GATEWAY).home
    at = ["first", "second"].index(str(serving))
    here, other = pair.platforms[at], pair.platforms[1 - at]
    assert pair.row(ENDPOINT).home == pair.row(BLUE).home == serving
    assert here.engine.states and here.gateway.applied and not other.gateway.applied
    assert all("/endpoints/" in uri and uri.startswith(here.servers.url) for uri in scoring(pair))
    lose(pair, at)
    of_one(pair, 1 - at)
    assert pair.row(GATEWAY).home == pair.row(BLUE).home == pair.row(ENDPOINT).home == other.servers.me
    (route,) = other.gateway.applied[-1]
    assert [(one.name, one.asleep) for one in route.deployments] == [("blue", True)], "not those of another machine"
    for name in list(other.engine.states):
        other.engine.start(name)
        other.engine.ready(name)
    of_one(pair, 1 - at)
    assert state(pair) == "Succeeded"
    (route,) = other.gateway.applied[-1]
    assert route.name == ENDPOINT.rpartition("/")[2] and len(route.deployments[0].addresses) == 1
    here.servers.beat()  # it is back
    assert all(uri.startswith(other.servers.url) for uri in scoring(pair)), scoring(pair)
    assert len(here.gateway.applied[-1]) == 1, "replicas that have ended"
    here.gateway.lagging = True
    assert not withdraw(here) and not here.gateway.applied[-1]
    here.gateway.lagging = False
    assert withdraw(here) and withdraw(other) and len(other.gateway.applied[-1]) == 1
    lose(pair, 1 - at)
    here.servers.beat()
    assert withdraw(here), "nobody serves: what is here is left to the next step"
    of_one(pair, at)
    assert withdraw(here) and len(here.gateway.applied[-1]) == 1, "it serves again"


def scoring(pair: TwoServers) -> list[str]:
    return [pair.get(ENDPOINT).json()["properties"]["scoringUri"] for _ in pair.platforms]


def test_a_start_takes_its_own_leases_back_and_no_others(pair: TwoServers) -> None:
    for name in ("one", "two"):
        submit(pair, name)
    with pair.database.write() as connection:
        for name, mine in (("one", "first"), ("two", "second")):
            (row,) = claims.claim(
                connection, [f"{JOBS}/{name}".lower()], pair.clock(), f"{claims.lease_of(mine)}x", 30.0
            )
            assert row.lease
    pair.loops[0].resume()
    leases = [pair.row(f"{JOBS}/{name}").lease for name in ("one", "two")]
    assert leases == [None, "second.x"]


def test_the_first_server_takes_what_a_version_before_has_under_way(pair: TwoServers) -> None:
    submit(pair)
    with pair.database.write() as connection:
        connection.execute(server.delete())
        servers.register(connection, "third", "https://third:3", pair.kinds.reconciled(), pair.clock())
        servers.register(connection, "fourth", "https://fourth:4", pair.kinds.reconciled(), pair.clock())
    assert pair.row(f"{JOBS}/train-1").home == "third"
    assert pair.row(WORKSPACE).home is None


def test_a_reader_of_the_feed_may_go_from_one_to_the_other(pair: TwoServers) -> None:
    """Page by page, while both write: each change once, and in one order."""
    start = pair.get(f"{WORKSPACE}/changes?after=now").json()["cursor"]
    seen: list[dict[str, str]] = []
    cursor = start

    def read() -> str:
        page = pair.get(f"{WORKSPACE}/changes?after={cursor}&$top=2").json()
        seen.extend(page["value"])
        return str(page["cursor"])

    for number in range(6):
        assert submit(pair, f"job-{number}").status_code == 201
        for loop in pair.loops:
            for row in loop.claim({"control": 1, "serving": 0, "cleanup": 0, "bulk": 0}):
                loop.step(row)
        cursor = read()
    pair.settle()
    before = ""
    while cursor != before:
        before, cursor = cursor, read()
    whole = pair.get(f"{WORKSPACE}/changes?after={start}&$top=1000").json()["value"]
    for one in (*seen, *whole):
        del one["cursor"]  # which also says what was there to be read
    assert seen == whole and len(seen) >= 12


def test_requests_go_to_both(pair: TwoServers) -> None:
    """What the other tests of two servers rely on."""
    pair.get(WORKSPACE)
    before = pair.app
    pair.get(WORKSPACE)
    assert pair.app is not before


def test_equal_steps_of_pipelines_at_two_servers_run_once(pair: TwoServers) -> None:
    part = component(pair, "part")
    for at, name in enumerate(("one", "two")):
        assert pipeline(pair, {name: node(part, data=data())}, name).status_code == 201
        of_one(pair, at)
    assert [len(one.engine.starts) for one in pair.platforms] == [1, 0]
    assert status(pair, job_of(pair, "two", "two")) == "Queued"
    lose(pair, 0)
    of_one(pair, 1)
    (task,) = pair.platforms[1].engine.starts
    for output in pair.engine.tasks[task].outputs:
        leave(pair, output)
    pair.engine.finish(task)
    of_one(pair, 1)
    pair.clock.pass_(1.0)
    of_one(pair, 1)
    assert [status(pair, name) for name in ("one", "two")] == ["Failed", "Completed"]


def test_who_serves_is_not_taken_for_lost_by_one_that_has_not_heard_of_it_yet(pair: TwoServers) -> None:
    """It has begun since the other's last look at who lives; both wanted to serve at that moment."""
    prepare(pair, "workspaces/onlineendpoints/deployments")
    deploy(pair)
    come_up(pair)
    serving = str(pair.row(GATEWAY).home)
    here = pair.platforms[1 - ["first", "second"].index(serving)]
    here.servers.others = {}
    assert _take(here) == serving and pair.row(GATEWAY).home == serving
    pair.clock.pass_(LOST_S + 1)
    here.servers.others = {serving: "https://as-of-then:1"}
    assert _take(here) == here.servers.me and pair.row(GATEWAY).home == here.servers.me
