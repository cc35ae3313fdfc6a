"""Documents that no client sends, for every kind: each is taken or refused with ARM's error, and none is a 500."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.platform import GROUP, WORKSPACE, Harness

SENT = 20  # documents a kind
SENT_OF_LARGE = 90
URIS = [
    "/subscriptions/x", "/subscriptions/", "/subscriptions/x/resourceGroups", "https://[x/", "https://x:99999/", "https://x:abc/y",
    "https:///", "https://localhost:7443/acc.blob.core.smalt", "https://localhost:7443/acc.blob.core.smalt/",
    "https://acc.blob.core.smalt", "azureml:", "azureml://", "azureml:@", "azureml:x@", "azureml:x:", "azureml::1", "azureml:x:1:2",
    "azureml://jobs/", "azureml://jobs/x/outputs/", "azureml://datastores//paths/", "azureml://datastores/x", "azureml://registries/",
    "azureml://subscriptions/x", "azureml://locations/x/workspaces/y", "runs:/", "file:///etc/passwd", "wasbs://c@", "abfss://@x/",
    "mlflow-model:/", "${{inputs.x}}", "${{", "}}", "git+https://", "../..", "/", "//", "a\\b", WORKSPACE, f"{WORKSPACE}/codes/c0de",
]  # fmt: skip
WRONG: list[Any] = [
    None, True, 0, -1, 1.5, 2**31, 2**63, 10**30, 1e308, "", " ", "0", "NaN", "Infinity", "1e999", "\0", "a\0b", "é😀", "'", "%s", "{}", "PT", "P1Y",
    "PT99999999999999S", "x" * 5000, [], {}, [None], [1], ["x"], [[]], [{}], {"": 1}, {"a": None}, {"a": {"b": [1]}}, {"type": "x"}, {"key": "\0"},
    {"0": 1, " ": 2}, *URIS,
]  # fmt: skip
# what clients send besides, so that the changes reach it
MORE: dict[str, dict[str, Any]] = {
    "workspaces/jobs": {
        "inputs": {"data": {"jobInputType": "uri_file", "uri": "azureml:churn:1", "mode": "ReadOnlyMount"}, "n": {"jobInputType": "literal", "value": "1"}},
        "outputs": {"model": {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": "azureml://datastores/workspaceblobstore/paths/o"}},
        "resources": {"instanceCount": 1, "instanceType": "x", "properties": {}},
        "limits": {"jobLimitsType": "Command", "timeout": "PT1H"},
        "distribution": {"distributionType": "PyTorch", "processCountPerInstance": 1},
        "environmentVariables": {"A": "b"},
        "identity": {"identityType": "Managed"},
        "services": {"s": {"jobServiceType": "TensorBoard", "port": 1, "properties": {"logDir": "x"}, "nodes": {"nodesValueType": "All"}}},
        "codeId": f"{WORKSPACE}/codes/c0de/versions/1",
        "computeId": f"{WORKSPACE}/computes/cpu-cluster",
        "tags": {"a": "b"}, "properties": {"a": "b"}, "displayName": "x", "description": "x", "isArchived": False,
    },
    "workspaces/onlineendpoints/deployments": {
        "endpointComputeType": "Managed", "appInsightsEnabled": False, "environmentVariables": {"A": "b"}, "modelMountPath": "/x",
        "livenessProbe": {"initialDelay": "PT10S", "period": "PT10S", "timeout": "PT2S", "failureThreshold": 30, "successThreshold": 1},
        "requestSettings": {"requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 1, "maxQueueWait": "PT1S"},
        "scaleSettings": {"scaleType": "Default"},
    },
    "workspaces/onlineendpoints": {"traffic": {"blue": 0}, "mirrorTraffic": {}, "keys": {"primaryKey": "p", "secondaryKey": "s"}, "publicNetworkAccess": "Enabled"},
    "workspaces/datastores": {"credentials": {"credentialsType": "AccountKey", "secrets": {"key": "a2V5"}}, "endpoint": "x", "protocol": "https", "tags": {}},
    "workspaces/environments/versions": {"osType": "Linux", "inferenceConfig": {"livenessRoute": {"path": "/", "port": 80}}, "build": None},
    "workspaces/computes": {"description": "x", "disableLocalAuth": False},
    "workspaces/models/versions": {"flavors": {"python_function": {"data": {}}}, "jobName": "j", "stage": "Production"},
    "workspaces": {"keyVault": f"{GROUP}/providers/Microsoft.KeyVault/vaults/mine", "hbiWorkspace": False},
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path to a value in a document, the document's own included."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def documents(key: str, sent: int) -> list[Any]:
    """The same at every run."""
    example = EXAMPLES[key]
    body = {
        **example.body(**MORE.get(key, {})),
        "tags": {"a": "b"},
        "identity": {"type": "SystemAssigned"},
        "sku": {"name": "x", "capacity": 1},
    }
    found = [replaced(body, path, value) for path in places(body) for value in WRONG]
    return random.Random(key).sample(found, min(sent, len(found)))


def tried(harness: Harness, key: str, sent: int) -> list[object]:
    """What was answered with a 5xx, or without ARM's error."""
    prepare(harness, key)
    wrong: list[object] = []

    async def main() -> None:
        transport = httpx.ASGITransport(app=harness.app)
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost:7443") as client:
            for number, body in enumerate(documents(key, sent)):
                base, _, name = EXAMPLES[key].url.rpartition("/")
                url = (
                    f"{base}/{name}"
                    if number % 4 == 0
                    else f"{base}/{number + 1}"
                    if key.endswith("versions")
                    else f"{base}/m{number}"
                )
                for method in ("PUT", "PATCH"):
                    answer = await client.request(method, url, content=json.dumps(body).encode())
                    if answer.status_code >= 500 or (
                        answer.status_code >= 400 and "code" not in answer.json().get("error", {})
                    ):
                        wrong.append((method, answer.status_code, json.dumps(body)[:600]))
                    if answer.status_code < 300:
                        shown = await client.get(url)
                        if shown.status_code >= 500:
                            wrong.append(("GET", shown.status_code, json.dumps(body)[:600]))

    asyncio.run(main())
    return wrong


@pytest.mark.parametrize("key", EXAMPLES)
def test_no_document_gives_a_500(harness: Harness, key: str) -> None:
    large = key in ("workspaces/jobs", "workspaces/onlineendpoints/deployments")
    assert tried(harness, key, SENT_OF_LARGE if large else SENT) == []
