"""Compute instances: JupyterLab that is started, stopped and started anew, by people, schedules and idleness."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.ai.ml._restclient.arm_ml_service.models import CustomService
from azure.ai.ml.entities import CustomApplications

from fakes.instances import INSTANCE, LISTENS, answers, machine, put, refused, row, task
from fakes.platform import OWNER, WORKSPACE, Harness
from smalt.agent.service_spec import ServiceState
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.arm.services import Place, place_of
from smalt.auth.access import ScopeGrants
from smalt.kinds.computes.instances import idle
from smalt.principals import LivingHeaders, Workspaces
from smalt.web.targets import target


def test_it_is_created_stopped_started_and_restarted(harness: Harness) -> None:
    put(harness)
    assert (
        machine(harness)["state"] == "Creating" and machine(harness)["lastOperation"]["operationStatus"] == "InProgress"
    )
    answers(harness)
    assert (
        machine(harness)["state"] == "Running"
        and harness.get(INSTANCE).json()["properties"]["provisioningState"] == "Succeeded"
    )
    for action, name, state in (
        ("stop", "Stop", "Stopped"),
        ("start", "Start", "Running"),
        ("restart", "Restart", "Running"),
    ):
        answer = harness.send("POST", f"{INSTANCE}/{action}")
        assert answer.status_code == 202
        harness.settle()
        operation = answer.headers["azure-asyncoperation"]
        if state == "Running":
            assert machine(harness)["state"] in ("Starting", "Restarting")
            assert machine(harness)["lastOperation"]["operationStatus"] == "InProgress"
            answers(harness)
        shown = machine(harness)
        assert shown["state"] == state and shown["lastOperation"]["operationName"] == name
        assert shown["lastOperation"]["operationStatus"] == "Succeeded" and shown["lastOperation"]["operationTime"]
        assert harness.get(operation).json()["status"] == "Succeeded"
    assert len(harness.engine.starts) == 3, "each time a task of its own"
    again = harness.send("POST", f"{INSTANCE}/start")
    assert again.status_code == 202 and "azure-asyncoperation" not in again.headers, "it runs already"


def test_it_says_where_it_is_reached_and_that_stays(harness: Harness) -> None:
    put(harness)
    answers(harness)
    shown = machine(harness)["applications"]
    lab = next(one["endpointUri"] for one in shown if one["displayName"] == "Jupyter Lab")
    assert machine(harness)["connectivityEndpoints"]["publicIpAddress"] in lab
    harness.send("POST", f"{INSTANCE}/restart")
    harness.settle()
    answers(harness)
    assert machine(harness)["applications"] == shown
    place = place_of(lab.removeprefix("https://"))
    assert place is not None and Place.read(str(place)) == place
    found = target(harness.platform, lambda *_: None, OWNER, place)
    assert (found.port, found.task) == (4321, task(harness)) and len(found.secret) == 64
    assert harness.engine.tasks[task(harness)].variables["JUPYTER_TOKEN"] == found.secret


def test_only_its_owner_comes_in(harness: Harness) -> None:
    put(harness)
    answers(harness)
    place = Place(f"ci-{row(harness).lookup}", 0)
    for other in (
        Principal(oid="x", name="eve", kind="servicePrincipal", tenant="t"),
        Principal(oid="owner", name="job:train", kind="job", tenant="t", scope=WORKSPACE),
    ):
        with pytest.raises(ArmError) as caught:
            target(harness.platform, lambda *_: None, other, place)
        assert caught.value.status == 403
    harness.send("POST", f"{INSTANCE}/stop")
    harness.settle()
    with pytest.raises(ArmError) as caught:
        target(harness.platform, lambda *_: None, OWNER, place)
    assert caught.value.status == 409 and "start it first" in caught.value.message


def test_its_identity_is_its_owners_and_ends_with_the_task(harness: Harness) -> None:
    workspaces = Workspaces(harness.database, ScopeGrants())
    headers = LivingHeaders(harness.settings, workspaces.lives, workspaces.runs)
    object.__setattr__(harness.platform, "identity_headers", headers)
    put(harness)
    answers(harness)
    variables = harness.engine.tasks[task(harness)].variables
    grant = headers.read(variables["IDENTITY_HEADER"])
    assert grant is not None and (grant.principal.oid, grant.principal.kind) == ("owner", "owner")
    assert json.loads(variables["SMALT_CONFIG"])["workspace_name"] == "bank"
    harness.send("POST", f"{INSTANCE}/stop")
    harness.settle()
    assert headers.read(variables["IDENTITY_HEADER"]) is None
    put(harness, enableSSO=False)
    harness.send("POST", f"{INSTANCE}/start")
    harness.settle()
    assert "IDENTITY_HEADER" not in harness.engine.tasks[task(harness)].variables


def test_what_dies_is_started_anew_and_what_dies_at_once_fails(harness: Harness) -> None:
    put(harness)
    answers(harness)
    first = task(harness)
    harness.engine.lose(first)
    harness.settle()
    harness.clock.pass_(1)
    harness.settle()
    assert task(harness) != first and machine(harness)["state"] == "Restarting"
    harness.engine.finish(task(harness), exit_code=1, error="no module named jupyterlab")
    harness.settle()
    found = harness.get(INSTANCE).json()["properties"]
    assert (found["provisioningState"], found["properties"]["state"]) == ("Failed", "Unusable")
    assert "no module named" in found["provisioningErrors"][0]["error"]["message"]
    harness.send("POST", f"{INSTANCE}/start")
    harness.settle()
    answers(harness)
    assert machine(harness)["state"] == "Running" and not machine(harness)["errors"]


def test_scripts_run_before_it_and_the_first_one_once(harness: Harness) -> None:
    scripts = {
        "creationScript": {"scriptData": "Users/ada/make it.sh", "scriptArguments": "a b", "timeout": "5m"},
        "startupScript": {"scriptSource": "inline", "scriptData": "ZWNobyBoaQ==", "timeout": "Nonem"},
    }
    put(harness, setupScripts={"scripts": scripts})
    variables = harness.engine.tasks[task(harness)].variables
    assert variables["SMALT_CREATION"] == 'bash "$SMALT_CODE/Users/ada/make it.sh" a b'
    assert (variables["SMALT_CREATION_S"], variables["SMALT_STARTUP"]) == ("300", "echo hi")
    answers(harness)
    harness.send("POST", f"{INSTANCE}/restart")
    harness.settle()
    variables = harness.engine.tasks[task(harness)].variables
    assert "SMALT_CREATION" not in variables and variables["SMALT_STARTUP"] == "echo hi"
    harness.engine.finish(task(harness), exit_code=92, error="no")
    harness.settle()
    assert machine(harness)["state"] == "UserSetupFailed"
    put(harness, setupScripts=None)
    answers(harness)
    assert machine(harness)["state"] == "Running", "a PUT tries again"


def test_it_is_stopped_when_nobody_works_there(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    worked = [0.0]
    monkeypatch.setattr(idle, "last_work", lambda *_: worked[0])
    put(harness, idleTimeBeforeShutdown="PT20M")
    answers(harness)
    worked[0] = harness.clock.now + 600
    harness.clock.pass_(1201)
    harness.settle()
    assert machine(harness)["state"] == "Running"
    harness.clock.pass_(601)
    harness.settle()
    shown = machine(harness)
    assert shown["state"] == "Stopped" and shown["lastOperation"]["operationTrigger"] == "IdleShutdown"


def test_schedules_start_and_stop_it(harness: Harness) -> None:
    every = {"frequency": "Hour", "interval": 1, "startTime": None, "timeZone": None}
    cron = {"expression": "30 * * * *", "timeZone": "UTC"}
    put(
        harness,
        schedules={
            "computeStartStop": [
                {"action": "stop", "triggerType": "Recurrence", "recurrence": every, "status": "Enabled"},
                {"action": "Start", "triggerType": "Cron", "cron": cron, "status": "disabled"},
            ]
        },
    )
    answers(harness)
    first, second = machine(harness)["schedules"]["computeStartStop"]
    assert first["action"] == "Stop"
    assert first["id"] != second["id"] and first["nextRunTime"] and not second["nextRunTime"]
    harness.clock.pass_(3601)
    harness.settle()
    shown = machine(harness)
    assert shown["state"] == "Stopped" and shown["lastOperation"]["operationTrigger"] == "Schedule"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"idleTimeBeforeShutdown": "PT5M"}, "idleTimeBeforeShutdown"),
        ({"schedules": {"computeStartStop": [{"action": "Pause"}]}}, "schedules.computeStartStop[0].action"),
        (
            {"schedules": {"computeStartStop": [{"action": "Stop", "triggerType": "Cron", "cron": {"expression": "x"}}]}},
            "schedules.computeStartStop[0].cron.expression",
        ),
        (
            {"setupScripts": {"scripts": {"startupScript": {"scriptData": "../../etc/x"}}}},
            "setupScripts.scripts.startupScript.scriptData",
        ),
        ({"customServices": [{"name": "r", "image": {"reference": "rocker/rstudio"}}]}, "customServices[0].image"),
        ({"personalComputeInstanceSettings": {"assignedUser": {"objectId": "nobody"}}},
         "personalComputeInstanceSettings.assignedUser.objectId"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_field(harness: Harness, given: dict[str, Any], field: str) -> None:
    assert refused(harness, **given) == (400, f"properties.properties.{field}")


def test_programs_of_ones_own_run_beside_it(harness: Harness) -> None:
    board = {"name": "board", "command": "tensorboard --port 6006", "endpoints": [{"target": 6006}]}
    put(harness, customServices=[board])
    specs = {one.name: one for one in harness.engine.tasks[task(harness)].services}
    assert specs["board"].port == 6006 and specs["board"].programs == [["bash", "-c", board["command"]]]
    harness.engine.start(task(harness))
    harness.engine.serve(task(harness), JupyterLab=LISTENS, board=ServiceState("Running", 6006))
    harness.settle()
    found = target(harness.platform, lambda *_: None, OWNER, Place(f"ci-{row(harness).lookup}", 1))
    assert (found.name, found.port, found.secret) == ("board", 6006, "")


def test_the_official_client_reads_programs_of_ones_own_and_sends_them_back(harness: Harness) -> None:
    board = {"name": "board", "command": "tensorboard --port 6006", "endpoints": [{"target": 6006}]}
    put(harness, customServices=[board])
    (told,) = machine(harness)["customServices"]
    read = CustomApplications._from_rest_object(CustomService(told))
    assert (read.endpoints[0].target, read.endpoints[0].published, read.image.reference) == (6006, 6006, None)
    put(harness, customServices=[json.loads(json.dumps(read._to_rest_object().as_dict()))])
    (spec,) = (one for one in harness.engine.tasks[task(harness)].services if one.name == "board")
    assert spec.programs == [["bash", "-c", board["command"]]]


def test_it_is_deleted_with_what_runs(harness: Harness) -> None:
    put(harness)
    answers(harness)
    key = row(harness).lookup
    assert harness.send("DELETE", INSTANCE).status_code == 202
    harness.settle()
    assert harness.get(INSTANCE).status_code == 404 and not harness.engine.states
    assert not harness.blobs.exists("smalt-platform", "computes", f"{key}/")
