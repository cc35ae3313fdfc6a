"""Services of jobs: what is refused, what agents are told, and what clients are shown as a job begins, runs and ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fakes.jobs import JOBS, cluster, submit
from fakes.platform import Harness
from smalt.agent.service_spec import ServiceState
from smalt.arm import services
from smalt.arm.services import Place
from smalt.kinds.jobs.services import keys, specs

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJGpYQ0Q3xg0vYVU1Zx5v7m7G7h5mQkS9n8m1gq0s3bE ada@example"
ALL = {"nodesValueType": "All"}
APP = {"jobServiceType": "Custom", "port": 8080}


def refused(harness: Harness, **asked: Any) -> dict[str, str]:
    answer = submit(harness, services=asked)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    return {one["target"]: one["message"] for one in error["details"] or [error]}


@pytest.mark.parametrize(
    ("service", "field"),
    [
        ({"jobServiceType": "Telnet", "port": 23}, "jobServiceType"),
        ({"jobServiceType": "Custom"}, "port"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"port": "http"}, "port"),
        ({"port": True}, "port"),
        ({"port": 80, "nodes": "0"}, "nodes"),
        ({"port": 80, "nodes": {"nodesValueType": "Some"}}, "nodes"),
        ({"port": 80, "properties": "x"}, "properties"),
        ({"jobServiceType": "TensorBoard"}, "properties.logDir"),
        ({"jobServiceType": "TensorBoard", "properties": {"logDir": "${{outputs.x}}"}}, "properties.logDir"),
        ({"jobServiceType": "SSH"}, "properties.sshPublicKeys"),
        ({"jobServiceType": "SSH", "properties": {"sshPublicKeys": 5}}, "properties.sshPublicKeys"),
        ({"jobServiceType": "SSH", "properties": {"sshPublicKeys": f"{KEY}\nssh-rsa nonsense"}}, "properties.sshPublicKeys"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_field(harness: Harness, service: Any, field: str) -> None:
    assert list(refused(harness, one=service)) == [f"properties.services.one.{field}"]


def test_two_at_one_port_and_too_many_are_refused(harness: Harness) -> None:
    found = refused(harness, a=APP, b={"jobServiceType": "jupyter_lab", "port": 8080})
    assert "'a'" in found["properties.services.b.port"]
    assert list(refused(harness, **{"a/b": APP})) == ["properties.services"]
    assert list(refused(harness, **{f"s{n}": {"port": 8000 + n} for n in range(21)})) == ["properties.services"]


def test_agents_are_told_what_is_on_their_node(harness: Harness) -> None:
    asked = {
        "app": APP,
        "board": {"jobServiceType": "TensorBoard", "nodes": ALL, "properties": {"logDir": "outputs/tb"}},
        "shell": {"jobServiceType": "SSH", "properties": {"sshPublicKeys": KEY}},
        "Tracking": {"jobServiceType": "Tracking", "endpoint": "azureml://x"},
    }
    compute = cluster(harness, most=2)
    assert submit(harness, services=asked, computeId=compute, resources={"instanceCount": 2}).status_code == 201
    harness.settle()
    first, second = (harness.engine.tasks[name] for name in sorted(harness.engine.tasks))
    assert [(one.name, one.port) for one in first.services] == [("app", 8080), ("board", 0)]
    assert [one.name for one in second.services] == ["board"]
    program, missing = second.services[0].programs[0], second.services[0].missing
    assert program[:3] == ["tensorboard", "--logdir", "outputs/tb"] and "pip package 'tensorboard'" in missing


def test_a_service_is_shown_from_the_submission_to_the_end(harness: Harness) -> None:
    kept = {"team": "x"}
    sent = {**APP, "properties": kept, "endpoint": "https://made.up", "status": "Running", "errorMessage": "x"}
    submit(harness, services={"My App": sent, "tb": {"jobServiceType": "TensorBoard", "properties": {"logDir": "."}}})

    def shown(name: str = "My App") -> dict[str, Any]:
        return harness.get(f"{JOBS}/train-1").json()["properties"]["services"][name]

    before = {**APP, "properties": kept, "endpoint": None, "status": "NotStarted"}
    assert shown() == before
    harness.settle()
    (task,) = harness.engine.starts
    assert shown()["status"] == "Starting"
    harness.engine.start(task)
    failed = ServiceState("Failed", error="TensorBoard is not in the job's environment.")
    harness.engine.serve(task, **{"My App": ServiceState("Running", 8080), "tb": failed})
    harness.settle()
    where = f"https://my-app-0-{task.removeprefix('job-')}.services.localhost:7443/"
    assert shown() == {**APP, "properties": kept, "endpoint": where, "status": "Running"}
    assert shown("tb")["status"] == "Failed" and "environment" in shown("tb")["errorMessage"]
    assert services.place_of(where.removeprefix("https://")) == Place(task, 0)
    harness.engine.finish(task)
    harness.settle()
    assert shown() == before | {"status": "Stopped"}
    assert shown("tb")["status"] == "Failed"


def test_ssh_is_there_as_long_as_the_job_runs(harness: Harness) -> None:
    submit(harness, services={"shell": {"jobServiceType": "SSH", "properties": {"sshPublicKeys": KEY}}})
    harness.settle()
    (task,) = harness.engine.starts
    harness.engine.start(task)
    harness.settle()
    shell = harness.get(f"{JOBS}/train-1").json()["properties"]["services"]["shell"]
    assert shell["status"] == "Running" and shell["endpoint"].endswith("/jobs/train-1/nodes/0/ssh")


@pytest.mark.parametrize(
    "host", ["", "localhost", "my-app.services.localhost", "a-0-xyz-a1-n0.services", "a-0-0123456789abcdef-a1.s", "\0"]
)
def test_other_hosts_lead_to_no_service(host: str) -> None:
    assert services.place_of(host) is None


def test_names_of_any_letters_make_hosts(harness: Harness) -> None:
    place = Place("job-0123456789abcdef-a12-n3", 7)
    for name in ("Ünïcode ☃", "x" * 200, "--", "a.b_c"):
        label = services.origin("https://smalt.example:8443", place, name).removeprefix("https://")
        assert label.endswith(".services.smalt.example:8443") and len(label.partition(".")[0]) <= 63
        assert services.place_of(label) == place
    assert services.origin("https://10.0.0.5:7443", place, "x") == ""
    assert services.origin("https://127.0.0.1:7443", place, "x").endswith(".services.localhost:7443")


def test_properties_that_are_no_object_are_none_in_an_older_job(harness: Harness) -> None:
    submit(harness, services={"tb": {"port": 80}, "shell": {"port": 81}})
    row = harness.row(f"{JOBS}/train-1")
    given = {
        "tb": {"jobServiceType": "TensorBoard", "properties": ["x"]},
        "shell": {"jobServiceType": "SSH", "properties": "k"},
    }
    older = replace(row, spec={**row.spec, "properties": {**row.properties, "services": given}})
    assert [one.name for one in specs(older, 0)] == ["tb"] and keys(older, 0) == []
