"""A registry with its front end, what is uploaded to it, and what a workspace shares with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fakes.examples import REGISTRY
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Ref
from smalt.auth.access import authorize
from smalt.web.registries import FRONT_END, RegistryApp

MODEL = f"{REGISTRY}/models/scorer/versions/1"


@contextmanager
def registry(root: Path) -> Iterator[Harness]:
    """A platform with a registry, and with what answers for it in front of Resource Manager."""
    made = Harness(root)
    arm = made.app
    edge = RegistryApp(made.platform, lambda scope: made.caller, authorize, arm)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (edge if RegistryApp.handles(scope["path"]) else arm)(scope, receive, send)

    made.app = app  # type: ignore[assignment]
    assert made.put(REGISTRY, {"location": "local", "tags": {"a": "b"}, "properties": {}}).status_code == 202
    made.settle()
    try:
        yield made
    finally:
        made.close()


def uploaded(harness: Harness, type_: str, name: str, **files: str) -> str:
    """The address of a folder that was uploaded for an asset, as clients send it."""
    url = f"{FRONT_END}{REGISTRY}/tempdatarefs/{name}/versions/1"
    body = {"assetId": f"azureml://registries/shared/{type_}/{name}/versions/1"}
    answer = harness.put(url, body)
    assert answer.status_code == 200, answer.text
    blob = answer.json()["blobReferenceForConsumption"]["blobUri"]
    account, container = urlsplit(blob).path.strip("/").split("/")
    for path, text in files.items():
        harness.blobs.write(Ref(account.partition(".")[0], container, f"folder/{path}"), text.encode())
    return f"{blob}/folder"


def model(harness: Harness) -> dict[str, Any]:
    uri = uploaded(harness, "models", "scorer", weights="42")
    answer = harness.put(FRONT_END + MODEL, {"properties": {"modelUri": uri, "modelType": "custom_model"}})
    assert answer.status_code == 202, answer.text
    return answer.json()


def in_workspace(harness: Harness, path: str, files: int = 1, **properties: Any) -> str:
    """A version of the workspace's, with files in its storage; as clients name it to a registry."""
    store = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
    for number in range(files):
        harness.blobs.write(Ref(store["accountName"], store["containerName"], f"mine/a/{number:03}"), b"x" * number)
    harness.blobs.write(Ref(store["accountName"], store["containerName"], "mine-too/other"), b"not it")
    answer = harness.put(f"{WORKSPACE}/{path}", {"properties": properties})
    assert answer.status_code == 201, answer.text
    harness.settle()
    guid = harness.get(WORKSPACE).json()["properties"]["workspaceId"]
    return f"azureml://locations/local/workspaces/{guid}/{path}"


def share(harness: Harness, source: str, **more: Any) -> Any:
    properties = {"referenceType": "Id", "sourceAssetId": source, **more}
    return harness.send("POST", f"{FRONT_END}{REGISTRY}/import", {"properties": properties})
