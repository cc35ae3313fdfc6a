"""Resources that hang on others: on any id there is, in any case, gone with what they hang on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.extensions import KINDS, ML_FARMS, THEIR_FARMS
from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.arm.registry import Kinds
from smalt.settings import SUBSCRIPTION
from smalt.store import resources

SUB = f"/subscriptions/{SUBSCRIPTION}"
AUTH = "/providers/Microsoft.Authorization"
ASSIGNMENTS = f"{AUTH}/roleAssignments"
BODY = {"properties": {"roleDefinitionId": "reader"}}
JOB = EXAMPLES["workspaces/jobs"].url


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    one = Harness(tmp_path, kinds=KINDS)
    yield one
    one.close()


def names(harness: Harness, url: str) -> list[str]:
    answer = harness.get(url)
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()["value"]]


@pytest.mark.parametrize(
    "scope",
    ["", SUB, GROUP, WORKSPACE, JOB, f"{WORKSPACE}/data/churn/versions/1"],
    ids=["tenant", "subscription", "group", "workspace", "job", "version"],
)
def test_it_hangs_on_everything(harness: Harness, scope: str) -> None:
    for key in ("workspaces/jobs", "workspaces/data/versions"):
        example = prepare(harness, key)
        harness.put(example.url, example.body())
    url = f"{scope}{ASSIGNMENTS}/r1"
    created = harness.put(url, BODY)
    assert created.status_code == 201, created.text
    assert created.json()["id"] == url and created.json()["type"] == "Microsoft.Authorization/roleAssignments"
    assert harness.put(url, BODY).status_code == 200
    assert harness.get(url.upper()).json()["id"] == url
    changed = harness.send("PATCH", url.lower(), {"properties": {"condition": "x"}})
    assert changed.json()["properties"]["roleDefinitionId"] == "reader"
    assert names(harness, f"{scope}{ASSIGNMENTS}") == ["r1"]
    events = harness.get(f"{url}/events")
    assert [one["reason"] for one in events.json()["value"]] == ["created"]
    assert harness.send("DELETE", url).status_code == 200
    assert harness.get(url).json()["error"]["code"] == "ResourceNotFound"
    assert harness.send("DELETE", url).status_code == 204


def test_a_list_is_of_one_scope(harness: Harness) -> None:
    scopes = ("", SUB, GROUP, WORKSPACE)
    for number, scope in enumerate(scopes):
        assert harness.put(f"{scope}{ASSIGNMENTS}/r{number}", BODY).status_code == 201
    for number, scope in enumerate(scopes):
        assert names(harness, f"{scope}{ASSIGNMENTS.lower()}") == [f"r{number}"]
    assert harness.get(f"{WORKSPACE}-missing{ASSIGNMENTS}").status_code == 404


def test_the_services_spelling_is_kept(harness: Harness) -> None:
    url = f"{WORKSPACE}{ASSIGNMENTS}/R1"
    assert harness.put(url.lower().replace("/r1", "/R1"), BODY).status_code == 201
    written = harness.get(url).json()["id"]
    assert written.endswith(f"{ASSIGNMENTS}/R1") and "/Microsoft.MachineLearningServices/workspaces/" in written


def test_it_may_be_extended_itself(harness: Harness) -> None:
    below = f"{WORKSPACE}{ASSIGNMENTS}/r1{ASSIGNMENTS}/r2"
    missing = harness.put(below, BODY)
    assert missing.status_code == 404 and "'r1'" in missing.json()["error"]["message"]
    harness.put(f"{WORKSPACE}{ASSIGNMENTS}/r1", BODY)
    assert harness.put(below, BODY).status_code == 201
    assert names(harness, below.rpartition("/")[0]) == ["r2"]
    assert harness.send("DELETE", f"{WORKSPACE}{ASSIGNMENTS}/r1").status_code == 200
    assert harness.get(below).status_code == 404


@pytest.mark.parametrize(
    ("method", "code"), [("GET", "ResourceNotFound"), ("PUT", "ResourceNotFound"), ("PATCH", "ResourceNotFound")]
)
def test_what_it_would_hang_on_must_be_there(harness: Harness, method: str, code: str) -> None:
    answer = harness.send(method, f"{WORKSPACE}/jobs/none{ASSIGNMENTS}/r1", None if method == "GET" else BODY)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == code and "'none'" in answer.json()["error"]["message"]


def test_a_missing_group_and_subscription_are_named(harness: Harness) -> None:
    group = harness.put(f"{GROUP}-none{ASSIGNMENTS}/r1", BODY)
    assert (group.status_code, group.json()["error"]["code"]) == (404, "ResourceGroupNotFound")
    other = SUB.replace("0001", "0002")
    for url in (f"{other}{ASSIGNMENTS}/r1", f"{other}/resourceGroups/g"):
        answer = harness.put(url, BODY)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "SubscriptionNotFound"), url


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("below", "code"),
    [
        (f"{SUB}/providers/Microsoft.Nothing/things/t", "InvalidResourceNamespace"),
        (f"{WORKSPACE}/providers/Microsoft.Nothing/things/t", "InvalidResourceNamespace"),
        (f"{WORKSPACE}/providers/Microsoft.Nothing/things", "InvalidResourceNamespace"),
        (f"{SUB}/providers/Microsoft.Nothing", "InvalidResourceNamespace"),
        (f"{GROUP}/providers/Microsoft.Nothing/things/t{ASSIGNMENTS}/r1", "InvalidResourceNamespace"),
        (f"{WORKSPACE}{AUTH}/nothing/t", "InvalidResourceType"),
        (f"{WORKSPACE}{AUTH}/nothing", "InvalidResourceType"),
        (f"{WORKSPACE}/nothing/t{ASSIGNMENTS}/r1", "InvalidResourceType"),
        (f"{WORKSPACE}/nothing/t", "InvalidResourceType"),
        (f"{WORKSPACE}{AUTH}/roleDefinitions/d", "InvalidResourceType"),  # not at this scope
        (f"{WORKSPACE}/providers/Microsoft.MachineLearningServices/workspaces/w", "InvalidResourceType"),
        (f"{GROUP}/providers/providers/Microsoft.Authorization/roleAssignments", "InvalidResourceNamespace"),
        (f"{GROUP}/providers/Microsoft.MachineLearningServices/Microsoft.Authorization/x/roleAssignments/y", "InvalidResourceType"),
        (f"{SUB}/nothing", "InvalidResourceType"),
        (f"{SUB}/nothing/n", "InvalidResourceId"),
        (f"{WORKSPACE}/providers", "InvalidResourceType"),
        (f"{WORKSPACE}/providers/Microsoft.Authorization/x/providers", "InvalidResourceType"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_a_404_whatever_is_asked(harness: Harness, method: str, below: str, code: str) -> None:
    body: Any = BODY if method in ("PUT", "PATCH", "POST") else None
    answer = harness.send(method, below, body)
    assert answer.status_code == 404, answer.text
    if method != "HEAD":
        assert answer.json()["error"]["code"] == code, answer.text


@pytest.mark.parametrize("scope", ["", SUB, GROUP, WORKSPACE])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_type_that_is_not_there_is_named(harness: Harness, scope: str, method: str) -> None:
    answer = harness.send(method, f"{scope}/providers/Microsoft.Insights/nothings", BODY if method == "POST" else None)
    assert answer.json()["error"]["target"] == "nothings"
    assert "'nothings'" in answer.json()["error"]["message"]


def test_bad_names_are_refused(harness: Harness) -> None:
    for name in ("-x", "a b", "x" * 300):
        answer = harness.put(f"{WORKSPACE}{ASSIGNMENTS}/{name}", BODY)
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, "name")


def test_it_survives_a_restart(harness: Harness, tmp_path: Path) -> None:
    url = f"{WORKSPACE}{ASSIGNMENTS}/r1"
    harness.put(url, BODY)
    harness.database.close()
    again = Harness(tmp_path, kinds=KINDS, framed=False)
    assert again.get(url).json()["properties"]["roleDefinitionId"] == "reader"
    assert names(again, f"{WORKSPACE}{ASSIGNMENTS}") == ["r1"]
    again.close()


@pytest.mark.parametrize("deleted", [GROUP, WORKSPACE, f"{WORKSPACE}/data/churn"])
def test_it_goes_with_what_it_hangs_on(harness: Harness, deleted: str) -> None:
    version = prepare(harness, "workspaces/data/versions")
    harness.put(version.url, version.body())
    scopes = [GROUP, WORKSPACE, f"{WORKSPACE}/data/churn", version.url]
    for scope in (*scopes, SUB):
        assert harness.put(f"{scope}{ASSIGNMENTS}/r1", BODY).status_code == 201
    assert harness.send("DELETE", deleted).status_code in (200, 202)
    harness.settle()
    for scope in scopes:
        assert harness.get(f"{scope}{ASSIGNMENTS}/r1").status_code == (404 if scope.startswith(deleted) else 200)
    with harness.database.read() as connection:
        left = resources.keys_of_kind(connection, "microsoft.authorization/roleassignments")
    gone = [f"{scope}{ASSIGNMENTS}/r1".lower() for scope in scopes if scope.startswith(deleted)]
    assert f"{SUB}{ASSIGNMENTS}/r1".lower() in left and not set(gone) & set(left)


def test_a_version_tells_only_of_versions_what_there_are(harness: Harness) -> None:
    version = prepare(harness, "workspaces/data/versions")
    harness.put(version.url, version.body())
    harness.put(f"{WORKSPACE}/data/churn{ASSIGNMENTS}/r1", BODY)
    job = EXAMPLES["workspaces/jobs"]
    inputs = {"x": {"jobInputType": "uri_file", "uri": "azureml:churn:7"}}
    refused = harness.put(job.url, job.body(inputs=inputs))
    assert refused.status_code == 400 and "there are: 1." in refused.json()["error"]["message"]


def test_two_providers_may_have_a_type_of_one_name(tmp_path: Path) -> None:
    one = Harness(tmp_path, kinds=[THEIR_FARMS, ML_FARMS])
    for provider in ("Microsoft.Farming", "Microsoft.MachineLearningServices"):
        url = f"{GROUP}/providers/{provider}/farms/shared"
        assert one.put(url, {"properties": {}}).status_code == 201
        assert one.get(url).json()["type"] == f"{provider}/farms"
        assert names(one, url.rpartition("/")[0]) == ["shared"]
    assert one.row(f"{GROUP}/providers/Microsoft.MachineLearningServices/farms/shared").kind == "farms"
    one.close()
    with pytest.raises(ValueError, match=r"Microsoft\.Farming/farms"):
        Kinds([THEIR_FARMS, ML_FARMS, THEIR_FARMS])
