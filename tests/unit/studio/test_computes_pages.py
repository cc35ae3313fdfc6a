"""Pages of computes: the list, a cluster with its queue, an instance with its programs; forms of new ones."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.platform import WORKSPACE
from fakes.studio import StudioSite, form_token
from smalt.agent.service_spec import ServiceState

INSTANCE, CLUSTER = f"{WORKSPACE}/computes/desk", f"{WORKSPACE}/computes/farm"


def make(site: StudioSite, url: str, type_: str, **machine: Any) -> None:
    answer = site.harness.put(url, {"properties": {"computeType": type_, "properties": machine}})
    assert answer.status_code == 201, answer.text
    site.harness.settle()


@pytest.fixture
def desk(site: StudioSite) -> StudioSite:
    """With an instance that runs."""
    make(site, INSTANCE, "ComputeInstance", idleTimeBeforeShutdown="PT30M")
    engine = site.harness.engine
    (task,) = engine.states
    engine.start(task)
    engine.serve(task, JupyterLab=ServiceState("Running", 4321))
    site.harness.settle()
    return site


def test_the_list_has_clusters_and_instances(desk: StudioSite) -> None:
    make(desk, CLUSTER, "AmlCompute", scaleSettings={"minNodeCount": 0, "maxNodeCount": 2})
    text = desk.open("/studio/computes").text
    assert ">desk</a>" in text and "Running" in text and "ada" in text and "30 minutes" in text
    assert ">farm</a>" in text and "0 of 2 busy" in text


def test_an_instance_leads_to_its_programs_and_is_stopped_and_started(desk: StudioSite) -> None:
    page = desk.open("/studio/computes/desk").text
    lab = desk.harness.get(INSTANCE).json()["properties"]["properties"]["applications"][1]["endpointUri"]
    assert f'href="{lab}" target="_blank" rel="noreferrer">Open Jupyter Lab' in page
    assert desk.send_form("/studio/computes/desk/stop", form_token(page)).status_code == 303
    desk.harness.settle()
    page = desk.open("/studio/computes/desk").text
    assert lab not in page and 'aria-disabled="true">Open Jupyter Lab' in page
    assert desk.send_form("/studio/computes/desk/start", form_token(page)).status_code == 303
    desk.harness.settle()
    assert "Starting" in desk.open("/studio/computes/desk").text


def test_an_instance_shows_its_kernels_and_its_data(desk: StudioSite) -> None:
    environments, harness = desk.harness.environments, desk.harness
    environment = {"image": "mcr.microsoft.com/azureml/base", "condaFile": "dependencies: [rich]"}
    assert harness.put(f"{WORKSPACE}/environments/rich/versions/3", {"properties": environment}).status_code == 201
    assert environments.build_at_once
    where = {"source": "azureml://datastores/workspaceblobstore/paths/<b>", "mountName": "rows"}
    assert harness.send("POST", f"{INSTANCE}/updateDataMounts", [where]).status_code == 200
    assert harness.send("POST", f"{INSTANCE}/restart").status_code == 202
    harness.settle()
    page = desk.open("/studio/computes/desk").text
    assert "<li>rich:3</li>" in page and "~/cloudfiles/data/rows" in page
    assert "MountFailed" in page and "paths/&lt;b&gt;" in page and "<b>" not in page


def test_when_it_runs_is_changed_and_shown(desk: StudioSite) -> None:
    token = form_token(desk.open("/studio/computes/desk").text)
    fields = {"idle": "45", "start": "0 8 * * 1-5", "stop": "", "zone": "UTC"}
    assert desk.send_form("/studio/computes/desk/change", token, fields).status_code == 303
    page = desk.open("/studio/computes/desk").text
    assert 'value="0 8 * * 1-5"' in page and 'value="45"' in page and "Start by cron, enabled" in page
    refused = desk.send_form("/studio/computes/desk/change", token, {**fields, "idle": "5"})
    assert refused.status_code == 400 and "15 minutes" in refused.text


def test_a_cluster_shows_who_has_its_nodes_and_who_waits(site: StudioSite) -> None:
    make(site, CLUSTER, "AmlCompute", scaleSettings={"minNodeCount": 0, "maxNodeCount": 1})
    for name in ("first", "second"):
        site.submit(name, computeId=CLUSTER, displayName=f"<b>{name}</b>")
        site.harness.settle()
    page = site.open("/studio/computes/farm").text
    nodes, _, waiting = page.partition("<h2>Waiting</h2>")
    assert "&lt;b&gt;first&lt;/b&gt;" in nodes and "&lt;b&gt;second&lt;/b&gt;" in waiting and "Open Jupyter" not in page
    numbers = site.open("/studio/computes/farm/numbers", {"wsid": WORKSPACE, "of": "nodes"}).json()
    assert set(numbers) == {"step", "time", "lines"}


def test_new_ones_are_made_by_forms_that_say_what_is_refused(site: StudioSite) -> None:
    form = site.open("/studio/computes-new", {"wsid": WORKSPACE, "kind": "cluster"}).text
    fields = {"kind": "cluster", "name": "farm", "size": "Standard_DS3_v2", "least": "2", "most": "1", "idle": ""}
    refused = site.send_form("/studio/computes-new", form_token(form), fields)
    assert refused.status_code == 400 and "larger than maxNodeCount" in refused.text
    made = site.send_form("/studio/computes-new", form_token(form), {**fields, "least": "0"})
    assert made.status_code == 303 and "/studio/computes/farm" in made.headers["location"]
    for long in ({"idle": "9" * 5000}, {"most": "9" * 5000}):
        assert site.send_form("/studio/computes-new", form_token(form), {**fields, **long}).status_code == 400
    made = site.send_form("/studio/computes-new", form_token(form), {"kind": "instance", "name": "desk", "idle": "20"})
    assert made.status_code == 303
    machine = site.harness.get(INSTANCE).json()["properties"]["properties"]
    assert machine["idleTimeBeforeShutdown"] == "PT20M"
    site.harness.settle()
    assert site.send_form("/studio/computes/farm/delete", form_token(form)).status_code == 303
    site.harness.settle()
    assert site.harness.get(CLUSTER).status_code == 404
