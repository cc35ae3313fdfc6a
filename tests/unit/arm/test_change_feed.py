"""`GET {scope}/changes`: what happened, who did it and in which request, a page at a time."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.jobs import JOBS, submit
from fakes.platform import GROUP, OWNER, WORKSPACE, Harness
from smalt.settings import SUBSCRIPTION

DATA = {"properties": {"dataUri": "azureml://datastores/workspaceblobstore/paths/x/", "dataType": "uri_folder"}}
ASSET = f"{WORKSPACE}/data/bank/versions/1"


def changes(harness: Harness, scope: str, **query: str) -> Any:
    answer = harness.get(f"{scope}/changes?" + "&".join(f"{key}={value}" for key, value in query.items()))
    assert answer.status_code == 200, answer.text
    return answer.json()


def cursor(harness: Harness) -> str:
    return changes(harness, WORKSPACE, after="now")["cursor"]


def test_who_did_what_in_which_request(harness: Harness) -> None:
    begin = cursor(harness)
    made = harness.put(ASSET, DATA)
    tagged = harness.send("PATCH", ASSET, {"properties": {"tags": {"a": "b"}}})
    gone = harness.send("DELETE", ASSET)
    found = [one for one in changes(harness, WORKSPACE, after=begin)["value"] if one["resourceId"] == ASSET.lower()]
    requests = [answer.headers["x-ms-request-id"] for answer in (made, tagged, gone)]
    assert [one["what"] for one in found] == ["created", "updated", "deleted"], "also where the state stays"
    assert [one["requestId"] for one in found] == requests and {one["actor"] for one in found} == {OWNER.name}
    assert {one["type"] for one in found} == {"Microsoft.MachineLearningServices/workspaces/data/versions"}
    assert [one["generation"] for one in found] == [1, 2, 2] and "from" not in found[0]


def test_the_platforms_own_work_is_its_own(harness: Harness) -> None:
    begin = cursor(harness)
    submit(harness)
    harness.settle()
    found = changes(harness, f"{JOBS}/train-1", after=begin)["value"]
    assert [one["actor"] for one in found][:1] == [OWNER.name] and found[0]["what"] == "created"
    steps = [one for one in found if one["what"] == "state"]
    assert steps and {one["actor"] for one in steps} == {"smalt"} and not any("requestId" in one for one in steps)


def test_pages_follow_each_other_and_end(harness: Harness) -> None:
    begin = cursor(harness)
    for number in range(5):
        harness.put(f"{WORKSPACE}/data/d{number}/versions/1", DATA)
    first = changes(harness, WORKSPACE, **{"after": begin, "$top": "4", "kind": "workspaces/data/versions"})
    rest = harness.get(first["nextLink"]).json()
    assert [len(first["value"]), len(rest["value"])] == [4, 1] and "nextLink" not in rest
    assert changes(harness, WORKSPACE, after=rest["cursor"])["value"] == []
    harness.put(ASSET, DATA)
    new = changes(harness, WORKSPACE, after=rest["cursor"], kind="workspaces/data/versions")["value"]
    assert [one["resourceId"] for one in new] == [ASSET.lower()]


def test_a_page_may_be_begun_at_each_of_its_changes(harness: Harness) -> None:
    everything = changes(harness, WORKSPACE, **{"$top": "1000"})["value"]
    for at in (0, len(everything) // 2, len(everything) - 1):
        rest = changes(harness, WORKSPACE, **{"$top": "1000", "after": everything[at]["cursor"]})["value"]
        assert rest == everything[at + 1 :]


@pytest.mark.parametrize("scope", [f"/subscriptions/{SUBSCRIPTION}", GROUP, WORKSPACE, ASSET.upper()])
def test_scopes(harness: Harness, scope: str) -> None:
    harness.put(ASSET, DATA)
    found = changes(harness, scope, what="created", kind="Microsoft.MachineLearningServices/workspaces/data/versions")
    assert ASSET.lower() in [one["resourceId"] for one in found["value"]]


def test_what_is_gone_keeps_its_past(harness: Harness) -> None:
    harness.put(ASSET, DATA)
    harness.send("DELETE", ASSET)
    assert [one["what"] for one in changes(harness, ASSET)["value"]] == ["created", "deleted"]
    missing = harness.get(f"{WORKSPACE}/data/never/versions/1/changes")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "ResourceNotFound"
    assert harness.get(f"{WORKSPACE}/nothings/x/changes").status_code == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=yesterday", "after"),
        ("after=MX5-fjk5OTk5", "after"),
        ("kind=workspaces/nothings", "kind"),
        ("what=exploded", "what"),
        ("$top=x", "$top"),
    ],
)
def test_what_is_wrong_is_named(harness: Harness, query: str, field: str) -> None:
    answer = harness.get(f"{WORKSPACE}/changes?{query}")
    assert answer.status_code == 400 and answer.json()["error"]["target"] == field, answer.text


def test_a_reader_is_shown_what_his_grants_reach(harness: Harness) -> None:
    for name in ("mine", "theirs"):
        harness.put(f"{WORKSPACE}/data/{name}/versions/1", DATA)
    harness.grants.prefixes = [f"{WORKSPACE}/data/mine"]
    found = {one["resourceId"] for one in changes(harness, WORKSPACE)["value"]}
    mine = f"{WORKSPACE}/data/mine".lower()
    assert found == {mine, f"{mine}/versions/1"}


def test_events_are_the_changes_of_state(harness: Harness) -> None:
    submit(harness)
    harness.send("PATCH", f"{JOBS}/train-1", {"properties": {"tags": {"a": "b"}}})
    harness.settle()
    events = harness.get(f"{JOBS}/train-1/events").json()["value"]
    assert events[0]["reason"] == "created" and all(set(one) == {"at", "from", "to", "reason"} for one in events)
    assert "described" not in [one["reason"] for one in events], "names and tags are no events"
    assert "described" in [one["what"] for one in changes(harness, f"{JOBS}/train-1")["value"]]


def test_people_read_backwards(harness: Harness) -> None:
    for number in range(7):
        harness.put(f"{WORKSPACE}/data/d{number}/versions/1", DATA)
    query = {"order": "newest", "$top": "3", "kind": "workspaces/data/versions", "actor": OWNER.name}
    page, names = changes(harness, WORKSPACE, **query), list[str]()
    while True:
        names += [one["resourceId"].split("/")[-3] for one in page["value"]]
        if "nextLink" not in page:
            break
        page = harness.get(page["nextLink"]).json()
    assert names == [f"d{number}" for number in reversed(range(7))]
    assert changes(harness, WORKSPACE, order="newest", actor="nobody")["value"] == []
    newest = changes(harness, f"{WORKSPACE}/data/d3/versions/1", order="newest")["value"]
    assert [one["what"] for one in newest] == ["created"]
    for wrong, target in (({"order": "oldest"}, "order"), ({"order": "newest", "before": "x"}, "before")):
        answer = harness.get(f"{WORKSPACE}/changes?" + "&".join(f"{key}={value}" for key, value in wrong.items()))
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, target)
