"""Compute instances: their state is remembered, with what was done last."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.platform import WORKSPACE, Harness

INSTANCE, CLUSTER = f"{WORKSPACE}/computes/desk", f"{WORKSPACE}/computes/farm"


def put(harness: Harness, url: str, type_: str) -> None:
    body = {"location": "local", "properties": {"computeType": type_, "properties": {"vmSize": "Standard_DS3_v2"}}}
    assert harness.put(url, body).status_code in (200, 201)
    harness.settle()


def machine(harness: Harness) -> dict[str, Any]:
    return harness.get(INSTANCE).json()["properties"]["properties"]


def test_the_last_operation_is_shown(harness: Harness) -> None:
    put(harness, INSTANCE, "ComputeInstance")
    assert (machine(harness)["state"], machine(harness)["lastOperation"]["operationName"]) == ("Running", "Create")
    for action, name, state in (
        ("stop", "Stop", "Stopped"),
        ("start", "Start", "Running"),
        ("restart", "Restart", "Running"),
    ):
        assert harness.send("POST", f"{INSTANCE}/{action}").status_code == 202
        harness.settle()
        shown = machine(harness)
        assert shown["state"] == state
        assert shown["lastOperation"]["operationName"] == name
        assert shown["lastOperation"]["operationStatus"] == "Succeeded" and shown["lastOperation"]["operationTime"]
    put(harness, INSTANCE, "ComputeInstance")
    assert machine(harness)["lastOperation"]["operationName"] == "Restart"


def test_single_sign_on_is_stored(harness: Harness) -> None:
    """`compute.enable_sso` of the SDK."""
    put(harness, INSTANCE, "ComputeInstance")
    for wanted in (False, True):
        assert harness.send("POST", f"{INSTANCE}/enableSso", {"enableSSO": wanted}).status_code == 200
        harness.settle()
        assert machine(harness)["enableSSO"] is wanted and machine(harness)["vmSize"]
    refused = harness.send("POST", f"{INSTANCE}/enableSso", {"enableSSO": "perhaps"})
    assert (refused.status_code, refused.json()["error"]["target"]) == (400, "enableSSO")


@pytest.mark.parametrize(("action", "body"), [("stop", None), ("enableSso", {"enableSSO": True})])
def test_a_cluster_refuses_them(harness: Harness, action: str, body: Any) -> None:
    put(harness, CLUSTER, "AmlCompute")
    answer = harness.send("POST", f"{CLUSTER}/{action}", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidOperation")
