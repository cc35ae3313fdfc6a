"""Deployments over time: coming up, failing, growing, being replaced without a gap, dying, deleted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from fakes.deployments import BLUE, ENDPOINT, KEY, come_up, deploy, live, state, traffic
from fakes.examples import prepare
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Outcome, Phase
from smalt.arm.ports import Principal
from smalt.kinds.serving import replicas
from smalt.store import resources
from smalt.store.migrate import migrate
from smalt.store.resources import Row


@pytest.fixture
def ready(harness: Harness) -> Harness:
    prepare(harness, KEY)
    return harness


def test_it_succeeds_when_its_replica_is_ready_and_routed(ready: Harness) -> None:
    operation = deploy(ready).headers["azure-asyncoperation"]
    assert state(ready) == "Creating"
    come_up(ready)
    assert state(ready) == "Succeeded"
    assert ready.get(operation).json()["status"] == "Succeeded"
    route = ready.gateway.route("churn-scores")
    assert [one.name for one in route.deployments] == ["blue"] and route.traffic == {}
    assert traffic(ready, blue=100).status_code in (200, 201)
    assert ready.gateway.route("churn-scores").traffic == {"blue": 100}


def test_a_patch_says_who_takes_traffic_and_nobody_else_does(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    traffic(ready, blue=100)
    ready.settle()
    assert ready.send("PATCH", ENDPOINT, {"properties": {"description": "d"}}).json()["properties"]["traffic"]
    changed = ready.send("PATCH", ENDPOINT, {"properties": {"traffic": {}}})
    assert changed.json()["properties"] | {"traffic": {}, "description": "d"} == changed.json()["properties"]
    assert ready.send("PATCH", ENDPOINT, {"properties": {"traffic": {"green": 100}}}).status_code == 400
    twice = ready.send("PATCH", ENDPOINT, {"properties": {"traffic": {"blue": 50, "BLUE": 50}}})
    assert twice.status_code == 400 and "named 2 times" in twice.text
    assert ready.send("PATCH", ENDPOINT, {"properties": {"traffic": "none"}}).status_code == 400
    assert ready.send("PATCH", ENDPOINT, {"properties": "none"}).status_code == 400


def test_what_answers_sees_no_copies_and_one_deployment_sees_them(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)

    def mirrored(traffic: dict[str, int], to: dict[str, int]) -> str:
        answer = ready.send("PATCH", ENDPOINT, {"properties": {"traffic": traffic, "mirrorTraffic": to}})
        return "" if answer.is_success else answer.json()["error"]["target"]

    assert mirrored({"blue": 100}, {"blue": 10}) == "properties.mirrorTraffic.blue"
    assert mirrored({}, {"blue": 10, "green": 10}) == "properties.mirrorTraffic.green"
    assert mirrored({"blue": 100}, {"blue": 0}) == mirrored({"blue": 0}, {"blue": 10}) == ""


def test_a_replica_is_told_its_model_and_code_by_name(ready: Harness) -> None:
    deploy(ready)
    (task,) = ready.engine.tasks.values()
    assert task.server and task.server.deployment == "blue"
    assert task.server.model and ready.blobs.exists(*task.server.model)
    assert task.code is None or ready.blobs.size(*task.code.below(task.server.script)) is not None
    assert task.ready and task.ready.path == "/ready"
    assert task.live and task.live.path == "/health", "one that hangs is replaced, also where no probe is set"


def test_its_stages_can_be_read_with_their_times(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    found = ready.get(f"{BLUE}/events").json()["value"]
    assert [one["to"] for one in found if one["to"] != one["from"]] == ["Creating", "Succeeded"]
    assert any("instances start" in one["reason"] for one in found)
    logs = ready.send("POST", f"{BLUE}/getLogs", {"tail": 5}).json()["content"]
    assert "Stages:" in logs and "requests move over" in logs and "Succeeded" in logs


def test_it_is_not_succeeded_before_the_gateway_took_it_over(ready: Harness) -> None:
    ready.gateway.lagging = True
    deploy(ready)
    for name in list(ready.engine.states):
        ready.engine.start(name)
        ready.engine.ready(name)
    for _ in range(10):
        ready.loop.run_due()
    assert state(ready) == "Creating"
    ready.gateway.lagging = False
    ready.clock.pass_(1)
    ready.settle()
    assert state(ready) == "Succeeded"


def test_a_crash_at_start_fails_it_at_once_with_the_log(ready: Harness) -> None:
    operation = deploy(ready).headers["azure-asyncoperation"]
    (name,) = ready.engine.tasks
    ready.engine.finish(name, 1, error="ModuleNotFoundError: No module named 'xgboost'")
    ready.settle()
    assert state(ready) == "Failed"
    answer = ready.get(operation).json()
    assert answer["status"] == "Failed" and "xgboost" in answer["error"]["message"]
    assert not live(ready)


def test_a_failed_update_leaves_what_was_live(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    traffic(ready, blue=100)
    before, addresses = live(ready), ready.gateway.route("churn-scores").deployments[0].addresses
    deploy(ready, environmentVariables={"BROKEN": "1"})
    (new,) = live(ready) - before
    ready.engine.finish(new, 1, error="boom")
    ready.settle()
    assert state(ready) == "Failed"
    assert ready.gateway.route("churn-scores").deployments[0].addresses == addresses
    assert live(ready) == before
    (old,) = before  # and it is still looked after, also without a hint: it may end while the server is down
    ready.clock.pass_(31)
    ready.settle()
    ready.engine.states[old] = replace(ready.engine.states[old], phase=Phase.EXITED, ready=False)
    ready.loop = ready.new_loop()
    ready.loop.resume()
    ready.settle()
    ready.clock.pass_(31)
    ready.settle()
    come_up(ready)
    assert len(live(ready)) == 1 and state(ready) == "Failed"
    assert len(ready.gateway.route("churn-scores").deployments[0].addresses) == 1


def test_an_update_moves_over_only_when_the_new_one_is_ready(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    traffic(ready, blue=100)
    before = live(ready)
    deploy(ready, environmentVariables={"RELEASE": "2"})
    assert live(ready) > before, "the old replica ended before the new one was ready"
    addresses = ready.gateway.route("churn-scores").deployments[0].addresses
    come_up(ready)
    after = ready.gateway.route("churn-scores").deployments[0].addresses
    assert state(ready) == "Succeeded" and after != addresses and not live(ready) & before


def test_more_and_fewer_instances_keep_the_running_ones(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    first = live(ready)
    deploy(ready, capacity=3)
    come_up(ready)
    assert live(ready) > first and len(live(ready)) == 3
    assert len(ready.gateway.route("churn-scores").deployments[0].addresses) == 3
    deploy(ready, capacity=1)
    come_up(ready)
    assert live(ready) == first
    assert len(ready.gateway.route("churn-scores").deployments[0].addresses) == 1
    assert state(ready) == "Succeeded"


def test_a_replica_that_dies_is_replaced_and_the_others_serve(ready: Harness) -> None:
    deploy(ready, capacity=2)
    come_up(ready)
    victim, other = sorted(live(ready))
    ready.engine.finish(victim, 137)
    ready.settle()
    assert len(ready.gateway.route("churn-scores").deployments[0].addresses) == 1
    ready.clock.pass_(1)
    ready.settle()
    come_up(ready)
    assert len(live(ready)) == 2 and other in live(ready) and victim not in live(ready)
    assert len(ready.gateway.route("churn-scores").deployments[0].addresses) == 2


def test_where_the_only_replica_died_requests_wait_for_its_successor(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    (victim,) = live(ready)
    ready.engine.finish(victim, 137)
    ready.settle()
    (route,) = ready.gateway.route("churn-scores").deployments
    assert route.asleep and route.addresses == (f"unix:{ready.platform.settings.asleep_socket}",)
    ready.clock.pass_(1)
    ready.settle()
    come_up(ready)
    (route,) = ready.gateway.route("churn-scores").deployments
    (successor,) = live(ready)
    assert not route.asleep and successor != victim


def test_a_replica_that_is_not_ready_gets_no_requests_until_it_is_again(ready: Harness) -> None:
    deploy(ready, capacity=2)
    come_up(ready)
    busy, other = sorted(live(ready))
    where = ready.gateway.route("churn-scores").deployments[0].addresses
    ready.engine.ready(busy, False)
    ready.settle()
    assert ready.gateway.route("churn-scores").deployments[0].addresses == (ready.engine.states[other].address,)
    ready.engine.ready(other, False)
    ready.settle()
    assert ready.gateway.route("churn-scores").deployments[0].addresses, "of none the last are asked all the same"
    for name in (busy, other):
        ready.engine.ready(name)
    ready.settle()
    assert ready.gateway.route("churn-scores").deployments[0].addresses == where and state(ready) == "Succeeded"


def test_why_a_replica_died_is_among_the_events(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    ready.engine.end_over_limit(live(ready).pop(), Outcome.OUT_OF_MEMORY, "It needed more than 7.0 GiB.\nthe log")
    ready.settle()
    said = [one["reason"] for one in ready.get(f"{BLUE}/events").json()["value"]]
    assert "a replica died: It needed more than 7.0 GiB." in said


def test_a_replica_has_the_limits_of_its_instance_type(ready: Harness) -> None:
    deploy(ready, instanceType="Standard_DS2_v2")
    limits = ready.engine.tasks[live(ready).pop()].limits
    assert (limits.memory_bytes, limits.disk_bytes, limits.shm_bytes) == (7 << 30, 14 << 30, 7 << 30)
    assert limits.more == "Its VM size is Standard_DS2_v2 (instance_type of the deployment); a larger one has more."


def test_deleting_stops_requests_before_it_stops_replicas(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    traffic(ready, blue=100)
    refused = ready.send("DELETE", BLUE)
    assert refused.status_code == 409 and "100 %" in refused.text
    traffic(ready, blue=0)
    assert ready.send("DELETE", BLUE).status_code == 202
    ready.settle()
    assert ready.get(BLUE).status_code == 404
    assert ready.gateway.route("churn-scores").deployments == () and not live(ready)


def test_an_endpoint_can_be_written_back_as_it_is_read_after_a_deployment_was_deleted(ready: Harness) -> None:
    for name in ("blue", "green"):
        deploy(ready, name=name)
        come_up(ready)
    shares = {"traffic": {"green": 100, "BLUE": 0}, "mirrorTraffic": {"blue": 10}}
    assert ready.send("PATCH", ENDPOINT, {"properties": shares}).is_success
    ready.settle()
    ready.send("DELETE", BLUE)
    ready.settle()
    read = ready.get(ENDPOINT).json()
    assert (read["properties"]["traffic"], read["properties"]["mirrorTraffic"]) == ({"green": 100}, {})
    assert ready.put(ENDPOINT, {"tags": {"a": "b"}, "properties": read["properties"]}).is_success
    assert ready.gateway.route("churn-scores").traffic == {"green": 100}


def test_deleting_the_endpoint_takes_all_with_it(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    traffic(ready, blue=100)
    ready.send("DELETE", ENDPOINT)
    ready.settle()
    assert ready.get(ENDPOINT).status_code == 404 and ready.get(BLUE).status_code == 404
    assert not live(ready) and ready.gateway.applied[-1] == []


def test_a_live_replica_is_looked_at_without_a_header_again(ready: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(ready)
    come_up(ready)
    minted: list[Principal] = []
    monkeypatch.setattr(ready.platform.identity_headers, "mint", lambda *asked: minted.append(asked) or "header")
    ready.clock.pass_(31)
    ready.settle()
    assert not minted
    deploy(ready, capacity=2)
    assert len(minted) == 1


def test_a_replicas_principal_is_the_deployments_and_ends_with_it(ready: Harness) -> None:
    minted: list[Principal] = []
    ready.platform.identity_headers.mint = lambda one, _: minted.append(one) or "header"  # type: ignore[method-assign]

    def found(principal: Principal) -> Row | None:
        with ready.database.read() as connection:
            return replicas.deployment_of(connection, principal)

    deploy(ready)
    come_up(ready)
    (first,) = minted
    assert found(first) == ready.row(BLUE)
    ready.send("DELETE", BLUE)
    ready.settle()
    assert found(first) is None
    deploy(ready)
    assert found(first) is None, "another deployment of the name took over the header of the first"
    assert found(minted[-1]) == ready.row(BLUE)


def test_what_is_live_is_kept_only_while_another_revision_comes_up(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    before = ready.row(BLUE).status
    assert "target" not in before["live"]
    deploy(ready, environmentVariables={"NEW": "yes"})
    assert ready.row(BLUE).status["live"]["target"]["revision"] == 1
    (new,) = [name for name, one in ready.engine.states.items() if one.phase is Phase.PREPARING]
    ready.engine.finish(new, 1)
    ready.settle()
    after = ready.row(BLUE).status
    assert state(ready) == "Failed" and after["live"] == before["live"] and after["target"]["revision"] == 1
    deploy(ready, environmentVariables={"NEW": "again"})
    come_up(ready)
    assert state(ready) == "Succeeded" and "target" not in ready.row(BLUE).status["live"]


def test_what_an_older_version_left_live_goes_on_and_is_replaced_and_scaled(ready: Harness) -> None:
    """Its rows named paths and sockets; its agents did not say where their tasks listen."""
    deploy(ready)
    come_up(ready)
    traffic(ready, blue=100)
    before, row = live(ready), ready.row(BLUE)
    (name,) = before
    target = {**row.status["target"], "digest": "of paths"}
    target |= {what: str(ready.blobs.path(*target[what])) for what in ("model", "code")}
    older = {**row.status["live"], "sockets": [f"/run/{name}.sock"], "addresses": None}
    with ready.database.write() as connection:
        resources.merge_status(connection, row.id, {"target": target, "live": older})
        connection.execute(text("UPDATE alembic_version SET version_num = '0012'"))
    migrate(ready.database)
    assert ready.row(BLUE).status == row.status
    ready.loop = ready.new_loop()
    ready.loop.resume()
    ready.settle()
    assert state(ready) == "Succeeded" and live(ready) == before
    deploy(ready, capacity=2)
    come_up(ready)
    assert live(ready) > before and len(live(ready)) == 2
    ready.engine.finish(name, 137)
    ready.settle()
    ready.clock.pass_(1)
    ready.settle()
    come_up(ready)
    assert len(live(ready)) == 2 and not live(ready) & before and state(ready) == "Succeeded"


def test_the_log_of_a_build_that_failed_is_shown_beside_what_is_live(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    (old,) = live(ready)
    ready.blobs.write(ready.engine.tasks[old].log, b"hello of the old one\n")
    other = f"{WORKSPACE}/environments/other/versions/1"
    assert (
        ready.put(other, {"properties": {"image": "base", "condaFile": "dependencies: [python=3.12]"}}).status_code
        == 201
    )
    ready.environments.build_at_once = False
    deploy(ready, environmentId=other)
    (build,) = (name for name in ready.engine.tasks if name.startswith("build-"))
    key = ready.row(BLUE).status["target"]["plan"]["key"]
    ready.blobs.write(ready.environments.log(key), b"no such package\n")
    ready.engine.finish(build, exit_code=1)
    ready.settle()
    assert state(ready) == "Failed"
    log = ready.send("POST", f"{BLUE}/getLogs", {}).json()["content"]
    assert "hello of the old one" in log and log.endswith("Environment build:\nno such package")


def test_an_environment_of_what_is_live_that_is_gone_is_built_again_however_often_that_fails(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    ready.environments.ready.clear()
    tried: set[str] = set()
    for _ in range(3):
        ready.clock.pass_(31)
        ready.settle()
        (build,) = (name for name in live(ready) if name.startswith("build-"))
        tried.add(build)
        ready.engine.finish(build, exit_code=1)
        ready.settle()
        assert state(ready) == "Succeeded"
    assert len(tried) == 3
    assert any(name.startswith("srv-") for name in live(ready)), "what serves goes on"
