"""What one request meets: keys and tokens, choice of the deployment, rewriting, limits, and the server behind it all."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from gateway_site import KEY, OTHER_KEY, Client, Site, endpoint, wait
from joserfc import jwt
from joserfc.jwk import RSAKey

from live.files import files_below
from live.patience import ANSWER_S
from smalt.arm.ids import workspace_id
from smalt.arm.ports import DeploymentRoute, EndpointRoute, Principal
from smalt.gateway.bootstrap import command
from smalt.settings import TENANT

MACHINE = Principal("oid-1", "someone", "servicePrincipal", TENANT, "client-1")
AUDIENCE = "https://ml.azure.smalt"
PLACE = workspace_id("s", "g", "one").key
GONE = Principal("gone-2", "gone", "servicePrincipal", TENANT)


@pytest.fixture(scope="module")
def serving(site: Site) -> Site:
    site.server()
    blue, green, shadow, busy = (site.replica(name)[0] for name in ("blue", "green", "shadow", "busy"))
    here = {"blue": [blue], "green": [green]}
    one_at_a_time = DeploymentRoute("blue", [busy], 60, max_concurrent=1)
    site.put(
        endpoint("split", {"blue": 90, "green": 10}, here),
        endpoint("idle", {"blue": 0}, here),
        endpoint("partly", {"blue": 20, "green": 20}, here),
        endpoint("empty", {}, {}),
        endpoint("mirrored", {"blue": 100}, {"blue": [blue], "shadow": [shadow]}, mirror={"shadow": 30}),
        endpoint("hasty", {"blue": 100}, {"blue": [blue]}, timeout_s=1.0),
        endpoint("signed", {"blue": 100}, here, keys=(), jwt_audience=f"{AUDIENCE} endpoint:signed"),
        endpoint("closed", {"blue": 100}, here, keys=()),
        endpoint("placed", {"blue": 100}, here, jwt_audience=AUDIENCE, workspace=PLACE),
        endpoint("left", {"blue": 100}, here, jwt_audience=AUDIENCE, ended=["gone-1", GONE.oid]),
        EndpointRoute("narrow", [KEY], {"blue": 100}, {}, [one_at_a_time]),
    )
    return site


@pytest.fixture
def client(serving: Site) -> Iterator[Client]:
    made = serving.client()
    yield made
    made.close()


def test_traffic_is_split_by_weight_and_the_answer_names_the_deployment(client: Client) -> None:
    answers = [client.score("split") for _ in range(3000)]
    assert {one.status for one in answers} == {200}
    assert all(one.json["name"] == one.headers["azureml-model-deployment"] for one in answers)
    share = sum(one.json["name"] == "green" for one in answers) / len(answers)
    assert 0.07 < share < 0.13  # five standard deviations


def test_traffic_of_less_than_100_percent_is_filled_up_in_proportion(client: Client) -> None:
    names = [client.score("partly").json["name"] for _ in range(400)]
    assert 120 < names.count("blue") < 280 and names.count("blue") + names.count("green") == 400


def test_a_header_chooses_the_deployment_and_an_unknown_name_is_told_which_exist(client: Client) -> None:
    assert {client.score("split", azureml_model_deployment="green").json["name"] for _ in range(30)} == {"green"}
    assert client.score("idle", azureml_model_deployment="blue").headers["azureml-model-deployment"] == "blue"
    wrong = client.score("split", azureml_model_deployment="red")
    assert wrong.status == 404 and wrong.headers["content-type"] == "application/json"
    assert "blue, green" in wrong.json["error"]["message"]
    assert client.score("empty", azureml_model_deployment="red").status == 404


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", KEY, f"Basic {KEY}", f"Bearer {KEY}x"]
)
def test_without_a_key_nothing_is_reached(client: Client, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for name in ("split", "idle", "empty", "closed", "signed"):
        for more in ({}, {"azureml-model-deployment": "blue"}, {"azureml-model-deployment": "red"}):
            answer = client.ask("POST", f"/endpoints/{name}/score", b"{}", **headers, **more)
            assert answer.status == 401, (name, more)
            assert answer.headers["www-authenticate"].startswith("Bearer ")
            assert answer.json["error"]["code"] == "Unauthorized"


def test_both_keys_open_and_an_endpoint_without_any_opens_to_nobody(client: Client) -> None:
    assert client.score("split", key=KEY).status == client.score("split", key=OTHER_KEY).status == 200
    assert client.score("closed", key=KEY).status == 401


def test_two_authorization_headers_do_not_open(serving: Site) -> None:
    context = ssl.create_default_context(cafile=str(serving.settings.tls / "bundle.pem"))
    connection = HTTPSConnection("localhost", serving.settings.port, context=context)
    connection.putrequest("GET", "/endpoints/split/score")
    connection.putheader("Authorization", "Bearer wrong")
    connection.putheader("Authorization", f"Bearer {KEY}")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_the_whole_subtree_is_rewritten_and_the_key_stays_at_the_gateway(client: Client) -> None:
    answer = client.score("split", "/swagger.json?version=3", Cookie="__Host-smalt-7443=session").json
    assert answer["target"] == "/swagger.json?version=3"
    assert not {"authorization", "cookie"} & set(answer["headers"])
    assert answer["headers"]["x-forwarded-proto"] == "https"
    assert client.ask("POST", "/ENDPOINTS/Split/score", b"", Authorization=f"Bearer {KEY}").status == 200
    assert client.ask("POST", "/endpoints/unknown/score", b"{}").json["error"]["code"] == "EndpointNotFound"
    assert client.ask("GET", "/endpoints/split").status == 404


def test_without_traffic_the_answer_says_what_to_do(client: Client) -> None:
    for name in ("idle", "empty"):
        answer = client.score(name)
        assert answer.status == 404 and "No valid deployments to route to" in answer.json["error"]["message"]


def test_a_token_opens_an_endpoint_that_asks_for_its_audience(serving: Site, client: Client) -> None:
    issue = serving.tokens.issue
    for audience in (AUDIENCE, AUDIENCE + "/", "endpoint:signed"):
        answer = client.score("signed", key=issue(MACHINE, audience, 600))
        assert answer.status == 200 and answer.headers["azureml-model-deployment"] == "blue"
    good = issue(MACHINE, AUDIENCE, 600)
    assert client.score("signed", key=good, azureml_model_deployment="green").json["name"] == "green"
    assert client.score("signed", key=good, azureml_model_deployment="red").status == 404
    assert client.score("split", key=good).status == 401  # an endpoint with keys takes keys only


def test_a_token_limited_to_another_workspace_does_not_open(serving: Site, client: Client) -> None:
    def status(scope: str) -> int:
        limited = replace(MACHINE, kind="job", scope=scope)
        return client.score("placed", key=serving.tokens.issue(limited, AUDIENCE, 600)).status

    for scope in ("", "/subscriptions/s", "/subscriptions/s/resourcegroups/g", PLACE):
        assert status(scope) == 200, scope
    for scope in (
        f"{PLACE}-two",
        f"{PLACE}/jobs/a",
        "/subscriptions/s/resourcegroups/other",
        "/subscriptions/s/resource",
    ):
        assert status(scope) == 403, scope
    assert client.score("placed").status == 200  # by key
    assert client.score("placed", key="wrong").status == 401


def test_the_tokens_of_an_identity_that_was_deleted_open_nothing(serving: Site, client: Client) -> None:
    issue = serving.tokens.issue
    refused = client.score("left", key=issue(GONE, AUDIENCE, 600))
    assert (refused.status, refused.json["error"]["code"]) == (401, "ExpiredAuthenticationToken")
    assert client.score("left", key=issue(MACHINE, AUDIENCE, 600)).status == 200
    assert client.score("left").status == 200  # by key
    assert client.score("left", key="wrong").status == 401


def test_wrong_tokens_do_not_open(serving: Site, client: Client) -> None:
    issue = serving.tokens.issue
    good = issue(MACHINE, AUDIENCE, 600)
    head, body, signature = good.split(".")
    claims = jwt.decode(good, RSAKey.import_key(serving.tokens.jwks()["keys"][0])).claims
    stranger = RSAKey.generate_key(2048)
    public = RSAKey.import_key(serving.tokens.jwks()["keys"][0])
    unsigned = "eyJhbGciOiJub25lIn0." + body + "."
    wrong = {
        "another audience": issue(MACHINE, "https://storage.azure.com", 600),
        "expired": issue(MACHINE, AUDIENCE, -120),
        "tampered": f"{head}.{body}.{signature[:-6]}abcdef",
        "unsigned": unsigned,
        "another key": jwt.encode({"alg": "RS256", "kid": public.kid}, claims, stranger),
        "another issuer": jwt.encode(
            {"alg": "RS256", "kid": public.kid}, claims | {"iss": "https://elsewhere"}, serving.tokens._keys[0]
        ),
    }
    refused = {why: client.score("signed", key=token).status for why, token in wrong.items()}
    assert refused == dict.fromkeys(wrong, 401)


def test_the_metadata_of_a_token_cannot_be_sent_by_a_client(client: Client) -> None:
    forged = {"aud": AUDIENCE, "claims": AUDIENCE, "envoy.filters.http.jwt_authn": AUDIENCE}
    assert client.ask("POST", "/endpoints/signed/score", b"{}", **forged).status == 401


def test_some_of_the_traffic_is_mirrored_and_never_answers(serving: Site, client: Client) -> None:
    seen = client.score("mirrored", azureml_model_deployment="shadow").json["seen"]
    assert {client.score("mirrored").json["name"] for _ in range(400)} == {"blue"}
    copies = 0

    def settled() -> bool:
        nonlocal copies
        now = client.score("mirrored", azureml_model_deployment="shadow").json["seen"]
        still, copies = now - seen == copies + 1, now - seen
        return still  # nothing but our own look came in since the last one

    wait(settled, 20)
    assert 60 < copies < 190  # 120 expected, and some looks


def test_a_slow_deployment_is_408_and_the_next_request_is_answered(client: Client) -> None:
    late = client.score("hasty", "/score?sleep=3")
    assert late.status == 408 and late.json["error"]["code"] == "RequestTimeout"
    assert late.headers["azureml-model-deployment"] == "blue"
    assert client.score("hasty").status == 200


def test_an_error_of_the_script_reaches_the_client_as_it_is(client: Client) -> None:
    for status in (424, 500, 503):
        answers = [client.score("split", f"/score?status={status}", azureml_model_deployment="blue") for _ in range(12)]
        assert {one.status for one in answers} == {status}
        assert answers[0].headers["azureml-model-deployment"] == "blue"
    assert client.score("split", azureml_model_deployment="blue").status == 200  # and the replica is still trusted


def test_more_than_can_wait_is_429_and_what_waits_is_answered(serving: Site, client: Client) -> None:
    """One replica, one request at a time: 1 in progress and 100 that wait are kept, the next is refused at once."""
    statuses: list[int] = []

    def ask() -> None:
        mine = serving.client()
        statuses.append(mine.score("narrow", "/score?hold=1").status)
        mine.close()

    threads = [threading.Thread(target=ask) for _ in range(101)]
    for thread in threads:
        thread.start()
    wait(lambda: "upstream_rq_active: 101" in serving.stat("cluster.narrow/blue/.*upstream_rq_active"))
    refused = client.score("narrow")
    assert refused.status == 429 and refused.json["error"]["code"] == "TooManyRequests"
    assert refused.headers["retry-after"] == "1"
    large = client.ask("POST", "/endpoints/narrow/score", b"x" * (50 << 20), Authorization=f"Bearer {KEY}")
    assert large.json["size"] == 50 << 20, "what the gateway refuses it does not read: it is the instance's to refuse"
    with socket.socket(socket.AF_UNIX) as direct:
        direct.connect(str(serving.settings.run / "busy.sock"))
        direct.sendall(b"GET /release HTTP/1.1\r\nHost: x\r\n\r\n")
        assert direct.recv(100).startswith(b"HTTP/1.1 200")
    for thread in threads:
        thread.join()
    assert statuses == [200] * 101


def test_the_server_gets_everything_else_as_it_was_sent(client: Client) -> None:
    odd = "/acct.blob.core.smalt/c/a//b/%2E%2E/x%2Fy?comp=block&sig=a%2Bb"
    answer = client.ask(
        "PUT", odd, b"12345", x_forwarded_host="evil.example", **{"x-ms-meta-upload_status": "completed"}
    ).json
    assert (answer["name"], answer["target"], answer["size"]) == ("server", odd, 5)
    assert answer["headers"]["x-ms-meta-upload_status"] == "completed"
    assert answer["headers"]["x-forwarded-host"] == answer["headers"]["host"]
    assert answer["headers"]["x-forwarded-proto"] == "https"
    assert "x-envoy-internal" not in answer["headers"]


def test_header_names_keep_their_case_on_the_way_to_the_server_and_back(client: Client) -> None:
    answer = client.ask("PUT", "/acct.blob.core.smalt/c/a", b"", **{"x-ms-meta-Owner": "me"})
    assert "x-ms-meta-Owner" in answer.json["spelled"]
    assert "X-Spelled-So" in answer.spelled


def test_http2_is_offered(serving: Site) -> None:
    url = f"{serving.settings.url}/x"
    bundle = str(serving.settings.tls / "ca.pem")
    asked = ["curl", "-s", "--http2", "--cacert", bundle, "-o", os.devnull, "-w", "%{http_version} %{http_code}", url]
    assert subprocess.run(asked, capture_output=True, text=True, timeout=ANSWER_S, check=True).stdout == "2 200"


def test_a_large_upload_streams_through_without_being_held(serving: Site) -> None:
    size, chunk = 300 << 20, b"x" * (1 << 20)
    assert serving.envoy is not None
    context = ssl.create_default_context(cafile=str(serving.settings.tls / "bundle.pem"))
    connection = HTTPSConnection("localhost", serving.settings.port, context=context)
    connection.putrequest("PUT", "/acct/c/large")
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    for _ in range(size // len(chunk)):
        connection.send(chunk)
    assert json.loads(connection.getresponse().read())["size"] == size
    connection.close()
    status = Path(f"/proc/{serving.envoy.pid}/status").read_text()
    peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak_kb < 200_000


def test_nothing_secret_is_logged_or_shown(serving: Site, client: Client) -> None:
    token = serving.tokens.issue(MACHINE, AUDIENCE, 600)
    client.score("signed", key=token)
    client.score("split", "/score?sig=QUERYSECRET")
    client.ask("GET", "/login?code=QUERYSECRET")
    log = serving.settings.logs / "access.log"
    wait(lambda: '"/login"' in log.read_text())
    written = log.read_text()
    for secret in (KEY, OTHER_KEY, token, token.split(".")[2], "QUERYSECRET"):
        assert secret not in written
    assert {"time", "status", "cluster", "path"} <= set(json.loads(written.splitlines()[0]))
    assert not any(secret in " ".join(command(serving.settings.envoy_bootstrap)) for secret in (KEY, OTHER_KEY))
    root = serving.settings.root
    private = [path for path in files_below(root) if KEY.encode() in path.read_bytes()]
    assert private and all(path.stat().st_mode & 0o077 == 0 for path in private)
    assert log.stat().st_mode & 0o077 == 0
    assert serving.settings.envoy_admin_socket.stat().st_mode & 0o077 == 0
