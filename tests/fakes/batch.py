"""A batch endpoint: deployed, invoked, and what came of it."""

from __future__ import annotations

from typing import Any

from fakes.examples import EXAMPLES
from fakes.pipelines import FOLDER
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Ref, TaskSpec
from smalt.arm.ids import ResourceId
from smalt.kinds.assets import references

ENDPOINT = f"{WORKSPACE}/batchEndpoints/churn-nightly"
V1 = f"{ENDPOINT}/deployments/v1"
KEY = "workspaces/batchendpoints/deployments"
INPUT: dict[str, Any] = {"UriFolder": {"jobInputType": "UriFolder", "uri": FOLDER}}


def deploy(harness: Harness, name: str = "v1", drop: tuple[str, ...] = (), **more: Any) -> Any:
    properties = {**EXAMPLES[KEY].properties, **more}
    body = {"properties": {key: one for key, one in properties.items() if key not in drop}}
    return harness.put(f"{ENDPOINT}/deployments/{name}", body)


def invoke(harness: Harness, inputs: Any = None, headers: Any = None, **more: Any) -> Any:
    body = {"properties": {"inputData": INPUT if inputs is None else inputs, **more}}
    return harness.send("POST", f"{ENDPOINT}/jobs", body, **(headers or {}))


def error_of(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error.get("target") or "", error["message"]


def ref_of(harness: Harness, uri: str) -> Ref:
    with harness.database.read() as connection:
        workspace = ResourceId.parse(WORKSPACE)
        return references.locate(harness.platform, connection, workspace, uri, "uri").ref(folder=True)


def task_of(harness: Harness) -> TaskSpec:
    harness.settle()
    (found,) = [one for one in harness.engine.tasks.values() if one.parallel]
    return found
