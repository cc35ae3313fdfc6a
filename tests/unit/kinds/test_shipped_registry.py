"""`azureml`, the registry of the environments that are shipped: read as any other, and never written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.platform import WORKSPACE, Harness
from fakes.registries import registry
from smalt.arm.ports import Principal
from smalt.kinds.assets import shipped
from smalt.web.registries import FRONT_END

ENVIRONMENTS = f"{FRONT_END}{shipped.ID}/environments"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with registry(tmp_path) as made:
        yield made


def first(harness: Harness) -> tuple[str, Any]:
    return next(iter(harness.platform.environments.curated().items()))


def test_it_is_found_by_its_name_also_by_a_job(harness: Harness) -> None:
    harness.caller = Principal(oid="j", name="job:train", kind="job", tenant="t", scope=WORKSPACE.lower())
    found = harness.get("/registrymanagement/v1.0/registries/AzureML/discovery").json()
    assert found["registryName"] == "azureml" and found["registryFqdns"]["local"]
    where = f"/subscriptions/{found['subscriptionId']}/resourceGroups/{found['resourceGroup']}"
    assert str(shipped.ID).startswith(f"{where}/")
    assert harness.get(ENVIRONMENTS).status_code == 200


def test_its_environments_are_those_of_each_workspace(harness: Harness) -> None:
    listed = harness.get(ENVIRONMENTS).json()["value"]
    there = harness.get(f"{WORKSPACE}/environments").json()["value"]
    assert {one["name"] for one in listed} == {one["name"] for one in there}
    name, definition = first(harness)
    container = harness.get(f"{ENVIRONMENTS}/{name.upper()}").json()
    assert container["id"] == f"azureml://registries/azureml/environments/{name}"
    latest = container["properties"]["latestVersion"]
    assert latest == str(definition["version"])
    versions = harness.get(f"{ENVIRONMENTS}/{name}/versions?$top=1").json()["value"]
    one = harness.get(f"{ENVIRONMENTS}/{name}/versions/{latest}").json()
    assert versions == [one] and one["id"].endswith(f"/{name}/versions/{latest}")
    mine = harness.get(f"{WORKSPACE}/environments/{name}/versions/{latest}").json()["properties"]
    same = ("image", "condaFile", "description", "environmentType")
    assert [one["properties"][key] for key in same] == [mine[key] for key in same]


def test_what_is_shipped_stands_for_numbers_that_only_azure_has(harness: Harness) -> None:
    name, _ = first(harness)
    shown = harness.get(f"{ENVIRONMENTS}/{name}/versions/4711").json()
    assert shown["name"] == "4711" and "stands for this" in shown["properties"]["description"]
    assert harness.get(f"{ENVIRONMENTS}/{name}/versions/mine").status_code == 404


@pytest.mark.parametrize(
    "path", ["environments/none", "models/bert", "models/bert/versions/1", "jobs", "", "x/y/z/w/v"]
)
def test_what_it_has_not_is_a_404(harness: Harness, path: str) -> None:
    answer = harness.get(f"{FRONT_END}{shipped.ID}/{path}")
    assert answer.status_code == 404, answer.text
    assert "environments only" in answer.json()["error"]["message"] or not path.startswith("models")


def test_a_list_of_what_it_has_none_of_is_empty(harness: Harness) -> None:
    assert harness.get(f"{FRONT_END}{shipped.ID}/models").json() == {"value": []}


def test_it_cannot_be_written(harness: Harness) -> None:
    name, _ = first(harness)
    upload = ("PUT", f"tempdatarefs/{name}/versions/2")
    for method, path in (upload, ("PUT", f"environments/{name}/versions/2"), ("DELETE", f"environments/{name}")):
        answer = harness.send(method, f"{FRONT_END}{shipped.ID}/{path}", {"properties": {}})
        assert answer.status_code == 405 and "cannot be changed" in answer.json()["error"]["message"]
