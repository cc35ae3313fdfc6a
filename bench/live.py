"""A started platform as the benchmarks see it: `smalt up` on a root of its own, and a client that has a token.

Everything goes through Envoy and TLS, as the official clients do; nothing here imports the server.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

SMALT = Path(sys.executable).with_name("smalt")
VERSION = "2024-10-01"
ENVIRONMENT = "azureml://registries/azureml/environments/sklearn-1.5/labels/latest"
ENDED = {"Completed", "Failed", "Canceled"}


def smalt(*arguments: str) -> str:
    done = subprocess.run([str(SMALT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"smalt {' '.join(arguments)}: {done.stderr or done.stdout}")
    return done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def started(root: Path) -> Iterator[Live]:
    """The platform on `root`, started if it was not, and then stopped at the end."""
    fresh = not (root / "up.lock").exists() or not json.loads(_status(root))["ready"]
    if fresh:
        port = [] if (root / "config.json").exists() else ["--port", str(free_port())]
        smalt("up", "--root", str(root), "--detach", *port)
    try:
        with Live.on(root) as live:
            yield live
            if fresh:
                live.at_rest()
    finally:
        if fresh:
            smalt("down", "--root", str(root))


def _status(root: Path) -> str:
    """Also where nothing runs, which is an exit code of its own."""
    command = [str(SMALT), "status", "--root", str(root), "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout or '{"ready": false}'


@dataclass(frozen=True)
class Live:
    """`api` sends what a client sends: keep-alive, the owner's token, `api-version`. `workspace` is its ARM id."""

    root: Path
    url: str
    workspace: str
    token: str
    ca: Path
    api: httpx.Client

    @staticmethod
    @contextmanager
    def on(root: Path) -> Iterator[Live]:
        said = json.loads(smalt("env", "--root", str(root), "--shell", "json"))
        url = said["ARM_CLOUD_METADATA_URL"].removesuffix("/metadata/endpoints")
        ca = Path(said["SSL_CERT_FILE"])
        workspace = (
            f"/subscriptions/{said['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{said['AZUREML_ARM_RESOURCEGROUP']}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{said['AZUREML_ARM_WORKSPACE_NAME']}"
        )
        tls = ssl.create_default_context(cafile=str(ca))
        with httpx.Client(base_url=url, verify=tls, timeout=120, trust_env=False) as api:
            answer = api.get(
                said["IDENTITY_ENDPOINT"],
                params={"resource": url, "api-version": "2019-08-01"},
                headers={"X-IDENTITY-HEADER": said["IDENTITY_HEADER"], "Secret": said["IDENTITY_HEADER"]},
            )
            token = str(answer.raise_for_status().json()["access_token"])
            api.headers["Authorization"] = f"Bearer {token}"
            api.params = httpx.QueryParams({"api-version": VERSION})
            yield Live(root, url, workspace, token, ca, api)

    def get(self, path: str) -> dict[str, Any]:
        return _checked(self.api.get(self.workspace + path))

    def put(self, path: str, properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        return _checked(self.api.put(self.workspace + path, json={"properties": dict(properties), **more}))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return _checked(self.api.post(self.workspace + path, json=dict(body or {})))

    def settled(self, path: str, limit_s: float = 600) -> dict[str, Any]:
        """The resource once its provisioning has ended."""
        return self._until(path, "provisioningState", {"Succeeded", "Failed", "Canceled"}, "Succeeded", limit_s)

    def completed(self, job: str, limit_s: float = 600) -> dict[str, Any]:
        self.pushed(f"/jobs/{job}", ENDED, limit_s)
        return self._until(f"/jobs/{job}", "status", ENDED, "Completed", limit_s)

    def pushed(self, path: str, ends: set[str], limit_s: float = 600) -> None:
        """Return once the feed tells of one of these states. Asking again and again would be the server's work, too."""
        feed = f"{self.workspace}{path}/changes"
        headers = {"Accept": "text/event-stream"}
        with self.api.stream("GET", feed, params={"after": "now"}, headers=headers, timeout=limit_s) as stream:
            stream.raise_for_status()
            if self.get(path)["properties"].get("status") in ends:
                return
            for line in stream.iter_lines():
                if line.startswith("data:") and json.loads(line[5:]).get("to") in ends:
                    return

    def removed(self, path: str, limit_s: float = 120) -> None:
        """Delete it and wait until it is gone: what serves would outlive the platform."""
        self.api.delete(self.workspace + path)
        end = time.monotonic() + limit_s
        while self.api.get(self.workspace + path).status_code != 404:
            if time.monotonic() > end:
                raise SystemExit(f"{path} is not gone after {limit_s:.0f} s")
            time.sleep(0.1)

    def _until(self, path: str, field: str, ends: set[str], good: str, limit_s: float) -> dict[str, Any]:
        end = time.monotonic() + limit_s
        while (found := self.get(path))["properties"].get(field) not in ends:
            if time.monotonic() > end:
                raise SystemExit(f"{path} is {found['properties'].get(field)} after {limit_s:.0f} s")
            time.sleep(0.05)
        if found["properties"][field] != good:
            raise SystemExit(f"{path} ended as {json.dumps(found['properties'], indent=1)[:3000]}")
        return found

    def upload(self, kind: str, name: str, folder: Path) -> str:
        """The files of a folder, in a place of their own; the URI to register. `kind` is codes, models or data."""
        place = self.post(
            f"/{kind}/{name}/versions/1/startPendingUpload", {"pendingUploadType": "TemporaryBlobReference"}
        )
        reference = place["blobReferenceForConsumption"]
        base, _, sas = reference["credential"]["sasUri"].partition("?")
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2023-11-03"}
        with self.bare() as bare:
            for file in sorted(one for one in folder.rglob("*") if one.is_file()):
                blob = f"{base}/{folder.name}/{file.relative_to(folder)}?{sas}"
                bare.put(blob, content=file.read_bytes(), headers=headers).raise_for_status()
        return f"{base}/{folder.name}"

    def code(self, folder: Path) -> str:
        """A registered snapshot; its ARM id."""
        name = hashlib.sha256(b"".join(one.read_bytes() for one in sorted(folder.iterdir()))).hexdigest()[:32]
        known = self.api.get(f"{self.workspace}/codes/{name}/versions/1")
        if known.status_code == 200:
            return str(known.json()["id"])
        uri = self.upload("codes", name, folder)
        return str(self.put(f"/codes/{name}/versions/1", {"codeUri": uri})["id"])

    def submit(self, name: str, command: str, code: str | None = None, **more: Any) -> dict[str, Any]:
        properties = {"jobType": "Command", "command": command, "environmentId": ENVIRONMENT, **more}
        return self.put(f"/jobs/{name}", properties | ({"codeId": code} if code else {}))

    def bare(self) -> httpx.Client:
        """Without a token: for URLs that carry their own right."""
        return httpx.Client(verify=ssl.create_default_context(cafile=str(self.ca)), timeout=120, trust_env=False)

    def at_rest(self, limit_s: float = 300) -> None:
        """Wait until no environment's bytecode is being written: it is done once, behind the first job that needs one."""
        end = time.monotonic() + limit_s
        while list((self.root / "tasks").glob("compile-*")) and time.monotonic() < end:
            time.sleep(0.2)

    def warm(self) -> None:
        """Wait until MLflow answers: it starts behind the platform, and takes a processor for some seconds."""
        path = f"/mlflow/v1.0{self.workspace}/api/2.0/mlflow/experiments/search"
        _checked(self.api.get(path, params={"max_results": 1}))

    def connection(self) -> http.client.HTTPSConnection:
        """A bare keep-alive connection: what is measured on it is the platform and not the client library."""
        found = urlsplit(self.url)
        context = ssl.create_default_context(cafile=str(self.ca))
        return http.client.HTTPSConnection(str(found.hostname), found.port, context=context, timeout=60)


def _checked(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code >= 400:
        raise SystemExit(
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:2000]}"
        )
    return dict(answer.json()) if answer.content else {}


def load() -> float:
    """The load average of the last minute: figures taken beside other work are noise."""
    return round(os.getloadavg()[0], 2)


def quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
