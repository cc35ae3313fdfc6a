"""Two people with the same page open: whoever comes second with what has changed meanwhile is told, and nothing is lost."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

import smalt.studio
from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token

AS_SCRIPT = {"smalt-form": "1"}
TEMPLATES = sorted((Path(smalt.studio.__file__).parent / "templates").glob("*.html"))
CLUSTER = {"computeType": "AmlCompute", "properties": {"scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1}}}
NO_SCRIPT = {"/jobs/many"}  # rows that are chosen; what is refused of them is a page of its own


def make(site: StudioSite, name: str, properties: object) -> None:
    assert site.harness.put(f"{WORKSPACE}/computes/{name}", {"properties": properties}).status_code == 201
    site.harness.settle()


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return unescape(found[1])


def test_when_an_instance_runs(site: StudioSite) -> None:
    make(site, "desk", {"computeType": "ComputeInstance", "properties": {}})
    page = site.open("/studio/computes/desk").text
    seen = {"start": "", "stop": "", "zone": "UTC", "etag": field(page, "etag")}
    change = "/studio/computes/desk/change"
    site.harness.settle()  # what the platform does of itself is no change of somebody
    assert "to" in site.send_form(change, form_token(page), {**seen, "idle": "45"}, AS_SCRIPT).json()
    second = site.send_form(change, form_token(page), {**seen, "idle": "60"}, AS_SCRIPT).json()
    assert second["status"] == 412 and "Somebody changed it" in second["message"]
    assert 'Now it has idleTimeBeforeShutdown "PT45M"' in second["message"], "what the first has changed is shown"
    machine = site.harness.get(f"{WORKSPACE}/computes/desk").json()["properties"]["properties"]
    assert machine["idleTimeBeforeShutdown"] == "PT45M"


def test_a_compute_of_the_same_name(site: StudioSite) -> None:
    form = {"kind": "cluster", "name": "farm", "size": "Standard_DS3_v2", "least": "0", "most": "1", "idle": ""}
    token = form_token(site.open("/studio/computes-new").text)
    assert "to" in site.send_form("/studio/computes-new", token, form, AS_SCRIPT).json()
    second = site.send_form("/studio/computes-new", token, {**form, "most": "9"}, AS_SCRIPT).json()
    assert second["status"] == 412 and "'farm' exists already" in second["message"]
    scale = site.harness.get(f"{WORKSPACE}/computes/farm").json()["properties"]["properties"]["scaleSettings"]
    assert scale["maxNodeCount"] == 1


def test_the_same_version_of_data(site: StudioSite) -> None:
    token = form_token(site.open("/studio/data/new").text)
    where = "azureml://datastores/workspaceblobstore/paths/uploads/a/rows.csv"
    form = {"name": "rows", "version": "1", "dataType": "uri_file", "dataUri": where, "uri": where}
    assert "to" in site.send_form("/studio/data/new", token, {**form, "description": "mine"}, AS_SCRIPT).json()
    second = site.send_form("/studio/data/new", token, {**form, "description": "yours"}, AS_SCRIPT).json()
    assert second["status"] == 412 and "exists already" in second["message"]
    assert site.harness.get(f"{WORKSPACE}/data/rows/versions/1").json()["properties"]["description"] == "mine"


def test_the_priority_of_a_job(site: StudioSite) -> None:
    make(site, "one", CLUSTER)
    for name in ("first", "train-1"):
        site.submit(name, computeId="one")
        site.harness.settle()
    page = site.open("/studio/jobs/train-1", HERE).text
    token, etag = form_token(page), field(page, "etag")
    ask = "/studio/jobs/train-1/priority"
    assert "to" in site.send_form(ask, token, {"priority": "high", "etag": etag}, AS_SCRIPT).json()
    second = site.send_form(ask, token, {"priority": "low", "etag": etag}, AS_SCRIPT).json()
    assert second["status"] == 412, second
    assert "<option selected>high</option>" in site.open("/studio/jobs/train-1", HERE).text


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda one: one.stem)
def test_a_refusal_leaves_what_was_typed(template: Path) -> None:
    """Of all forms in which one types something: a script sends them, and what is refused stands beside it."""
    for tag, inner in re.findall(r'(<form\b[^>]*?method="post"(?:.*?)>)(.*?)</form>', template.read_text(), re.DOTALL):
        typed = re.search(r'<(?:textarea|select)|<input(?![^>]*type="hidden")', inner)
        if typed and not any(f"'{one}'" in tag for one in NO_SCRIPT):
            assert tag.startswith("<form data-stays"), tag
