"""One configuration for all endpoints: what one of them cannot have is refused, or left out and told; and how Envoy is awaited."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from fakes.examples import EXAMPLES, prepare
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Phase
from smalt.arm.ports import EndpointRoute, Principal
from smalt.auth import living
from smalt.auth.identities import Identities
from smalt.store import resources

DEPLOYMENT = EXAMPLES["workspaces/onlineendpoints/deployments"]
ONE, TWO = f"{WORKSPACE}/onlineEndpoints/ep-one", f"{WORKSPACE}/onlineEndpoints/ep-two"
GATEWAY = "/smalt/gateways/main"


def make(harness: Harness, url: str, **properties: Any) -> None:
    assert harness.put(url, {"properties": properties}).status_code == 201
    harness.settle()


def set_key(harness: Harness, url: str, key: str) -> None:
    """Past admission, as an older version might have stored it."""
    with harness.database.write() as connection:
        harness.platform.secrets.set(connection, url.lower(), "primaryKey", key)
        resources.poke(connection, [GATEWAY], harness.clock())
    harness.settle()


def served(harness: Harness) -> set[str]:
    return {one.name for one in harness.gateway.applied[-1]}


@pytest.mark.parametrize("key", ["my key", "a\nb", "é", "x" * 5000, {"a": 1}, ["k"], 12345])
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_repeated(harness: Harness, key: Any) -> None:
    make(harness, ONE)
    before = harness.send("POST", f"{ONE}/listKeys").json()
    renewed = harness.send("POST", f"{ONE}/regenerateKeys", {"keyType": "Primary", "keyValue": key})
    made = harness.put(TWO, {"properties": {"keys": {"secondaryKey": key}}})
    for answer, field in ((renewed, "keyValue"), (made, "properties.keys.secondaryKey")):
        error = answer.json()["error"]
        assert answer.status_code == 400 and error["target"] == field and field in error["message"]
        assert str(key) not in error["message"]
    harness.settle()
    assert harness.send("POST", f"{ONE}/listKeys").json() == before
    assert harness.row(GATEWAY).state == "Succeeded" and served(harness) == {"ep-one"}


def test_keys_that_are_given_are_the_endpoints(harness: Harness) -> None:
    make(harness, ONE, keys={"primaryKey": "mine!", "secondaryKey": None})
    keys = harness.send("POST", f"{ONE}/listKeys").json()
    assert keys["primaryKey"] == "mine!" and len(keys["secondaryKey"]) > 30
    assert "keys" not in harness.row(ONE).properties
    assert harness.send("POST", f"{ONE}/regenerateKeys", {"keyType": "Primary", "keyValue": "next~"}).status_code == 202
    harness.settle()
    assert "next~" in harness.gateway.route("ep-one").keys


def test_an_endpoint_that_cannot_be_served_is_left_out_and_the_others_go_on(harness: Harness) -> None:
    make(harness, ONE)
    set_key(harness, ONE, "not good")
    assert harness.row(ONE).state == "Failed" and "cannot stand in a header" in str(harness.row(ONE).status["error"])
    assert "not good" not in str(harness.row(ONE).status)
    make(harness, TWO)
    assert harness.row(GATEWAY).state == "Succeeded" and harness.row(TWO).state == "Succeeded"
    assert served(harness) == {"ep-two"}
    set_key(harness, ONE, "good")
    harness.clock.pass_(61)
    harness.settle()
    assert served(harness) == {"ep-one", "ep-two"}
    assert harness.row(ONE).state == "Succeeded" and "error" not in harness.row(ONE).status


def test_what_is_left_out_is_an_error_of_its_deployments_too_and_can_be_deleted(harness: Harness) -> None:
    prepare(harness, "workspaces/onlineendpoints/deployments")
    endpoint = EXAMPLES["workspaces/onlineendpoints"].url
    set_key(harness, endpoint, "not good")
    operation = harness.put(DEPLOYMENT.url, DEPLOYMENT.body()).headers["azure-asyncoperation"]
    harness.settle()
    for name in list(harness.engine.states):
        harness.engine.start(name)
        harness.engine.ready(name)
    harness.settle()
    answer = harness.get(operation).json()
    assert answer["status"] == "Failed" and "cannot stand in a header" in answer["error"]["message"]
    assert harness.send("DELETE", endpoint).status_code == 202
    harness.settle()
    assert harness.get(endpoint).status_code == 404 and harness.get(DEPLOYMENT.url).status_code == 404
    assert all(one.phase is Phase.EXITED for one in harness.engine.states.values())


def test_envoy_is_awaited_with_growing_pauses_and_at_once_again_after_a_change(harness: Harness) -> None:
    harness.gateway.lagging = True
    assert harness.put(ONE, {"properties": {}}).status_code == 201
    pauses = [pause(harness) for _ in range(25)]
    assert pauses[:4] == pytest.approx([0.01, 0.0125, 0.0156, 0.0195], abs=0.001)
    assert pauses[-1] == pytest.approx(1.0, abs=0.002)
    assert harness.put(TWO, {"properties": {}}).status_code == 201
    assert pause(harness) < 0.1
    harness.gateway.lagging = False
    harness.clock.pass_(1)
    harness.settle()
    assert harness.row(ONE).state == harness.row(TWO).state == "Succeeded"
    assert "awaited" not in harness.row(GATEWAY).status


def pause(harness: Harness) -> float:
    """Run what is due; seconds until the gateway is looked at again, after which the clock stands there."""
    harness.settle()
    due = harness.row(GATEWAY).due_at
    assert due is not None
    left = due - harness.clock.now
    harness.clock.pass_(max(left, 0) + 1e-6)
    return left


def test_a_route_is_written_from_what_is_live_not_from_a_revision_that_failed(harness: Harness) -> None:
    prepare(harness, "workspaces/onlineendpoints/deployments")
    harness.put(DEPLOYMENT.url, DEPLOYMENT.body())
    harness.settle()
    for name in list(harness.engine.states):
        harness.engine.start(name)
        harness.engine.ready(name)
    harness.settle()
    before: EndpointRoute = harness.gateway.route("churn-scores")
    harness.put(DEPLOYMENT.url, DEPLOYMENT.body(requestSettings={"requestTimeout": "PT50S"}))
    harness.settle()
    (new,) = [name for name, one in harness.engine.states.items() if one.phase is Phase.PREPARING]
    harness.engine.finish(new, 1)
    harness.settle()
    assert harness.row(DEPLOYMENT.url).state == "Failed"
    assert harness.gateway.route("churn-scores") == before


def add_endpoints(harness: Harness, numbers: range) -> None:
    """Endpoints with a live deployment each, as if they had always been there."""
    now = harness.clock()
    live = {"addresses": {"r": "unix:/run/s.sock"}, "timeout_s": 5, "max_concurrent": 1, "max_queue_wait_s": 0.5}
    with harness.database.write() as connection:
        for number in numbers:
            endpoint = f"{WORKSPACE}/onlineEndpoints/many-{number}"
            for url, parent, spec, status in (
                (endpoint, WORKSPACE, {"properties": {"authMode": "Key", "traffic": {"blue": 100}}}, {}),
                (f"{endpoint}/deployments/blue", endpoint, {"properties": {}}, {"live": live}),
            ):
                kind = "workspaces/onlineendpoints" + ("/deployments" if parent == endpoint else "")
                resources.insert(
                    connection,
                    key=url.lower(),
                    written=url,
                    kind=kind,
                    parent=parent.lower(),
                    name=url.rpartition("/")[2],
                    spec=spec,
                    status=status,
                    state="Succeeded",
                    now=now,
                    by="test",
                )
            harness.platform.secrets.set(connection, endpoint.lower(), "primaryKey", f"key-{number}")


def statements(harness: Harness) -> list[str]:
    """What is sent to the database from now on."""
    sent: list[str] = []
    event.listen(harness.database._engine, "before_cursor_execute", lambda *found: sent.append(found[2]))
    return sent


def test_a_flip_reads_what_changed_and_not_the_other_endpoints(harness: Harness) -> None:
    sent = statements(harness)

    def flip(share: int) -> int:
        """The number of statements."""
        del sent[:]
        assert harness.put(
            f"{WORKSPACE}/onlineEndpoints/many-7", {"properties": {"traffic": {"blue": share}}}
        ).is_success
        harness.settle()
        assert harness.gateway.route("many-7").traffic == ({"blue": share} if share else {})
        return len(sent)

    def look_at_all() -> int:
        del sent[:]
        with harness.database.write() as connection:
            resources.poke(connection, [GATEWAY], harness.clock())
        harness.settle()
        return len(sent)

    make(harness, ONE)
    add_endpoints(harness, range(6, 9))
    look_at_all()
    flip(0)  # the endpoint's first operation
    few, few_at_all = flip(100), look_at_all()
    add_endpoints(harness, range(9, 60))
    assert look_at_all() < 51 * 5  # a row for each to be inserted
    assert (flip(0), look_at_all()) == (few, few_at_all)
    assert len(served(harness)) == 55 and harness.gateway.route("many-8").traffic == {"blue": 100}


def test_the_gateways_lost_files_are_written_again_with_all_endpoints(harness: Harness) -> None:
    make(harness, ONE)
    harness.gateway.applied.clear()
    make(harness, TWO)
    assert harness.row(TWO).state == "Succeeded" and served(harness) == {"ep-one", "ep-two"}


def test_a_deleted_endpoint_leaves_no_row_and_its_name_can_be_used_again(harness: Harness) -> None:
    make(harness, ONE)
    assert harness.row(f"{GATEWAY}{ONE}").status["digest"]
    assert harness.send("DELETE", ONE).status_code == 202
    harness.settle()
    assert harness.get(ONE).status_code == 404 and served(harness) == set()
    with harness.database.read() as connection:
        assert resources.children(connection, GATEWAY) == []
    make(harness, ONE)
    assert harness.row(ONE).state == "Succeeded" and served(harness) == {"ep-one"}


def test_a_job_does_not_choose_how_an_endpoint_is_opened(harness: Harness) -> None:
    make(harness, ONE)
    job = Principal(oid="j", name="job:train", kind="job", tenant="t", scope=WORKSPACE.lower())
    harness.caller = job
    assert harness.put(ONE, {"properties": {"authMode": "AADToken"}}).status_code == 403
    assert harness.put(ONE, {"properties": {"authMode": "Key", "keys": {"primaryKey": "mine"}}}).status_code == 403
    assert harness.put(TWO, {"properties": {"authMode": "Key", "keys": {"primaryKey": "mine"}}}).status_code == 403
    assert harness.row(ONE).properties["authMode"] == "Key"
    assert harness.put(ONE, {"properties": {"authMode": "Key", "traffic": {}}}).is_success
    assert harness.put(TWO, {"properties": {"authMode": "AMLToken"}}).is_success, "one of its own, with keys of ours"


def test_a_deleted_identity_is_told_to_all_endpoints_that_take_its_tokens(harness: Harness) -> None:
    three = f"{WORKSPACE}/onlineEndpoints/ep-three"
    for url, mode in ((ONE, "AADToken"), (TWO, "AMLToken"), (three, "Key")):
        make(harness, url, authMode=mode)
    identities = Identities(harness.settings, harness.database, harness.clock)
    found = identities.create("gone")
    identities.delete(found.oid)
    # somebody else's change comes first: it is not all that is looked at
    assert harness.send("PATCH", three, {"tags": {"a": "b"}}).status_code in (200, 202)
    harness.loop.hint(GATEWAY)
    harness.settle()
    ended = {one.name: list(one.ended) for one in harness.gateway.applied[-1]}
    assert ended == {"ep-one": [found.oid], "ep-two": [found.oid], "ep-three": []}
    assert harness.row(ONE).state == harness.row(TWO).state == "Succeeded"
    make(harness, f"{ONE}-later", authMode="AADToken")
    assert list(harness.gateway.route("ep-one-later").ended) == [found.oid]


def test_who_was_deleted_is_forgotten_when_no_token_can_last(harness: Harness) -> None:
    identities = Identities(harness.settings, harness.database, harness.clock)
    for days in (0, 3):
        harness.clock.pass_(days * 86_400)
        last = identities.create("gone")
        identities.delete(last.oid)
    with harness.database.read() as connection:
        assert living.ended(connection) == (last.oid,)
