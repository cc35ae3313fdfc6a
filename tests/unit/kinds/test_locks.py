"""Management locks: what they keep from being deleted or changed, above and below them, and what goes on all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from fakes.examples import EXAMPLES, prepare
from fakes.extensions import KINDS
from fakes.jobs import JOBS, submit
from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.settings import SUBSCRIPTION
from smalt.store import resources

SUB = f"/subscriptions/{SUBSCRIPTION}"
LOCKS = "/providers/Microsoft.Authorization/locks"
COMPUTE = EXAMPLES["workspaces/computes"]
VERSION = EXAMPLES["workspaces/data/versions"]


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    one = Harness(tmp_path, kinds=KINDS)
    for key in ("workspaces/computes", "workspaces/data/versions"):
        example = prepare(one, key)
        assert one.put(example.url, example.body()).status_code in (200, 201)
    one.settle()
    yield one
    one.close()


def lock(harness: Harness, scope: str, level: str = "CanNotDelete", name: str = "keep", **more: Any) -> str:
    url = f"{scope}{LOCKS}/{name}"
    answer = harness.put(f"{url}?api-version=2016-09-01", {"properties": {"level": level, **more}})
    assert answer.status_code == 201, answer.text
    return url


def refusal(harness: Harness, method: str, url: str, body: Any = None) -> str:
    answer = harness.send(method, url, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ScopeLocked"), answer.text
    return answer.json()["error"]["message"]


def names(harness: Harness, url: str) -> list[str]:
    answer = harness.get(url)
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()["value"]]


@pytest.mark.parametrize("locked", [SUB, GROUP, WORKSPACE, f"{WORKSPACE}/data/churn", VERSION.url])
def test_what_is_locked_or_within_or_around_it_is_not_deleted(harness: Harness, locked: str) -> None:
    url = lock(harness, locked)
    for one in (GROUP, WORKSPACE, f"{WORKSPACE}/data/churn", VERSION.url):
        said = refusal(harness, "DELETE", one.lower())
        expected = f"The scope '{one.lower()}' cannot perform delete operation because following scope(s) are locked: "
        assert said.lower() == f"{expected}'{locked}'. Please remove the lock and try again.".lower()
        assert f"'{locked}'" in said
        assert harness.get(one).status_code == 200
    if locked.startswith(f"{WORKSPACE}/"):
        assert harness.send("DELETE", COMPUTE.url).status_code == 202, "what is beside it goes"
    else:
        refusal(harness, "DELETE", COMPUTE.url)
    assert harness.put(VERSION.url, VERSION.body(description="changed")).status_code in (200, 201), "and may change"
    assert harness.send("DELETE", url).status_code == 200
    assert harness.send("DELETE", VERSION.url).status_code == 200


def test_all_that_is_locked_is_named(harness: Harness) -> None:
    for scope in (GROUP, COMPUTE.url, VERSION.url):
        lock(harness, scope)
        lock(harness, scope, name="twice")
    said = refusal(harness, "DELETE", WORKSPACE)
    assert f"'{GROUP},{COMPUTE.url},{VERSION.url}'" in said
    for number in range(30):
        lock(harness, COMPUTE.url, name=f"n{number}")
    assert len(refusal(harness, "DELETE", WORKSPACE)) < 2000


@pytest.mark.parametrize("locked", [SUB, GROUP, WORKSPACE])
def test_what_is_read_only_is_read_and_nothing_else(harness: Harness, locked: str) -> None:
    url = lock(harness, locked, "readonly")
    assert harness.get(url).json()["properties"]["level"] == "ReadOnly"
    for method, one, body in (
        ("PUT", VERSION.url, VERSION.body()),
        ("PUT", f"{WORKSPACE}/data/new/versions/1", VERSION.body()),
        ("PATCH", WORKSPACE, {"properties": {"description": "x"}}),
        ("PUT", EXAMPLES["workspaces/jobs"].url, EXAMPLES["workspaces/jobs"].body()),
        ("POST", f"{WORKSPACE}/listKeys", None),
        ("POST", f"{WORKSPACE}/datastores/workspaceblobstore/listSecrets", None),
        ("PUT", f"{WORKSPACE}/providers/Microsoft.Resources/tags/default", {"properties": {"tags": {"a": "b"}}}),
        ("PUT", f"{WORKSPACE}/providers/Microsoft.Authorization/roleAssignments/r", {"properties": {}}),
    ):
        said = refusal(harness, method, one, body)
        assert f"'{one.removesuffix('/listKeys').removesuffix('/listSecrets')}' cannot perform write" in said
        assert f"'{locked}'" in said
    assert "delete operation" in refusal(harness, "DELETE", VERSION.url)
    for one in (WORKSPACE, VERSION.url, f"{WORKSPACE}/data", f"{COMPUTE.url}/events"):
        assert harness.get(one).status_code == 200
    assert lock(harness, WORKSPACE, name="another"), "locks themselves are made and go"
    assert harness.put(url, {"properties": {"level": "CanNotDelete"}}).status_code == 200
    assert harness.put(VERSION.url, VERSION.body()).status_code in (200, 201)


def test_a_template_does_not_go_round_it(harness: Harness) -> None:
    lock(harness, WORKSPACE, "ReadOnly")
    example = EXAMPLES["deployments"]
    body = {"properties": {"mode": "Incremental", "parameters": {"workspaceName": {"value": "bank"}}}}
    assert "cannot perform write" in refusal(harness, "PUT", example.url, body)
    assert harness.put(example.url, example.body()).status_code == 201, "of another workspace"


def test_what_the_platform_does_goes_on(harness: Harness) -> None:
    submit(harness)
    harness.settle()
    for level in ("CanNotDelete", "ReadOnly"):
        lock(harness, SUB, level, name=level)
    (task,) = [name for name in harness.engine.tasks if name.startswith("job-")]
    harness.engine.start(task)
    harness.engine.finish(task, 0)
    harness.settle()
    assert harness.get(f"{JOBS}/train-1").json()["properties"]["status"] == "Completed"


def test_what_is_below_goes_with_a_parent_that_was_accepted_for_deletion(harness: Harness) -> None:
    assert harness.send("DELETE", WORKSPACE).status_code == 202
    lock(harness, GROUP, "ReadOnly")
    harness.settle()
    for one in (WORKSPACE, COMPUTE.url, VERSION.url):
        assert harness.get(one).status_code == 404


def test_a_workspace_does_not_take_its_locked_storage_account_along(harness: Harness) -> None:
    account = harness.get(WORKSPACE).json()["properties"]["storageAccount"]
    url = lock(harness, account)
    assert f"are locked: '{account}'" in refusal(harness, "DELETE", WORKSPACE)
    assert harness.send("DELETE", url).status_code == 200
    assert harness.send("DELETE", WORKSPACE).status_code == 202


def test_a_lock_goes_with_what_it_hung_on(harness: Harness) -> None:
    lock(harness, WORKSPACE)
    assert harness.send("DELETE", f"{WORKSPACE}{LOCKS}/keep").status_code == 200
    assert harness.send("DELETE", f"{WORKSPACE}{LOCKS}/keep").status_code == 204
    assert harness.send("DELETE", WORKSPACE).status_code == 202


@pytest.mark.parametrize(
    ("properties", "target"),
    [
        ({"level": "NotSpecified"}, "properties.level"),
        ({"level": "Delete"}, "properties.level"),
        ({"level": ""}, "properties.level"),
        ({"level": None}, "properties.level"),
        ({}, "properties.level"),
        ({"level": "ReadOnly", "notes": "x" * 513}, "properties.notes"),
        ({"level": "ReadOnly", "owners": [{"applicationId": {}}]}, "properties.owners.0.applicationId"),
    ],
)
def test_what_is_no_lock_is_refused(harness: Harness, properties: dict[str, Any], target: str) -> None:
    answer = harness.put(f"{WORKSPACE}{LOCKS}/x", {"properties": properties})
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, target)
    assert harness.send("DELETE", COMPUTE.url).status_code == 202


def test_where_it_may_hang(harness: Harness) -> None:
    url = lock(
        harness, COMPUTE.url, notes="x" * 512, owners=[{"applicationId": "app"}], name="Of the audit (2026), a+b"
    )
    shown = harness.get(url.replace(" ", "%20")).json()
    assert shown["type"] == "Microsoft.Authorization/locks" and shown["properties"]["owners"] == [
        {"applicationId": "app"}
    ]
    body = {"properties": {"level": "ReadOnly"}}
    assert harness.put(f"{url}{LOCKS}/x".replace(" ", "%20"), body).status_code == 400, "not on a lock"
    assert harness.put(f"{LOCKS}/x", body).status_code == 404, "not on the tenant"
    assert harness.put(f"{WORKSPACE}/jobs/none{LOCKS}/x", body).status_code == 404
    for name in ("a<b", "a%25b", "a&b", "a:b", "x" * 261):
        assert harness.put(f"{WORKSPACE}{LOCKS}/{name}", body).json()["error"]["target"] == "name", name


def test_a_list_is_of_what_is_above_and_below_too(harness: Harness) -> None:
    scopes = {"sub": SUB, "group": GROUP, "space": WORKSPACE, "data": f"{WORKSPACE}/data/churn", "version": VERSION.url}
    for name, scope in scopes.items():
        lock(harness, scope, name=name)
    lock(harness, COMPUTE.url, name="beside")
    assert sorted(names(harness, f"{SUB}{LOCKS}")) == sorted([*scopes, "beside"])
    assert names(harness, f"{scopes['data'].lower()}{LOCKS.lower()}") == ["space", "group", "sub", "version", "data"]
    assert names(harness, f"{COMPUTE.url}{LOCKS}") == ["space", "group", "sub", "beside"]
    for spelled in ("atScope()", "atscope()"):
        assert names(harness, f"{WORKSPACE}{LOCKS}?$filter={spelled}") == ["group", "sub", "space"]
    assert harness.get(f"{WORKSPACE}{LOCKS}?$filter=level eq 'ReadOnly'").status_code == 400
    harness.grants.prefixes = [f"{WORKSPACE}/data"]
    assert names(harness, f"{WORKSPACE}{LOCKS}") == ["version", "data"]
    assert names(harness, f"{VERSION.url}{LOCKS}") == ["data", "version"]


def test_pages_of_a_list_have_each_lock_once(harness: Harness) -> None:
    lock(harness, GROUP, name="above")
    for number in range(7):
        lock(harness, COMPUTE.url, name=f"n{number}")
    url, seen = f"{WORKSPACE}{LOCKS}?count=3", list[str]()
    while url:
        page = harness.get(url).json()
        seen += [one["name"] for one in page["value"]]
        url = page.get("nextLink", "")
    assert seen == ["above", *(f"n{number}" for number in reversed(range(7)))]


def test_what_locks_cost(harness: Harness) -> None:
    """A read asks nothing of locks; a write one thing, a delete two, however much there is below."""
    with harness.database.write() as connection:
        for number in range(2000):
            written = f"{WORKSPACE}/jobs/j{number}"
            resources.insert(
                connection,
                key=written.lower(),
                written=written,
                kind="workspaces/jobs",
                parent=WORKSPACE.lower(),
                name=f"j{number}",
                spec={"properties": {}},
                status={},
                state="Completed",
                now=harness.clock(),
                by="t",
            )
    lock(harness, f"{WORKSPACE}/jobs/j7")
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if parameters and "microsoft.authorization/locks" in parameters:
            asked.append((statement, parameters))

    with harness.database.read() as connection:
        event.listen(connection.engine, "before_cursor_execute", note)
    counts: list[int] = []
    for method, url, body in (
        ("GET", WORKSPACE, None),
        ("GET", f"{WORKSPACE}/data", None),
        ("PUT", VERSION.url, VERSION.body()),
        ("DELETE", VERSION.url, None),
    ):
        before = len(asked)
        assert harness.send(method, url, body).status_code < 300
        counts.append(len(asked) - before)
    refusal(harness, "DELETE", WORKSPACE)
    assert counts == [0, 0, 1, 2]
    with harness.database.read() as connection:
        for statement, parameters in list(asked):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert all("(kind=?" in row[-1] for row in plan), plan
