"""All resources of a group or subscription in one list: what is in it, filters, pages."""

from __future__ import annotations

import pytest

from fakes.examples import prepare
from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.settings import SUBSCRIPTION

SUB = f"/subscriptions/{SUBSCRIPTION}"
ML = "Microsoft.MachineLearningServices"


@pytest.fixture(autouse=True)
def _resources(harness: Harness) -> None:
    """Two groups, three workspaces, an endpoint; and what Resource Manager does not track."""
    endpoint = prepare(harness, "workspaces/onlineendpoints")
    assert harness.put(endpoint.url, {**endpoint.body(), "tags": {"Team": "risk"}}).status_code in (200, 201, 202)
    compute = prepare(harness, "workspaces/computes")
    harness.put(compute.url, compute.body())
    harness.put(f"{GROUP}-two", {"location": "local"})
    for group, name, tags in (
        (GROUP, "risk", {"Team": "risk", "env": "it's"}),
        (f"{GROUP}-two", "other", {"env": "prod"}),
    ):
        harness.put(f"{group}/providers/{ML}/workspaces/{name}", {"location": "local", "tags": tags, "properties": {}})
    harness.settle()


def found(harness: Harness, url: str) -> list[str]:
    """Names of what is ML's, over all pages."""
    names: list[str] = []
    while url:
        answer = harness.get(url)
        assert answer.status_code == 200, answer.text
        names += [one["name"] for one in answer.json()["value"] if one["type"].startswith(ML)]
        url = answer.json().get("nextLink", "")
    return names


def endpoint(harness: Harness) -> str:
    (name,) = found(harness, f"{SUB}/resources?$filter=resourceType eq '{ML}/workspaces/onlineEndpoints'")
    return name


def test_a_group_and_a_subscription(harness: Harness) -> None:
    name = endpoint(harness)
    assert sorted(found(harness, f"{GROUP}/resources")) == sorted(["bank", "risk", name])
    assert found(harness, f"{GROUP}-two/resources") == ["other"]
    assert sorted(found(harness, f"{SUB}/resources")) == sorted(["bank", "risk", "other", name])
    assert harness.get(f"{GROUP}-none/resources").json()["error"]["code"] == "ResourceGroupNotFound"


@pytest.mark.parametrize("top", [1, 2, 3])
def test_pages(harness: Harness, top: int) -> None:
    everything = found(harness, f"{SUB}/resources")
    assert found(harness, f"{SUB}/resources?count={top}") == everything
    limited = harness.get(f"{SUB}/resources?$top={top}").json()
    assert len(limited["value"]) == top and "nextLink" not in limited


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"resourceType eq '{ML}/workspaces'", ["bank", "other", "risk"]),
        (f"resourcetype eq '{ML.lower()}/WORKSPACES' and resourceGroup eq 'SMALT'", ["bank", "risk"]),
        ("name eq 'Risk'", ["risk"]),
        ("tagName eq 'team' and tagValue eq 'risk' and name eq 'risk'", ["risk"]),
        ("tagname eq 'env'", ["other", "risk"]),
        ("tagname eq 'env' and tagvalue eq 'it''s'", ["risk"]),
        ("tagname eq 'env' and tagvalue eq 'PROD'", []),
        ("(name eq 'bank') and (location eq 'local')", ["bank"]),
        ("location eq 'westeurope'", []),
        ("resourceType eq 'Microsoft.Nothing/things'", []),
    ],
)
def test_filters(harness: Harness, text: str, names: list[str]) -> None:
    assert sorted(found(harness, f"{SUB}/resources?$filter={text}")) == names
    assert sorted(found(harness, f"{SUB}/resources?$filter={text}&count=1")) == names


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name ne 'x'",
        "size eq '1'",
        "name eq 'a' or name eq 'b'",
        "tagValue eq 'x'",
        "name eq 'a' and name eq 'b'",
    ],
)
def test_filters_that_are_not_read(harness: Harness, text: str) -> None:
    answer = harness.get(f"{GROUP}/resources?$filter={text}")
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, "$filter")


def test_what_is_shown(harness: Harness) -> None:
    (one,) = harness.get(f"{GROUP}/resources?$filter=name eq 'risk'&$expand=createdTime,provisioningState").json()[
        "value"
    ]
    assert one["id"] == f"{GROUP}/providers/{ML}/workspaces/risk" and one["tags"]["Team"] == "risk"
    assert one["provisioningState"] == "Succeeded" and one["createdTime"] and "changedTime" not in one
    assert "properties" not in one


def test_only_what_its_reader_may_see(harness: Harness) -> None:
    harness.grants.prefixes = [f"{GROUP}-two"]
    assert found(harness, f"{SUB}/resources") == ["other"]
    harness.grants.prefixes = [WORKSPACE]
    assert sorted(found(harness, f"{GROUP}/resources?count=1")) == sorted(["bank", endpoint(harness)])


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("tagname eq 'team'", {"tagged"}),
        ("tagName eq 'TEAM' and tagValue eq 'risk'", {"tagged"}),
        ("tagName eq 'team' and tagValue eq 'Risk'", set[str]()),
        ("tagname eq 'none'", set[str]()),
        ("name eq 'TAGGED'", {"tagged"}),
    ],
)
def test_groups_by_their_tags(harness: Harness, terms: str, expected: set[str]) -> None:
    harness.put(f"{SUB}/resourceGroups/tagged", {"location": "local", "tags": {"Team": "risk"}})
    answer = harness.get(f"{SUB}/resourcegroups?$filter={terms}")
    assert {one["name"] for one in answer.json()["value"]} == expected
    refused = harness.get(f"{SUB}/resourcegroups?$filter=owner eq 'x'")
    assert (refused.status_code, refused.json()["error"]["target"]) == (400, "$filter")
