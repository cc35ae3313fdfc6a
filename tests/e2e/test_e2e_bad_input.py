"""Bad input through the platform's front door: each gets the right status, and a message that names the field."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from live.patience import ANSWER_S
from live.platform import GROUP, HOME, Platform, eventually
from live.tokens import container_sas, other_claims, raw_request, unsigned
from smalt.settings import STORAGE_SUFFIX

pytestmark = pytest.mark.e2e


def refused(answer: requests.Response, status: int, *words: str) -> dict[str, Any]:
    """The error of an ARM answer; each of `words` stands in its message or target."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
    error = answer.json()["error"]
    for word in words:
        assert word in f"{error['message']} {error.get('target')}", error
    return error


# jobs


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"computeId": f"{HOME}/computes/no-such-cluster"}, ["computeId", "no-such-cluster"]),
        ({"environmentId": f"{HOME}/environments/no-such-env/versions/1"}, ["environmentId", "no-such-env"]),
        ({"environmentId": f"{HOME}/environments/plain/versions/99"}, ["environmentId", "99"]),
        ({"inputs": {"it": {"jobInputType": "uri_folder", "uri": "azureml:no-such-data:1"}}}, ["inputs.it", "no-such-data"]),
        ({"inputs": {"it": {"jobInputType": "custom_model", "uri": "azureml:no-such-model:1"}}}, ["inputs.it", "no-such-model"]),
        ({"inputs": {"it": {"jobInputType": "uri_file", "uri": "file:///etc/passwd"}}}, ["inputs.it"]),
        ({"inputs": {"it": {"jobInputType": "no_type", "uri": "x"}}}, ["inputs.it", "no_type"]),
        ({"command": "echo ${{inputs.missing}}"}, ["command", "missing"]),
        ({"command": ""}, ["command"]),
        ({"command": {"x": 1}}, ["command"]),
        ({"resources": {"instanceCount": 0}}, ["instanceCount"]),
        ({"limits": {"timeout": "soon"}}, ["timeout"]),
        ({"outputs": {"it": {"jobOutputType": "uri_folder", "uri": "azureml://datastores/no-such-store/paths/x"}}}, ["outputs.it", "no-such-store"]),
    ],
)  # fmt: skip
def test_a_job_that_cannot_run_is_refused_with_the_fields_name(
    platform: Platform, properties: dict[str, Any], words: list[str]
) -> None:
    refused(platform.submit("wrong", **{"command": "true", **properties}), 400, *words)
    assert platform.call("GET", "jobs/wrong").status_code == 404


def test_everything_that_is_wrong_is_told_at_once(platform: Platform) -> None:
    answer = platform.submit(
        "wrong",
        "echo ${{inputs.missing}}",
        computeId=f"{HOME}/computes/no-such-cluster",
        inputs={"it": {"jobInputType": "uri_folder", "uri": "azureml:no-such-data:1"}},
    )
    error = refused(answer, 400, "no-such-cluster", "no-such-data", "missing")
    assert len(error["details"]) == 3, error


@pytest.mark.parametrize(
    "name", ["a%2Fb", "%2E%2E", "..%2F..%2Fetc", "x" * 300, "%00", "a%0Ab", "a%3Fb", "a%23b", "-", "ü" * 3, "模型"]
)
def test_a_name_that_cannot_be_is_refused(platform: Platform, name: str) -> None:
    before = platform.get("models")["value"]
    answer = platform.call("PUT", f"{HOME}/models/{name}/versions/1", {"properties": {"modelUri": "https://x/y"}})
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    assert platform.get("models")["value"] == before


def test_words_of_any_script_survive_a_round_trip(platform: Platform) -> None:
    text = "Größe 模型 \U0001f600 \u202e"
    platform.put("data/words/versions/1", {"dataUri": "https://x/y", "description": text, "tags": {text: text}})
    read = platform.get("data/words/versions/1")["properties"]
    assert read["description"] == text and read["tags"] == {text: text}


# bodies


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_body_that_is_no_object_is_a_400(platform: Platform, body: bytes) -> None:
    answer = requests.put(
        f"{platform.url}{HOME}/data/x/versions/1?api-version=1",
        data=body,
        verify=platform.ca,
        timeout=ANSWER_S,
        headers={"Authorization": f"Bearer {platform.token()}", "Content-Type": "application/json"},
    )
    refused(answer, 400)


@pytest.mark.parametrize("announced", [True, False], ids=["with its length", "in pieces"])
def test_a_body_of_100_megabytes_is_refused_and_the_server_goes_on(platform: Platform, announced: bool) -> None:
    size, server = 100 * 1024 * 1024, platform.pid("server")

    def pieces():
        for _ in range(100):
            yield b"x" * 1024 * 1024

    answer = requests.put(
        f"{platform.url}{HOME}/data/x/versions/1?api-version=1",
        data=b"x" * size if announced else pieces(),
        headers={"Authorization": f"Bearer {platform.token()}"},
        verify=platform.ca,
        timeout=ANSWER_S,
    )
    assert answer.status_code == 413, answer.text[:300]
    assert platform.get("")["name"] == "default" and platform.pid("server") == server


# tokens


def test_tokens_that_are_wrong_in_one_respect(platform: Platform) -> None:
    good, url = platform.token(), f"{platform.url}{HOME}?api-version=1"
    wrong = {
        "none at all": None,
        "another audience": platform.token("https://vault.azure.net"),
        "for storage": platform.token("https://storage.azure.com"),
        "unsigned": unsigned(good),
        "changed": other_claims(good, oid="somebody-else"),
        "longer": other_claims(good, exp=int(time.time()) + 10**9),
        "over": other_claims(good, exp=int(time.time()) - 10),
        "no token": "x.y.z",
        "huge": "a" * 50_000,
    }
    assert requests.get(url, headers={"Authorization": f"Bearer {good}"}, verify=platform.ca, timeout=ANSWER_S).ok
    for what, token in wrong.items():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = requests.get(url, headers=headers, verify=platform.ca, timeout=ANSWER_S)
        assert answer.status_code in ((401,) if what != "huge" else (400, 401, 431)), (what, answer.status_code)
        if answer.status_code == 401:
            assert "Bearer" in answer.headers.get("WWW-Authenticate", ""), what


def test_the_identity_endpoint_wants_its_header(platform: Platform) -> None:
    for headers in ({}, {"X-IDENTITY-HEADER": "guess"}):
        answer = requests.get(
            f"{platform.url}/msi/token",
            params={"api-version": "2019-08-01", "resource": platform.url},
            headers=headers,
            verify=platform.ca,
            timeout=ANSWER_S,
        )
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        f"/history/v1.0{HOME}/runs/x/details",
        f"/mlflow/v1.0{HOME}/api/2.0/mlflow/experiments/search",
        f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces",
        "/subscriptions",
    ],
)
def test_every_route_asks_for_a_token(platform: Platform, path: str) -> None:
    assert requests.get(f"{platform.url}{path}", verify=platform.ca, timeout=ANSWER_S).status_code == 401


# blobs


class Account:
    """The default workspace's account, through its key."""

    def __init__(self, platform: Platform) -> None:
        keys = platform.call("POST", "listKeys").json()
        self.key = keys["userStorageKey"]
        self.name = keys["userStorageResourceId"].rpartition("/")[2]
        self.url = f"{platform.url}/{self.name}.blob.{STORAGE_SUFFIX}"
        self.container = platform.get("datastores/workspaceblobstore")["properties"]["containerName"]
        self._ca = platform.ca

    def send(self, method: str, path: str, sas: str, **more: Any) -> requests.Response:
        headers = {"x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"}
        return requests.request(
            method, f"{self.url}/{path}?{sas}", headers=headers, verify=self._ca, timeout=ANSWER_S, **more
        )


@pytest.fixture(scope="module")
def account(platform: Platform) -> Account:
    return Account(platform)


def test_signatures_that_are_wrong_in_one_respect(account: Account) -> None:
    blob = f"{account.container}/signed.txt"
    good = container_sas(account.name, account.key, account.container)
    assert account.send("PUT", blob, good, data=b"kept").status_code == 201
    reading = container_sas(account.name, account.key, account.container, "r")
    assert account.send("GET", blob, reading).content == b"kept"
    wrong = {
        "over": container_sas(account.name, account.key, account.container, minutes=-1),
        "for another container": container_sas(account.name, account.key, "azureml"),
        "only for reading": reading,
        "with more rights written into it": reading.replace("sp=r&", "sp=rwd&"),
        "longer": reading.replace("se=2", "se=3").replace("sp=r&", "sp=rw&"),
        "of another key": container_sas(account.name, "b3RoZXI=", account.container),
        "without": "",
    }
    for what, sas in wrong.items():
        answer = account.send("PUT", blob, sas, data=b"overwritten")
        assert answer.status_code in (401, 403), (what, answer.status_code, answer.text[:200])
        assert account.send("DELETE", blob, sas).status_code in (401, 403), what
    assert account.send("GET", blob, reading).content == b"kept"


@pytest.mark.parametrize(
    "name", ["../escaped.txt", "a/../../escaped.txt", "%2e%2e/escaped.txt", "..%2fescaped.txt", "/etc/escaped.txt", "a/%2e%2e/%2e%2e/%2e%2e/escaped.txt"]
)  # fmt: skip
def test_a_path_that_climbs_out_of_a_container_writes_nothing(platform: Platform, account: Account, name: str) -> None:
    sas = container_sas(account.name, account.key, account.container)
    target = f"/{account.name}.blob.{STORAGE_SUFFIX}/{account.container}/{name}?{sas}"
    head = f"PUT {target} HTTP/1.1\r\nx-ms-version: 2021-12-02\r\nx-ms-blob-type: BlockBlob\r\nContent-Length: 3"
    status, _ = raw_request(platform.port, Path(platform.ca), head, b"out")
    container = platform.root / "blobs" / account.name / account.container
    outside = [one for one in platform.files() if one.name == "escaped.txt" and container not in one.parents]
    assert not outside, outside
    assert not Path("/etc/escaped.txt").exists()
    if status == 201:  # taken as an ordinary name below the container
        assert list(container.rglob("escaped.txt"))
        return
    assert status in (400, 403, 404), status


@pytest.mark.parametrize(
    "name", ["x" * 300, "a/" * 300 + "b", "ü模\U0001f600.txt", "a b+c%.txt", "semi;colon&and=x.txt"]
)
def test_unusual_blob_names_are_kept_or_refused_cleanly(account: Account, name: str) -> None:
    sas = container_sas(account.name, account.key, account.container)
    path = f"{account.container}/{quote(name)}"
    answer = account.send("PUT", path, sas, data=b"here")
    assert answer.status_code in (201, 400), (answer.status_code, answer.text[:200])
    if answer.status_code == 201:
        assert account.send("GET", path, sas).content == b"here"


def test_a_link_that_a_job_left_behind_leads_nowhere(platform: Platform, account: Account) -> None:
    secret = platform.root / "secrets" / "msi"
    made = platform.submit(
        "linker", f"ln -s {secret} outputs/link; ln -s {secret.parent} outputs/folder; echo ok > outputs/ok"
    )
    assert made.status_code == 201, made.text
    eventually(lambda: platform.job("linker")["status"] in ("Completed", "Failed"), "the job's end")
    sas = container_sas(account.name, account.key, "azureml")
    base = "azureml/ExperimentRun/dcid.linker/outputs"
    assert account.send("GET", f"{base}/ok", sas).content == b"ok\n"
    for name in ("link", "folder/msi"):
        answer = account.send("GET", f"{base}/{name}", sas)
        assert secret.read_bytes() not in answer.content
        assert answer.status_code in (400, 403, 404), (name, answer.status_code)


# endpoints


def test_a_client_that_looks_for_a_registry_is_told_that_there_is_none(platform: Platform) -> None:
    path = "/registrymanagement/v1.0/registries/ours/discovery"
    refused(platform.call("GET", path), 404, "Registries", "azureml")
    assert requests.get(platform.url + path, verify=platform.ca, timeout=ANSWER_S).status_code == 401


def test_traffic_that_cannot_be(platform: Platform) -> None:
    assert platform.call("PUT", "onlineEndpoints/lonely", {"location": "local", "properties": {"authMode": "Key"}}).ok
    for traffic in ({"blue": 70, "green": 70}, {"blue": 100}, {"blue": -1}, {"blue": "x"}, {"blue": 50}):
        answer = platform.call(
            "PUT",
            "onlineEndpoints/lonely",
            {"location": "local", "properties": {"authMode": "Key", "traffic": traffic}},
        )
        assert answer.status_code in (400, 409), (traffic, answer.status_code)
        if answer.status_code == 400:
            assert "traffic" in answer.text or "blue" in answer.text, answer.text
    platform.call("DELETE", "onlineEndpoints/lonely")


def test_a_log_is_readable_within_a_second_of_the_print(platform: Platform) -> None:
    """The client itself looks only every few seconds; this is the service's part."""
    assert platform.submit("live", "while :; do date +%s.%N; sleep 0.6; done").status_code == 201
    late: list[float] = []
    while len(late) < 5 or (
        len(late) < 50 and sorted(late[-5:])[2] >= 1
    ):  # by the median, while the machine is at rest
        said = eventually(lambda: len(log := platform.job_log("live").split()) > len(late) and log, "a print")
        late.append(time.time() - float(said[len(late)]))
    assert sorted(late[-5:])[2] < 1, late
    platform.call("POST", "jobs/live/cancel")
    platform.wait_for("live", "Canceled")
