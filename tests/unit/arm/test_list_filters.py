"""What a client asks a list for is what it gets; a filter that is passed over would show it other things."""

from __future__ import annotations

import pytest

from fakes.examples import EXAMPLES
from fakes.platform import GROUP, SUBSCRIPTION, WORKSPACE, Harness
from smalt.arm.listing import carries, named

MODELS = f"{WORKSPACE}/models/churn/versions"
DATA = f"{WORKSPACE}/data/churn/versions"
MODEL = {"modelUri": "azureml://datastores/workspaceblobstore/paths/m"}
FOLDER = {"dataUri": "azureml://datastores/workspaceblobstore/paths/d/"}


def names(harness: Harness, url: str) -> list[str]:
    answer = harness.get(url)
    assert answer.status_code == 200, answer.text
    return sorted(one["name"] for one in answer.json()["value"])


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("stage=Production", ["1"]),
        ("stage=Archived", ["2"]),
        ("stage=None", []),
        ("version=3", ["3"]),
        ("description=best", ["1"]),
        ("tags=team", ["1", "2"]),
        ("tags=team=risk", ["2"]),
        ("tags=team,old", ["2"]),
        ("properties=a=b", ["3"]),
        ("stage=Production&tags=old", []),
        ("stage=", ["1", "2", "3"]),
    ],
)
def test_versions_of_a_model(harness: Harness, query: str, shown: list[str]) -> None:
    for version, more in (
        ("1", {"stage": "Production", "description": "best", "tags": {"team": "sales"}}),
        ("2", {"stage": "Archived", "tags": {"team": "risk", "old": None}}),
        ("3", {"properties": {"a": "b"}}),
    ):
        assert harness.put(f"{MODELS}/{version}", {"properties": {**MODEL, **more}}).status_code == 201
    assert names(harness, f"{MODELS}?{query}") == shown


def test_versions_of_data_by_tags(harness: Harness) -> None:
    harness.put(f"{DATA}/1", {"properties": {**FOLDER, "tags": {"team": "risk"}}})
    harness.put(f"{DATA}/2", {"properties": FOLDER})
    assert names(harness, f"{DATA}?$tags=team=risk") == ["1"]
    assert names(harness, f"{DATA}?$tags=team=sales") == []


def test_jobs_by_properties(harness: Harness) -> None:
    example = EXAMPLES["workspaces/jobs"]
    for needed in example.needs:
        harness.put(EXAMPLES[needed].url, EXAMPLES[needed].body())
    body = example.body(properties={"mine": "yes"})
    assert harness.put(example.url, body).status_code == 201
    jobs, _, name = example.url.rpartition("/")
    assert names(harness, f"{jobs}?properties=mine=yes") == names(harness, f"{jobs}?properties=mine") == [name]
    assert names(harness, f"{jobs}?properties=mine=no") == names(harness, f"{jobs}?properties=other") == []


def test_online_endpoints(harness: Harness) -> None:
    endpoints = f"{WORKSPACE}/onlineEndpoints"
    for name, tags in (("one", {"team": "risk"}), ("two", {})):
        body = {"location": "local", "tags": tags, "properties": {"authMode": "Key", "properties": {"of": name}}}
        assert harness.put(f"{endpoints}/{name}", body).status_code == 201
    assert names(harness, f"{endpoints}?name=ONE") == names(harness, f"{endpoints}?tags=team=risk") == ["one"]
    assert names(harness, f"{endpoints}?properties=of=two") == ["two"]
    assert names(harness, f"{endpoints}?computeType=Managed") == ["one", "two"]
    assert names(harness, f"{endpoints}?computeType=Kubernetes") == []


def test_datastores_by_name(harness: Harness) -> None:
    stores = f"{WORKSPACE}/datastores"
    assert names(harness, f"{stores}?names=workspaceblobstore,other") == ["workspaceblobstore"]
    assert names(harness, f"{stores}?searchText=Artifact") == ["workspaceartifactstore"]


@pytest.mark.parametrize("above", [GROUP, f"/subscriptions/{SUBSCRIPTION}"])
def test_workspaces_by_kind(harness: Harness, above: str) -> None:
    url = f"{above}/providers/Microsoft.MachineLearningServices/workspaces"
    assert names(harness, f"{url}?kind=hub,project") == []
    assert names(harness, f"{url}?kind=default,hub") == names(harness, url) == ["bank"]


def test_words_and_names() -> None:
    assert carries(None, None) and carries({}, "") and not carries(None, "a")
    assert carries({"a": None}, "a=") and carries({"a": "b=c"}, "a=b=c")
    assert named("Default", None) and named("Default", "hub, default") and not named("Default", "hub")
