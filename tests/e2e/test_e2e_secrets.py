"""Secrets on a started platform: connections through the official client, rotations while it runs, and where no secret may be."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
import requests

from live.clients import OLDER_SDK, SDK, Client
from live.downloads import CACHE
from live.files import files_below
from live.patience import ANSWER_S
from live.platform import GROUP, Platform, eventually

pytestmark = pytest.mark.e2e
SECRET = "pl4nted-s3cret-value"


@pytest.mark.parametrize("version", [SDK, OLDER_SDK])
def test_connections(client_of: Callable[..., Client], scripts: Path, version: str) -> None:
    said = client_of(version).run(scripts / "connections.py")
    print(said)
    assert said.rstrip().endswith("PASSED")


def test_the_sealing_key_rotates_while_the_platform_runs(platform: Platform) -> None:
    platform.put("connections/before", plain_connection())
    first = json.loads(platform.smalt("keys", "list", "--json").stdout)
    done = platform.smalt("keys", "rotate", "--json")
    assert done.returncode == 0, done.stderr
    platform.put("connections/after", plain_connection())
    (now,) = json.loads(platform.smalt("keys", "list", "--json").stdout)
    assert now["key"] == json.loads(done.stdout)["key"] != first[-1]["key"]
    assert now["seals"] > json.loads(done.stdout)["sealed"] > 0
    for name in ("before", "after"):
        assert opened(platform, f"connections/{name}")["credentials"] == {"key": SECRET}


def test_what_an_old_storage_key_signed_is_refused(platform: Platform) -> None:
    store = platform.get("datastores/workspaceblobstore")["properties"]
    account = store["accountName"].rpartition("/")[2]
    blob = f"{platform.url}/{account}.blob.core.smalt/{store['containerName']}/rotated.txt"

    def signed() -> str:
        return platform.call("POST", "datastores/workspaceblobstore/listSecrets", {}).json()["sasToken"]

    def write(sas: str) -> int:
        headers = {"x-ms-blob-type": "BlockBlob"}
        return requests.put(
            f"{blob}?{sas}", data=b"x", headers=headers, verify=platform.ca, timeout=ANSWER_S
        ).status_code

    old = signed()
    assert write(old) == 201
    (listed,) = [
        one for one in json.loads(platform.smalt("storage", "list", "--json").stdout) if one["account"] == account
    ]
    done = platform.smalt("storage", "rotate", account, "--key", listed["signs"])
    assert done.returncode == 0, done.stderr
    eventually(lambda: write(old) == 403, "the old key to be refused", pause_s=0.1)
    assert write(signed()) == 201
    url = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/{account}"
    newer = signed()
    for key in ("key1", "key2"):
        assert platform.call("POST", f"{url}/regenerateKey", {"keyName": key}).status_code == 200
    assert write(newer) == 403 and write(signed()) == 201


def test_a_deleted_service_principal_opens_nothing(platform: Platform) -> None:
    made = json.loads(platform.smalt("sp", "create", "leaver", "--json").stdout)
    form = {
        "grant_type": "client_credentials",
        "client_id": made["clientId"],
        "client_secret": made["AZURE_CLIENT_SECRET"],
    }
    login = f"{made['AZURE_AUTHORITY_HOST']}/{made['AZURE_TENANT_ID']}/oauth2/v2.0/token"
    store = platform.get("datastores/workspaceblobstore")["properties"]
    home = platform.get("")["id"]
    paths = {
        f"{home}?api-version=2024-04-01": platform.url,
        f"/mlflow/v1.0{home}/api/2.0/mlflow/experiments/search?max_results=1": platform.url,
        f"/history/v1.0{home}/runs/none/details": platform.url,
        f"/{store['accountName'].rpartition('/')[2]}.blob.core.smalt/{store['containerName']}?restype=container&comp=list": (
            "https://storage.azure.com"
        ),
    }
    tokens: dict[str, str] = {}
    for audience in {*paths.values()}:
        answer = requests.post(
            login, data={**form, "scope": f"{audience}/.default"}, verify=platform.ca, timeout=ANSWER_S
        )
        tokens[audience] = answer.json()["access_token"]

    def statuses() -> list[int]:
        found: list[int] = []
        for path, audience in paths.items():
            headers = {"Authorization": f"Bearer {tokens[audience]}", "x-ms-version": "2021-08-06"}
            found.append(
                requests.get(platform.url + path, headers=headers, verify=platform.ca, timeout=ANSWER_S).status_code
            )
        return found

    assert not {401, 403} & {*statuses()}, statuses()
    platform.smalt("sp", "delete", "leaver")
    eventually(lambda: {*statuses()} <= {401, 403}, "all surfaces to refuse", pause_s=0.1)


class Index(BaseHTTPRequestHandler):
    """A package index behind a password, which looks at every command line of the machine when it is asked."""

    command_lines: ClassVar[set[str]] = set()
    wheel: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        for process in psutil.process_iter():
            try:
                self.command_lines.add(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        if given != f"__token__:{SECRET}":
            self._answer(401, b"")
        elif self.path.endswith(".whl"):
            self._answer(200, self.wheel)
        elif self.path.rstrip("/").endswith("/planted"):
            name = "planted-1.0-py3-none-any.whl"
            self._answer(200, f'<a href="{name}#sha256={hashlib.sha256(self.wheel).hexdigest()}">{name}</a>'.encode())
        else:
            self._answer(404, b"")

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.send_header("Content-Type", "application/octet-stream" if self.path.endswith(".whl") else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def index() -> Iterator[str]:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("planted.py", "")
        archive.writestr("planted-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
        archive.writestr(
            "planted-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("planted-1.0.dist-info/RECORD", "")
    Index.wheel = content.getvalue()
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
        server.shutdown()


def test_no_secret_is_where_it_must_not_be(platform: Platform, index: str) -> None:
    """Planted in every kind that has secrets, and used by a build: not in the database, a log, an answer, a command line."""
    begun_s = time.time() - 1
    key = {"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": SECRET}}
    outside = {
        "datastoreType": "AzureFile",
        "accountName": "elsewhere",
        "containerName": "c",
        "endpoint": "core.example",
    }
    paths = ["datastores/planted", "connections/planted-key", "connections/planted-feed"]
    platform.put(paths[0], {**outside, "credentials": key})
    platform.put(paths[1], plain_connection())
    feed = {"category": "PythonFeed", "authType": "PAT", "target": index, "credentials": {"pat": SECRET}}
    platform.put(paths[2], feed)
    conda = f"dependencies:\n  - pip:\n    - --extra-index-url {index}\n    - planted==1.0\n"
    image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
    platform.put("environments/planted/versions/1", {"image": image, "condaFile": conda})
    environment = f"{platform.get('')['id']}/environments/planted/versions/1"
    answer = platform.submit("planted", "python -c 'import planted'", environmentId=environment)
    assert answer.status_code == 201, answer.text
    platform.wait_for("planted", "Completed", timeout_s=180)
    assert opened(platform, "connections/planted-feed")["credentials"] == {"pat": SECRET}
    endpoint = "onlineEndpoints/planted-scores"
    platform.put(endpoint, {"authMode": "Key", "keys": {"primaryKey": SECRET}}, location="local")
    answers = [
        platform.call("GET", path).text for path in (*paths, endpoint, "jobs/planted", "connections", "datastores")
    ]
    answers += [platform.call("GET", f"{path}/events").text for path in (*paths, endpoint)]
    assert not [one for one in answers if SECRET in one]
    assert Index.command_lines and not [one for one in Index.command_lines if SECRET in one]
    keys = {"gateway/desired.json", "gateway/rds/rds.json"}  # Envoy needs those of endpoints
    eventually(
        lambda: files_with(SECRET, platform, begun_s) == keys,
        "no other file to have it, not even while they are written",
    )


def files_with(text: str, platform: Platform, since_s: float) -> set[str]:
    """Of its root, and those of what was downloaded since then."""
    basic = base64.b64encode(f"__token__:{text}".encode())
    found: set[str] = set()
    for path in (*platform.files(), *files_below(CACHE)):
        with contextlib.suppress(FileNotFoundError):  # it is gone meanwhile
            if path.is_relative_to(CACHE) and path.stat().st_ctime < since_s:
                continue
            content = path.read_bytes()
            if text.encode() in content or basic in content:
                found.add(str(path.relative_to(platform.root if path.is_relative_to(platform.root) else CACHE)))
    return found


def plain_connection() -> dict[str, Any]:
    return {
        "category": "ApiKey",
        "authType": "ApiKey",
        "target": "https://service.example",
        "credentials": {"key": SECRET},
    }


def opened(platform: Platform, path: str) -> dict[str, Any]:
    answer = platform.call("POST", f"{path}/listSecrets", {})
    assert answer.status_code == 200, answer.text
    return answer.json()["properties"]
