"""A list shows what its reader may see, decided in SQL: pages stay full, in order and whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from fakes import rows
from fakes.extensions import KINDS
from fakes.platform import GROUP, OWNER, WORKSPACE, Harness
from smalt.arm.errors import forbidden, unauthorized
from smalt.arm.ports import Principal
from smalt.arm.reach import covers
from smalt.arm.router import ArmApp
from smalt.auth.access import ScopeGrants
from smalt.settings import SUBSCRIPTION

SUB = f"/subscriptions/{SUBSCRIPTION}"
ML = "/providers/Microsoft.MachineLearningServices"
COMPUTES = 120


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    one = Harness(tmp_path, kinds=KINDS)
    with one.database.write() as connection:
        for number in range(COMPUTES):
            rows.put(connection, f"{WORKSPACE}/computes/c{number:03}")
    yield one
    one.close()


def pages(harness: Harness, url: str) -> list[list[str]]:
    found: list[list[str]] = []
    while url:
        answer = harness.get(url)
        assert answer.status_code == 200, answer.text
        found.append([one["name"] for one in answer.json()["value"]])
        url = answer.json().get("nextLink", "")
    return found


def names(harness: Harness, url: str) -> list[str]:
    return [name for page in pages(harness, url) for name in page]


@pytest.mark.parametrize("grant", [WORKSPACE, GROUP, SUB, "/", f"{WORKSPACE.upper()}/"])
def test_a_grant_above_shows_everything(harness: Harness, grant: str) -> None:
    harness.grants.prefixes = [grant]
    assert len(names(harness, f"{WORKSPACE}/computes?count=50")) == COMPUTES


@pytest.mark.parametrize(
    "grant", [f"{WORKSPACE}/computes/c0", f"{WORKSPACE}2", f"{WORKSPACE}/jobs/c001", f"{WORKSPACE}/computes/c001/x"]
)
def test_a_grant_beside_shows_nothing(harness: Harness, grant: str) -> None:
    harness.grants.prefixes = [grant]
    assert pages(harness, f"{WORKSPACE}/computes") == [[]]


def test_nothing_granted_is_an_empty_list(harness: Harness) -> None:
    harness.grants.prefixes = []
    assert pages(harness, f"{WORKSPACE}/computes") == [[]]
    assert pages(harness, "/subscriptions") == [[]]


@pytest.mark.parametrize("count", [1, 7, 50])
@pytest.mark.parametrize("oldest", [True, False])
def test_pages_of_what_is_seen_are_full_and_in_order(harness: Harness, count: int, oldest: bool) -> None:
    seen = [number for number in range(COMPUTES) if number % 3 == 0]
    # more than one condition's worth of them, most of which are not there
    harness.grants.prefixes = [f"{WORKSPACE}/computes/c{number:03}" for number in [*seen, *range(900, 1500)]]
    order = "createdtime asc" if oldest else "createdtime desc"
    found = pages(harness, f"{WORKSPACE}/computes?count={count}&$orderBy={order}")
    expected = [f"c{number:03}" for number in (seen if oldest else reversed(seen))]
    assert [name for page in found for name in page] == expected
    assert all(len(page) == count for page in found[:-1])


def test_what_is_archived_is_filtered_too(harness: Harness) -> None:
    harness.put(f"{WORKSPACE}/data/a/versions/1", _data())
    harness.put(f"{WORKSPACE}/data/b/versions/1", _data())
    harness.put(f"{WORKSPACE}/data/c/versions/1", _data())
    harness.send("PATCH", f"{WORKSPACE}/data/b", {"properties": {"isArchived": True}})
    harness.grants.prefixes = [f"{WORKSPACE}/data/{name}" for name in "ab"]
    assert sorted(names(harness, f"{WORKSPACE}/data?listViewType=All")) == ["a", "b"]
    assert names(harness, f"{WORKSPACE}/data") == ["a"]
    assert names(harness, f"{WORKSPACE}/data/a/versions") == ["1"]
    assert names(harness, f"{WORKSPACE}/data/c/versions") == []


def _data() -> dict[str, object]:
    uri = "azureml://datastores/workspaceblobstore/paths/x.csv"
    return {"properties": {"dataUri": uri, "dataType": "uri_file"}}


def test_a_subscriptions_workspaces_are_those_in_reach(harness: Harness) -> None:
    harness.put(f"{GROUP}-two", {"location": "local"})
    for name in ("one", "two"):
        harness.put(f"{GROUP}-two{ML}/workspaces/{name}", {"properties": {}})
    harness.put(f"{WORKSPACE}-other", {"properties": {}})
    url = f"{SUB}{ML}/workspaces?count=1"
    assert sorted(names(harness, url)) == ["bank", "bank-other", "one", "two"]
    harness.grants.prefixes = [f"{GROUP}-two"]
    assert sorted(names(harness, url)) == ["one", "two"]
    harness.grants.prefixes = [f"{GROUP}-two{ML}/workspaces/one", WORKSPACE]
    assert sorted(names(harness, url)) == ["bank", "one"]
    assert names(harness, f"{SUB}/resourceGroups") == []


def test_a_subscription_is_seen_by_who_may_do_something_in_it(harness: Harness) -> None:
    for prefixes, expected in (([WORKSPACE], [SUBSCRIPTION]), (["/subscriptions/other"], []), (["no id"], [])):
        harness.grants.prefixes = prefixes
        assert names(harness, "/subscriptions") == expected


def test_extensions_are_filtered_as_all_else(harness: Harness) -> None:
    below = f"{WORKSPACE}/providers/Microsoft.Authorization/roleAssignments"
    for name in ("a", "b"):
        harness.put(f"{below}/{name}", {"properties": {}})
    harness.grants.prefixes = [f"{below}/b"]
    assert names(harness, below) == ["b"]


def only_at(harness: Harness, *scopes: str) -> None:
    """Requests are refused but at and below these, and those who ask have grants for them."""
    harness.grants.prefixes = scopes

    def authorize(principal: Principal, action: str, resource_id: str) -> None:
        if not any(covers(one.lower(), resource_id) for one in scopes):
            raise forbidden("no")

    harness.app = ArmApp(harness.platform, harness.crud, lambda scope: OWNER, authorize)


def test_who_may_see_some_of_a_scope_gets_a_list_of_that(harness: Harness) -> None:
    harness.put(f"{WORKSPACE}-other", {"properties": {}})
    only_at(harness, f"{WORKSPACE}/computes/c001", f"{WORKSPACE}/computes/c007", f"{WORKSPACE}-other")
    assert names(harness, f"{WORKSPACE}/computes?count=1") == ["c007", "c001"]
    for scope in (GROUP, SUB):
        assert names(harness, f"{scope}{ML}/workspaces") == ["bank-other"]
        assert "bank-other" in names(harness, f"{scope}/resources")
        assert "bank" not in names(harness, f"{scope}/resources")
    for url in (WORKSPACE, f"{WORKSPACE}/events", f"{GROUP}/providers/Microsoft.Insights/metrics", f"{SUB}/locations"):
        assert harness.get(url).status_code == 403, url
    assert harness.send("POST", f"{WORKSPACE}/listKeys").status_code == 403
    assert harness.get(f"{WORKSPACE}/computes/c002").status_code == 403


@pytest.mark.parametrize("granted", [(), (f"{WORKSPACE}-2",), (f"{GROUP}-2",)])
def test_who_may_see_nothing_of_a_scope_is_refused(harness: Harness, granted: tuple[str, ...]) -> None:
    only_at(harness, *granted)
    for url in (f"{WORKSPACE}/computes", f"{WORKSPACE}/providers/Microsoft.Authorization/locks"):
        assert harness.get(url).status_code == 403, url


def test_who_is_nobody_any_more_gets_no_list(harness: Harness) -> None:
    def ended(*_: object) -> None:
        raise unauthorized("it has ended")

    harness.grants.prefixes = [WORKSPACE]
    harness.app = ArmApp(harness.platform, harness.crud, lambda scope: OWNER, ended)
    assert harness.get(f"{WORKSPACE}/computes").status_code == 401


def test_a_token_that_is_limited_to_something_is_refused_elsewhere() -> None:
    who = Principal("o", "n", "servicePrincipal", "t", "", WORKSPACE.lower())
    assert not ScopeGrants().partly(who, "Microsoft.MachineLearningServices/workspaces/read", GROUP.lower())


def test_what_a_page_costs_does_not_grow_with_what_is_not_seen(harness: Harness) -> None:
    """In operations of SQLite's machine, for a list of which one in a hundred is seen and one ten times as long."""
    grants = [f"{WORKSPACE}/computes/c{number:03}" for number in range(0, COMPUTES, 100)]
    harness.grants.prefixes = grants
    short = _operations(harness)
    with harness.database.write() as connection:
        for number in range(COMPUTES, COMPUTES * 10):
            rows.put(connection, f"{WORKSPACE}/computes/c{number:04}")
    assert _operations(harness) < 1.5 * short


def _operations(harness: Harness) -> int:
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    def watch(connection: object, cursor: object, *_: object) -> None:
        cursor.connection.set_progress_handler(count, 1)  # type: ignore[attr-defined]

    with harness.database.read() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", watch)
    try:
        assert len(names(harness, f"{WORKSPACE}/computes")) == 2
    finally:
        event.remove(engine, "before_cursor_execute", watch)
    return counted
