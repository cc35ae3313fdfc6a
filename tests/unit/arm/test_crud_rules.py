"""What the verbs hold to, whatever the kind: parents that go, providers, pages, prefixes, operations."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import event

from fakes.examples import EXAMPLES
from fakes.platform import GROUP, OWNER, WORKSPACE
from smalt.arm import listing
from smalt.arm.models import ModelRows
from smalt.arm.ports import ModelVersion
from smalt.arm.router import ArmApp
from smalt.store import changes, operations, resources

ML = "/providers/Microsoft.MachineLearningServices"
JOBS = f"{WORKSPACE}/jobs"


def job(harness: Any, name: str, **properties: Any) -> None:
    answer = harness.put(f"{JOBS}/{name}", EXAMPLES["workspaces/jobs"].body(**properties))
    assert answer.status_code == 201, answer.text


def stored_jobs(harness: Any, count: int, wanted: int) -> None:
    """`count` jobs, of which the `wanted` oldest have the tag."""
    with harness.database.write() as connection:
        for number in range(count):
            tags = {"team": "a b&c"} if number < wanted else {}
            resources.insert(
                connection,
                key=f"{JOBS}/j{number:05}".lower(),
                written=f"{JOBS}/j{number:05}",
                kind="workspaces/jobs",
                parent=WORKSPACE.lower(),
                name=f"j{number:05}",
                spec={"properties": {"jobType": "Command", "tags": tags}},
                status={},
                state="Completed",
                now=harness.clock(),
                by="t",
            )


def test_nothing_is_made_in_what_is_being_deleted(harness: Any) -> None:
    harness.put(f"{WORKSPACE}/onlineEndpoints/old", {"properties": {}})
    harness.settle()
    assert harness.send("DELETE", WORKSPACE).status_code == 202
    for url, key in (
        (f"{WORKSPACE}/onlineEndpoints/late", "workspaces/onlineendpoints"),
        (f"{WORKSPACE}/data/late/versions/1", "workspaces/data/versions"),
        (f"{WORKSPACE}/onlineEndpoints/old/deployments/blue", "workspaces/onlineendpoints/deployments"),
        (f"{WORKSPACE}/onlineEndpoints/old", "workspaces/onlineendpoints"),
    ):
        answer = harness.put(url, EXAMPLES[key].body())
        assert answer.status_code == 409 and "Wait for its end" in answer.text, answer.text
    template = harness.put(
        f"{GROUP}/providers/Microsoft.Resources/deployments/again",
        {"properties": {"parameters": {"workspaceName": {"value": "bank"}}}},
    )
    assert template.status_code == 409 and "Wait for its end" in template.text
    harness.settle()
    assert harness.get(WORKSPACE).status_code == 404
    with harness.database.read() as connection:
        assert resources.keys_of_kind(connection, "workspaces/onlineendpoints") == []
    assert harness.put(WORKSPACE, {"properties": {}}).status_code == 202


def test_nothing_is_made_in_a_group_that_is_being_deleted(harness: Any) -> None:
    assert harness.send("DELETE", GROUP).status_code == 202
    assert harness.put(f"{WORKSPACE}/data/late", {"properties": {}}).status_code == 409
    assert harness.put(f"{WORKSPACE}-late", {"properties": {}}).status_code == 409


@pytest.mark.parametrize(
    "url",
    [
        f"{GROUP}/providers/Microsoft.Storage/workspaces/bank",
        f"{GROUP}/providers/Microsoft.Resources/workspaces/bank",
        f"{GROUP}/providers/Microsoft.Storage/workspaces/bank/data/churn",
        f"{GROUP}{ML}/deployments/d",
        f"{GROUP.rpartition('/resourceGroups')[0]}/providers/Microsoft.Resources/resourceGroups/g",
    ],
)
def test_a_type_is_known_below_its_own_provider_only(harness: Any, url: str) -> None:
    body = {"properties": {"parameters": {"workspaceName": {"value": "other"}}}}
    for method in ("PUT", "PATCH", "GET"):
        answer = harness.send(method, url, None if method == "GET" else body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "InvalidResourceType"), answer.text
    assert harness.send("POST", f"{url}/listKeys", {}).status_code == 404
    listed = harness.get(url.rpartition("/")[0])
    assert listed.status_code == 404 or "resourceGroups" in url
    assert [one["name"] for one in harness.get(f"{GROUP}{ML}/workspaces").json()["value"]] == ["bank"]
    assert harness.get(f"{GROUP}{ML.lower()}/workspaces").json()["value"]


def test_a_workspace_is_in_a_group(harness: Any) -> None:
    subscription = GROUP.rpartition("/resourceGroups")[0]
    assert harness.put(f"{subscription}{ML}/workspaces/loose", {"properties": {}}).status_code == 404


@pytest.mark.parametrize("type_", ["environmentBuilds", "gateways", "jobRuns", "modelNews", "locations"])
def test_what_the_platform_makes_cannot_be_put(harness: Any, type_: str) -> None:
    url = f"{GROUP}{ML}/{type_}/mine"
    assert harness.put(url, {"about": f"{WORKSPACE}/models/x", "properties": {}}).status_code == 405
    assert harness.get(url).status_code == 404


def test_an_underscore_in_a_name_is_no_wildcard(harness: Any) -> None:
    workspaces = f"{GROUP}{ML}/workspaces"
    for name in ("team_a", "teamxa"):
        harness.put(f"{workspaces}/{name}", {"properties": {}})
    harness.settle()
    code = {
        "properties": {
            "codeUri": "azureml://datastores/workspaceblobstore/paths/c",
            "properties": {"hash_sha256": "abc"},
        }
    }
    harness.put(f"{workspaces}/teamxa/codes/c1/versions/1", code)
    harness.put(f"{workspaces}/teamxa/models/m/versions/1", {"properties": {"modelUri": "https://x/y"}})

    def found(workspace: str) -> int:
        return len(harness.get(f"{workspaces}/{workspace}/codes/any/versions?hash=abc").json()["value"])

    assert (found("team_a"), found("teamxa")) == (0, 1)
    rows = ModelRows(harness.database, harness.platform.hub, harness.clock)
    assert rows.known(f"{workspaces}/team_a".lower()) == set()
    assert rows.known(f"{workspaces}/teamxa".lower()) == {("m", "1")}


@pytest.mark.parametrize(
    "query",
    ["count=abc", "count=-1", "$top=%C2%B2", f"$top={'9' * 5000}", "$top=0", "count=%D9%A3", "top=1.5", "$skipToken=x"],
)
def test_what_is_no_page_is_refused(harness: Any, query: str) -> None:
    answer = harness.get(f"{JOBS}?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidQueryParameter"), answer.text


def test_the_next_link_asks_the_same(harness: Any) -> None:
    for number in range(5):
        job(harness, f"j{number}", tags={"team": "a b&c"} if number % 2 == 0 else {"team": "other"})
    link = f"{JOBS}?tag=team%3Da%20b%26c&count=1&api-version=2024-10-01"
    seen: list[str] = []
    while link:
        page = harness.get(link).json()
        seen += [one["name"] for one in page["value"]]
        link = page.get("nextLink")
        assert link is None or "tag=team%3Da%20b%26c" in link
    assert seen == ["j4", "j2", "j0"]


def test_a_filter_reads_a_bounded_number_of_rows_with_few_statements(
    harness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "READ_MOST", 200)
    monkeypatch.setattr(listing, "CHUNK", 100)
    stored_jobs(harness, 450, wanted=3)
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    with harness.database.read() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", note)
    page = harness.get(f"{JOBS}?tag=team")
    event.remove(engine, "before_cursor_execute", note)
    assert len(statements) < 8
    assert page.json()["value"] == [] and page.json()["nextLink"]
    for query, wanted in (("tag=team", ["j00002", "j00001", "j00000"]), ("tag=team&$top=2", ["j00002", "j00001"])):
        link, seen, pages = f"{JOBS}?{query}", [], 0
        while link:
            answer = harness.get(link).json()
            seen += [one["name"] for one in answer["value"]]
            link, pages = answer.get("nextLink"), pages + 1
        assert seen == wanted and pages == 3


def test_pages_of_a_filtered_list_hold_each_row_once(harness: Any) -> None:
    stored_jobs(harness, 120, wanted=60)
    link, seen = f"{JOBS}?tag=team&count=7", []
    while link:
        page = harness.get(link).json()
        assert len(page["value"]) <= 7
        seen += [one["name"] for one in page["value"]]
        link = page.get("nextLink")
    assert seen == [f"j{number:05}" for number in reversed(range(60))]


def test_a_job_may_be_named_like_a_route_of_ours(harness: Any) -> None:
    job(harness, "operationsStatus")
    assert harness.get(f"{JOBS}/operationsStatus").json()["name"] == "operationsStatus"


def test_permission_for_an_operation_is_looked_up_in_a_thread(harness: Any) -> None:
    """A job's token makes it read the database, which must not stop the event loop."""
    threads: list[str] = []
    app = ArmApp(
        harness.platform, harness.crud, lambda scope: OWNER, lambda *_: threads.append(threading.current_thread().name)
    )
    created = harness.put(f"{WORKSPACE}-two", {"properties": {}})
    harness.settle()
    harness.app = app
    assert harness.get(created.headers["azure-asyncoperation"]).json()["status"] == "Succeeded"
    assert threads and threading.current_thread().name not in threads


def test_operations_that_ended_are_forgotten_after_a_while(harness: Any) -> None:
    first = harness.put(f"{WORKSPACE}-two", {"properties": {}}).headers["azure-asyncoperation"]
    running = harness.put(f"{WORKSPACE}-three", {"properties": {}}).headers["azure-asyncoperation"]
    with harness.database.write() as connection:
        operations.finish(connection, f"{WORKSPACE}-two".lower(), 1, None, harness.clock())
    harness.clock.pass_(operations.KEPT_S - 60)
    harness.put(f"{WORKSPACE}-four", {"properties": {}})
    assert harness.get(first).json()["status"] == "Succeeded"
    harness.clock.pass_(120)
    harness.put(f"{WORKSPACE}-five", {"properties": {}})
    assert harness.get(first).status_code == 404
    with harness.database.read() as connection:
        left = operations.get(connection, running.partition("operationsStatus/")[2].partition("?")[0])
        assert changes.newest(connection, f"{WORKSPACE}-two")
    assert left is not None and left.state == operations.RUNNING


def test_versions_of_mlflow_may_have_names_that_only_look_like_numbers(harness: Any) -> None:
    rows = ModelRows(harness.database, harness.platform.hub, harness.clock)
    for version in ("7", "²", "9" * 200):
        assert rows.register(ModelVersion(WORKSPACE.lower(), "m", version, "https://x/y"), "ada")
    assert harness.get(f"{WORKSPACE}/models/m").json()["properties"]["nextVersion"] == "8"


@pytest.mark.parametrize(
    ("query", "name", "allowed"),
    [
        ("listViewType=ArchivedOnyl", "listViewType", "ActiveOnly, ArchivedOnly, All"),
        ("$orderBy=name", "$orderBy", "createdtime desc, createdtime asc"),
        ("$orderBy=createdtime%20down", "$orderBy", "createdtime desc"),
        ("orderBy=UpdatedAtDesc", "orderBy", "CreatedAtDesc"),
    ],
)
def test_a_misspelled_value_is_not_taken_for_another(harness: Any, query: str, name: str, allowed: str) -> None:
    answer = harness.get(f"{WORKSPACE}/computes?{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["target"]) == (400, "InvalidQueryParameter", name), answer.text
    assert f"{name} must be one of" in error["message"] and allowed in error["message"]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", ["second", "first"]),
        ("$orderBy=createdtime%20desc&listViewType=activeonly", ["second", "first"]),
        ("$orderBy=CreatedTime%20ASC", ["first", "second"]),
        ("orderBy=CreatedAtAsc&listViewType=All", ["first", "second"]),
        ("listViewType=ArchivedOnly&$orderBy=", []),
    ],
)
def test_the_values_that_clients_send(harness: Any, query: str, wanted: list[str]) -> None:
    for name in ("first", "second"):
        harness.put(f"{WORKSPACE}/environments/{name}/versions/1", {"properties": {"image": "base"}})
    listed = harness.get(f"{WORKSPACE}/environments?{query}").json()["value"]
    assert [one["name"] for one in listed if one["name"] in ("first", "second")] == wanted
