"""Compute instances: settings that cannot be, what older versions left, stores and answers that fail."""

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

from fakes.instances import CLUSTER, INSTANCE, answers, machine, put, refused, row, stored, task
from fakes.platform import WORKSPACE, Harness
from smalt.arm import instances
from smalt.arm.errors import ArmError
from smalt.arm.kind import OURS
from smalt.kinds.computes.instances import idle, life
from smalt.kinds.computes.instances import task as tasks
from smalt.sched import placement
from smalt.settings import Settings
from smalt.store import resources
from smalt.store.tables import resource


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
            connection,
            found,
            {**found.spec, "properties": properties},
            state=found.state,
            now=harness.clock(),
            by="ada",
            due=True,
            lookup=found.lookup,
            status=found.status,
        )


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
    assert took < 60


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
    (tools / "python").write_text("#!/bin/sh\n")
    (tools / "python").chmod(0o755)
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
