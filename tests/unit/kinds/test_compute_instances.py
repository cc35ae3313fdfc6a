"""Compute instances: JupyterLab that is started, stopped and started anew, by people, schedules and idleness."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from fakes.platform import OWNER, WORKSPACE, Harness
from smalt.agent.service_spec import ServiceState
from smalt.arm import instances
from smalt.arm.errors import ArmError
from smalt.arm.kind import OURS
from smalt.arm.ports import Principal
from smalt.arm.services import Place, place_of
from smalt.auth.access import ScopeGrants
from smalt.kinds.computes.instances import idle, life
from smalt.kinds.computes.instances import task as tasks
from smalt.principals import LivingHeaders, Workspaces
from smalt.sched import placement
from smalt.settings import Settings
from smalt.store import resources
from smalt.store.resources import Row
from smalt.store.tables import resource
from smalt.web.targets import target

INSTANCE, CLUSTER = f"{WORKSPACE}/computes/desk", f"{WORKSPACE}/computes/farm"
SCHEDULES = {"computeStartStop": [{"action": "Stop", "triggerType": "Cron", "cron": {"expression": "0 18 * * *"}}]}
LISTENS = ServiceState("Running", 4321)


def put(harness: Harness, url: str = INSTANCE, type_: str = "ComputeInstance", **machine: Any) -> None:
    body = {"properties": {"computeType": type_, "properties": {"vmSize": "Standard_DS3_v2", **machine}}}
    answer = harness.put(url, {"location": "local", **body})
    assert answer.status_code in (200, 201), answer.text
    harness.settle()


def machine(harness: Harness) -> dict[str, Any]:
    return harness.get(INSTANCE).json()["properties"]["properties"]


def row(harness: Harness) -> Row:
    return stored(harness, INSTANCE)


def stored(harness: Harness, url: str) -> Row:
    with harness.database.read() as connection:
        found = resources.get(connection, url.lower())
    assert found is not None
    return found


def task(harness: Harness) -> str:
    (name,) = (name for name, one in harness.engine.states.items() if name.startswith("ci-") and not one.ended_at)
    return name


def answers(harness: Harness) -> None:
    """JupyterLab begins to listen."""
    harness.engine.start(task(harness))
    harness.engine.serve(task(harness), JupyterLab=LISTENS)
    harness.settle()


def refused(harness: Harness, **machine: Any) -> tuple[int, str]:
    properties = {"computeType": "ComputeInstance", "properties": machine}
    answer = harness.put(INSTANCE, {"location": "local", "properties": properties})
    return answer.status_code, answer.json()["error"]["target"]


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


def test_it_is_deleted_with_what_runs(harness: Harness) -> None:
    put(harness)
    answers(harness)
    key = row(harness).lookup
    assert harness.send("DELETE", INSTANCE).status_code == 202
    harness.settle()
    assert harness.get(INSTANCE).status_code == 404 and not harness.engine.states
    assert not harness.blobs.exists("smalt-platform", "computes", f"{key}/")


def remembered(harness: Harness, **machine: Any) -> None:
    """As a version before there were instances that ran left it."""
    put(harness)
    harness.engine.states.clear()
    with harness.database.write() as connection:
        resources.merge_status(connection, INSTANCE.lower(), dict.fromkeys(row(harness).status))
        resources.merge_status(connection, INSTANCE.lower(), {"power": "Running"})
        found = resources.get(connection, INSTANCE.lower())
        assert found is not None
        spec = {**found.spec, "properties": {"computeType": "ComputeInstance", "properties": machine}}
        del spec[OURS]
        values = {"spec": json.dumps(spec), "lookup": None}
        connection.execute(update(resource).where(resource.c.id == INSTANCE.lower()).values(values))


def test_one_that_an_older_version_remembered_is_nobodys_until_it_is_put(harness: Harness) -> None:
    """Its scripts would run as whoever came first."""
    remembered(harness, **scripts({"scriptSource": "inline", "scriptData": "ZWNobyBoaQ=="}))
    assert machine(harness)["state"] == "Stopped"
    properties = {"properties": {"properties": {"enableSSO": True}}}
    for method, url, body in (
        ("POST", f"{INSTANCE}/start", None), ("POST", f"{INSTANCE}/stop", None), ("POST", f"{INSTANCE}/restart", None),
        ("POST", f"{INSTANCE}/enableSso", {"enableSSO": True}), ("PATCH", INSTANCE, properties),
    ):  # fmt: skip
        answer = harness.send(method, url, body)
        assert answer.status_code == 409 and "PUT it again" in answer.json()["error"]["message"], url
    assert not instances.takes_jobs(row(harness))
    put(harness)
    harness.send("POST", f"{INSTANCE}/start")
    harness.settle()
    answers(harness)
    assert machine(harness)["state"] == "Running" and instances.owner(row(harness)).oid == "owner"


def test_a_password_of_nodes_that_have_no_ssh_is_not_kept(harness: Harness) -> None:
    put(harness, CLUSTER, "AmlCompute", userAccountCredentials={"adminUserName": "ada", "adminUserPassword": "p4ss"})
    assert "p4ss" not in harness.get(CLUSTER).text and "p4ss" not in str(cluster := stored(harness, CLUSTER).spec)
    assert "ada" in str(cluster)


def test_single_sign_on_is_stored(harness: Harness) -> None:
    """`compute.enable_sso` of the SDK."""
    put(harness)
    for wanted in (False, True):
        assert harness.send("POST", f"{INSTANCE}/enableSso", {"enableSSO": wanted}).status_code == 200
        harness.settle()
        assert machine(harness)["enableSSO"] is wanted and machine(harness)["vmSize"]
    refused = harness.send("POST", f"{INSTANCE}/enableSso", {"enableSSO": "perhaps"})
    assert (refused.status_code, refused.json()["error"]["target"]) == (400, "enableSSO")


@pytest.mark.parametrize(("action", "body"), [("stop", None), ("enableSso", {"enableSSO": True}), ("getLogs", {})])
def test_a_cluster_refuses_them(harness: Harness, action: str, body: Any) -> None:
    put(harness, CLUSTER, "AmlCompute")
    answer = harness.send("POST", f"{CLUSTER}/{action}", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidOperation")


HOURLY = {"frequency": "Hour", "interval": 1}


def schedule(**more: Any) -> dict[str, Any]:
    return {"action": "Stop", "triggerType": "Recurrence", "recurrence": HOURLY, **more}


def schedules(*given: Any) -> dict[str, Any]:
    return {"schedules": {"computeStartStop": list(given)}}


def scripts(given: Any) -> dict[str, Any]:
    return {"setupScripts": {"scripts": {"startupScript": given}}}


NO_SETTINGS: list[dict[str, Any]] = [
        {"setupScripts": "x"},
        {"setupScripts": {"scripts": "x"}},
        scripts("x"),
        scripts({"scriptSource": "inline", "scriptData": "é"}),
        scripts({"scriptSource": "inline", "scriptData": "AAAA"}),
        scripts({"scriptData": "a.sh", "scriptArguments": "a\0b"}),
        {"schedules": "x"},
        {"schedules": [1]},
        schedules(1),
        schedules({"action": "Stop", "triggerType": "Cron", "cron": "x"}),
        *(schedules(schedule(recurrence={**HOURLY, "interval": one})) for one in ("a", 0, 10**12)),
        *(
            schedules(schedule(recurrence={"frequency": "Week", "interval": 1, "schedule": one}))
            for one in ({"hours": ["x"]}, {"hours": [10**9]}, {"weekDays": [5]}, {"weekDays": ["Someday"]})
        ),
        schedules(schedule(recurrence={**HOURLY, "timeZone": 5})),
        schedules(schedule(id=["a"])),
        schedules(schedule(id="a"), schedule(id="a")),
        {"personalComputeInstanceSettings": "x"},
        {"personalComputeInstanceSettings": {"assignedUser": "x"}},
        {"customServices": "x"},
        {"customServices": [{"name": "a", "image": "x"}]},
        {"customServices": [
            {"name": f"a{one}", "command": "true", "endpoints": [{"target": 2000 + one}]} for one in range(150)
        ]},
        {"idleTimeBeforeShutdown": 5},
        {"enableSSO": "perhaps"},
]  # fmt: skip


def test_what_is_no_setting_at_all_is_refused(harness: Harness) -> None:
    for given in NO_SETTINGS:
        status, target = refused(harness, **given)
        assert status == 400 and target.startswith(f"properties.properties.{next(iter(given))}"), target


def rewritten(harness: Harness, **machine: Any) -> None:
    """The stored properties get these, as a version without checks would have stored them."""
    found = row(harness)
    properties = {**found.properties, "properties": {**found.properties["properties"], **machine}}
    with harness.database.write() as connection:
        resources.replace_spec(
            connection, found, {**found.spec, "properties": properties}, state=found.state, now=harness.clock(),
            by="ada", due=True, lookup=found.lookup, status=found.status,
        )  # fmt: skip


@pytest.mark.parametrize(
    "given", [{"interval": 0}, {"interval": 10**18}, {"frequency": "Day", "schedule": {"hours": [10**9]}}, "x"]
)
def test_it_can_be_stopped_whatever_schedule_is_stored(harness: Harness, given: Any) -> None:
    put(harness)
    answers(harness)
    recurrence = {**HOURLY, **given} if isinstance(given, dict) else given
    rewritten(harness, **schedules(schedule(id="a", recurrence=recurrence), schedule(id="b")))
    harness.settle()
    first, second = machine(harness)["schedules"]["computeStartStop"]
    assert second["nextRunTime"] and not first["nextRunTime"]
    assert harness.send("POST", f"{INSTANCE}/stop").status_code == 202
    harness.settle()
    assert machine(harness)["state"] == "Stopped"


def test_none_is_where_the_store_is_no_folder(harness: Harness) -> None:
    put(harness)
    answers(harness)
    elsewhere = Settings(root=harness.settings.root, store_url="s3://bucket/prefix")
    object.__setattr__(harness.platform, "settings", elsewhere)
    other = f"{WORKSPACE}/computes/other"
    body = {"location": "local", "properties": {"computeType": "ComputeInstance", "properties": {}}}
    for answer in (harness.put(other, body), harness.send("POST", f"{INSTANCE}/restart")):
        assert answer.status_code == 409 and "object store" in answer.json()["error"]["message"]
    assert harness.get(other).status_code == 404
    assert harness.send("POST", f"{INSTANCE}/stop").status_code == 202
    put(harness, CLUSTER, "AmlCompute")


def test_what_is_fetched_for_it_takes_its_time(harness: Harness) -> None:
    put(harness)
    harness.clock.pass_(3600)
    harness.settle()
    assert machine(harness)["state"] == "Creating" and len(harness.engine.starts) == 1
    harness.engine.start(task(harness))
    harness.settle()
    harness.clock.pass_(240)
    harness.settle()
    assert machine(harness)["state"] == "CreateFailed"


@pytest.mark.parametrize("url", [INSTANCE, CLUSTER])
def test_what_a_step_raises_does_not_end_that_it_is_looked_after(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    put(harness, url, "ComputeInstance" if url == INSTANCE else "AmlCompute")
    if url == INSTANCE:
        answers(harness)

    def raises(*_: Any) -> Any:
        raise ArmError(400, "ValidationError", "it cannot be")

    with monkeypatch.context() as patched:
        patched.setattr(life, "_next", raises)
        patched.setattr(placement, "release_idle", raises)
        harness.loop.hint(url)
        harness.settle()
    assert harness.row(url.lower()).state == "Failed"
    shown = harness.get(url).json()["properties"]
    assert shown["provisioningErrors"][0]["error"]["message"] == "it cannot be"
    harness.clock.pass_(31)
    harness.settle()
    shown = harness.get(url).json()["properties"]
    assert shown["provisioningState"] == "Succeeded" and not shown["provisioningErrors"]


@pytest.mark.parametrize("said", ["[" * 20_000, '["a"]', "[{}]", "no", "[" + "1," * 200_000 + "1]"])
def test_an_answer_that_is_none_of_jupyterlabs_is_work(harness: Harness, said: str) -> None:
    def answer() -> None:
        while len(harness.engine.reached) < 1:
            time.sleep(0.001)
        line = harness.engine.reached[0][2]
        with contextlib.suppress(OSError):
            line.sendall(f"HTTP/1.0 200 OK\r\n\r\n{said}".encode())
        line.close()

    put(harness)
    answers(harness)
    speaker = threading.Thread(target=answer)
    speaker.start()
    assert idle.last_work(harness.platform, row(harness), 5.0) == 5.0
    speaker.join()


def test_a_slow_answer_is_not_waited_for(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where there is always a little more of it."""
    monkeypatch.setattr(idle, "_WAIT_S", 0.2)
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.05):
            for *_, line in list(harness.engine.reached):
                with contextlib.suppress(OSError):
                    line.sendall(b"H")

    put(harness)
    answers(harness)
    speaker = threading.Thread(target=trickle)
    speaker.start()
    begun = time.monotonic()
    assert idle.last_work(harness.platform, row(harness), 5.0) == 5.0
    took = time.monotonic() - begun
    over.set()
    speaker.join()
    assert took < 5


@pytest.mark.parametrize("planted", ["config", "folder", "nothing"])
def test_no_link_in_the_shared_folder_is_followed(tmp_path: Path, planted: str) -> None:
    code, home, tools = (tmp_path / name for name in ("code", "home", "tools"))
    for one in (code, home, tools, home / "keys"):
        one.mkdir()
    (home / "keys/config.json").write_text("mine")
    (home / ".bashrc").write_text("mine")
    if planted == "folder":
        (code / ".azureml").symlink_to(home / "keys")
    if planted == "config":
        (code / ".azureml").mkdir()
        (code / ".azureml/config.json").symlink_to(home / ".bashrc")
    (tools / "jupyter-lab").write_text("#!/bin/sh\n")
    (tools / "jupyter-lab").chmod(0o755)
    line = tasks._RUN.replace("${{inputs.home}}", str(home)).replace("${{inputs.code}}", str(code))
    variables = {"PATH": f"{tools}:{os.environ['PATH']}", "SMALT_CONFIG": "{}", "SMALT_FOLDER": "ada"}
    for _ in range(2):  # also where one is there
        subprocess.run(["bash", "-c", line], env=variables, check=True)
    ended = subprocess.run(["bash", "-c", line], env=variables, check=True, capture_output=True, text=True)
    assert (home / "keys/config.json").read_text() == (home / ".bashrc").read_text() == "mine"
    assert (home / ".azureml/config.json").read_text() == "{}\n"
    if planted == "folder":
        assert "is no folder of its own" in ended.stderr
    else:
        assert (code / ".azureml/config.json").read_text() == "{}\n"
        assert [one.name for one in (code / ".azureml").iterdir()] == ["config.json"] and not ended.stderr
