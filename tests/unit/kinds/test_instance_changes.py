"""What is changed of an instance by actions of their own: data that it sees, idleness, programs."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.instances import CLUSTER, INSTANCE, answers, machine, put, row, task
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Ref, TaskSpec

DATA = "azureml://datastores/workspaceblobstore/paths/rows/"


def update(harness: Harness, *mounts: dict[str, Any], url: str = INSTANCE) -> Any:
    return harness.send("POST", f"{url}/updateDataMounts", list(mounts))


def mount(name: str = "rows", source: str = DATA, **more: Any) -> dict[str, Any]:
    """As azure-ai-ml 1.35.2 sends it (`data.mount`, `persistent=True`)."""
    asked = {"source": source, "sourceType": "URI", "mountName": name, "mountAction": "Mount", "mountPath": ""}
    return {**asked, **more}


def upload(harness: Harness, path: str = "rows/a.csv") -> None:
    store = harness.get(f"{WORKSPACE}/datastores/workspaceblobstore").json()["properties"]
    harness.blobs.write(Ref(store["accountName"].rpartition("/")[2], store["containerName"], path), b"a\n1\n")


def again(harness: Harness) -> TaskSpec:
    harness.send("POST", f"{INSTANCE}/restart")
    harness.settle()
    spec = harness.engine.tasks[task(harness)]
    answers(harness)
    return spec


def test_data_is_mounted_at_the_next_start_and_stays(harness: Harness) -> None:
    put(harness)
    answers(harness)
    upload(harness)
    assert update(harness, mount()).status_code == 200
    (shown,) = machine(harness)["dataMounts"]
    assert shown["mountState"] == "MountFailed" and "begin_restart" in shown["error"], "clients wait for either"
    spec = again(harness)
    (given,) = (one for one in spec.inputs if one.name == "mount_0")
    assert (given.mode, given.type) == ("ro_mount", "uri_folder") and given.source and given.source.name == "rows/"
    assert 'ln -sfn "${{inputs.mount_0}}" "$HOME"/cloudfiles/data/rows' in spec.command
    (shown,) = machine(harness)["dataMounts"]
    assert (shown["mountState"], shown["mountPath"], shown["error"]) == ("Mounted", "~/cloudfiles/data/rows", None)
    assert shown["mountedOn"] and shown["createdBy"] == "ada" and shown["source"] == DATA
    put(harness, idleTimeBeforeShutdown="PT30M")
    assert machine(harness)["dataMounts"][0]["mountState"] == "Mounted", "a PUT leaves it"
    assert update(harness, {"mountName": "rows", "mountAction": "Unmount"}).status_code == 200
    assert not machine(harness).get("dataMounts")
    assert len(again(harness).inputs) == 2


def test_data_that_has_gone_fails_alone(harness: Harness) -> None:
    put(harness)
    answers(harness)
    upload(harness)
    update(harness, mount(), mount("none", DATA.replace("rows", "none"), mountPath="~/none"))
    spec = again(harness)
    assert [one.name for one in spec.inputs] == ["code", "home", "mount_1"]
    states = {one["mountName"]: (one["mountState"], one["error"]) for one in machine(harness)["dataMounts"]}
    assert states["rows"] == ("Mounted", None) and states["none"][0] == "MountFailed"
    assert "Nothing is at" in str(states["none"][1])


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], "body"),
        (["x"], "body"),
        ([mount("../x")], "[0].mountName"),
        ([mount(mountAction="Look")], "[0].mountAction"),
        ([{"mountName": "none", "mountAction": "Unmount"}], "[0].mountName"),
        ([mount(sourceType="Disk")], "[0].sourceType"),
        ([mount(mountMode="ReadWrite")], "[0].mountMode"),
        ([mount(mountPath="/etc")], "[0].mountPath"),
        ([mount(mountPath="~/a/../../b")], "[0].mountPath"),
        ([mount(mountPath="~/$(id)")], "[0].mountPath"),
        ([mount(source="https://example.com/a.csv")], "[0].source"),
        ([mount(source="azureml:none:1")], "[0].source"),
        ([mount("a", mountPath="~/x"), mount("b", mountPath="~/x")], "mountPath"),
        ([mount(str(number)) for number in range(21)], "body"),
    ],
)
def test_what_cannot_be_mounted_is_refused_with_its_field(harness: Harness, given: list[Any], field: str) -> None:
    put(harness)
    answer = update(harness, *given)
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, field), answer.text
    assert not machine(harness).get("dataMounts")


def test_idleness_and_programs_have_actions_of_their_own(harness: Harness) -> None:
    put(harness)
    answers(harness)
    url = f"{INSTANCE}/updateIdleShutdownSetting"
    assert harness.send("POST", url, {"idleTimeBeforeShutdown": "PT30M"}).status_code == 200
    assert machine(harness)["idleTimeBeforeShutdown"] == "PT30M" and row(harness).status["shown"] == "Running"
    for wrong in ("PT1M", 30):
        assert harness.send("POST", url, {"idleTimeBeforeShutdown": wrong}).status_code == 400
    url = f"{INSTANCE}/updateCustomServices"
    board = {"name": "board", "command": "tensorboard --port 6006", "endpoints": [{"target": 6006}]}
    assert harness.send("POST", url, [board]).status_code == 200
    assert "board" in [one.name for one in again(harness).services]
    for wrong in ([{"name": "r", "image": {"reference": "rocker/rstudio"}}], [1], {"value": "x"}, {}):
        assert harness.send("POST", url, wrong).status_code == 400
    assert harness.send("POST", url, []).status_code == 200
    assert [one.name for one in again(harness).services] == ["JupyterLab"]


def test_a_cluster_has_none_of_it_and_lists_are_for_these_alone(harness: Harness) -> None:
    put(harness, CLUSTER, "AmlCompute")
    assert update(harness, mount(), url=CLUSTER).status_code == 400
    assert harness.send("POST", f"{INSTANCE}/stop", []).status_code == 400
