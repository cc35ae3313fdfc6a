"""Signatures, keys and tokens: what they open, and that nothing else does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from azure.storage.blob import generate_account_sas, generate_blob_sas, generate_container_sas

from fakes.signatures import HOUR, container_sas, past, soon
from smalt.arm.errors import ArmError, unauthorized
from smalt.arm.ports import Principal
from smalt.blob.accounts.sas import account_text, service_text, sign
from smalt.blob.names import is_blob_request, parse_target
from smalt.blob.server import BlobApp


@pytest.mark.parametrize("account", ["acct", "acct.blob.core.smalt"])
def test_the_official_clients_signatures_open(rig, account):
    rig.put("a", b"1")
    for sas in (
        generate_account_sas(account, rig.key, "sco", "rl", soon()),
        container_sas(rig, account=account, start=past()),
        generate_blob_sas(account, "data", "a", account_key=rig.key, permission="r", expiry=soon()),
    ):
        assert rig.request("GET", "a", auth=sas).status == 200


@pytest.mark.parametrize(
    "version", ["2014-02-14", "2015-04-05", "2018-03-28", "2019-12-12", "2020-12-06", "2021-12-02", "2025-11-05"]
)
def test_all_versions_of_the_string_to_sign(rig, version):
    key = rig.accounts.keys("acct")[0]
    query = {"sv": version, "sp": "r", "se": "2099-01-01T00:00:00Z", "sr": "c"}
    rig.put("a")
    sign_service = sign(key, service_text("acct", "data", "a", query))
    account = {"sv": version, "ss": "b", "srt": "o", "sp": "r", "se": "2099-01-01T00:00:00Z"}
    sign_account = sign(key, account_text("acct", account))
    for parameters, signature in ((query, sign_service), (account, sign_account)):
        text = "&".join(f"{name}={value}" for name, value in parameters.items())
        assert rig.request("GET", "a", auth=f"{text}&sig={signature.replace('+', '%2B')}").status == 200


def test_the_string_to_sign_is_the_clients(rig):
    seen: list[str] = []
    expiry = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    generate_container_sas(
        "acct",
        "data",
        rig.key,
        permission="rl",
        expiry=expiry,
        ip="1.2.3.4",
        protocol="https",
        content_type="text/csv",
        sts_hook=seen.append,
    )
    version = seen[0].split("\n")[7]
    query = {
        "sp": "rl",
        "se": "2030-01-02T03:04:05Z",
        "sip": "1.2.3.4",
        "spr": "https",
        "sr": "c",
        "sv": version,
        "rsct": "text/csv",
    }
    assert service_text("acct", "data", "", query) == seen[0]


def test_expired_early_tampered_and_foreign_are_403(rig):
    rig.put("a")
    good = container_sas(rig)
    wrong = {
        "expired": container_sas(rig, expiry=past()),
        "early": container_sas(rig, start=soon(), expiry=soon() + HOUR),
        "other container": container_sas(rig, container="other"),
        "other account": container_sas(rig, account="other"),
        "tampered permissions": good.replace("sp=rwdl", "sp=racwdl"),
        "tampered expiry": good.replace("se=20", "se=21"),
        "tampered signature": good.replace("sig=", "sig=A"),
        "no expiry": "sv=2023-11-03&sr=c&sp=r&sig=AAAA",
        "no version": "sr=c&sp=r&se=2099-01-01T00:00:00Z&sig=AAAA",
        "user delegation": good + "&skoid=1",
        "not a date": good.replace("se=", "se=x"),
    }
    for what, sas in wrong.items():
        answer = rig.request("GET", "a", auth=sas)
        assert (answer.status, answer.code) == (403, "AuthenticationFailed"), what
    assert rig.request("GET", "a", auth=good).status == 200


def test_a_remembered_signature_still_expires_and_dies_with_its_key(rig):
    rig.put("a")
    sas = container_sas(rig)
    assert rig.request("GET", "a", auth=sas).status == 200
    access = rig.app._access
    access._clock = lambda: datetime.now(UTC).timestamp() + 7200
    assert rig.request("GET", "a", auth=sas).status == 403
    access._clock = lambda: datetime.now(UTC).timestamp()
    rig.accounts.account_keys.regenerate("acct", "key1")
    assert rig.request("GET", "a", auth=sas).status == 403


def test_permissions_are_those_of_the_signature(rig):
    rig.put("a")
    block = {"x-ms-blob-type": "BlockBlob"}
    tries = {
        "r": [("GET", "a", "", {}), ("HEAD", "a", "", {})],
        "w": [("PUT", "a", "", block), ("PUT", "a", "comp=metadata", {}), ("PUT", "a", "comp=properties", {})],
        "c": [("PUT", "new", "", block)],
        "l": [("GET", "", "restype=container&comp=list", {})],
        "d": [("DELETE", "a", "", {})],
    }
    for held in "rwcld":
        for needed, requests in tries.items():
            for method, name, query, headers in requests:
                answer = rig.request(method, name, query, headers, auth=container_sas(rig, held))
                allowed = held == needed or (held == "w" and needed == "c")
                assert (answer.status < 300) == allowed, (held, method, query)
                if not allowed:
                    assert (answer.status, answer.code) == (403, "AuthorizationPermissionMismatch")
                rig.request("DELETE", "new")
                rig.put("a")


def test_create_is_not_overwrite(rig):
    rig.put("a", b"before")
    answer = rig.request("PUT", "a", headers={"x-ms-blob-type": "BlockBlob"}, body=b"x", auth=container_sas(rig, "c"))
    assert answer.code == "AuthorizationPermissionMismatch"
    assert rig.get("a").body == b"before"


def test_scopes_of_signatures(rig):
    rig.put("a")
    rig.put("b")
    one = generate_blob_sas("acct", "data", "a", account_key=rig.key, permission="rwdl", expiry=soon())
    assert rig.request("GET", "b", auth=one).status == 403
    assert rig.request("GET", query="restype=container&comp=list", auth=one).status == 403
    container = container_sas(rig)
    assert rig.request("GET", query="comp=list", container="", auth=container).status == 403
    assert rig.request("DELETE", query="restype=container", auth=container).status == 403
    objects = generate_account_sas("acct", rig.key, "o", "rwdl", soon())
    listed = rig.request("GET", query="restype=container&comp=list", auth=objects)
    assert listed.code == "AuthorizationResourceTypeMismatch"
    assert rig.request("GET", "a", auth=objects).status == 200


def test_protocol_and_address(rig):
    rig.put("a")
    assert rig.request("GET", "a", auth=container_sas(rig, protocol="https")).code == "AuthorizationProtocolMismatch"
    https = {"x-forwarded-proto": "https"}
    assert rig.request("GET", "a", headers=https, auth=container_sas(rig, protocol="https")).status == 200
    assert rig.request("GET", "a", auth=container_sas(rig, ip="10.0.0.1")).code == "AuthorizationSourceIPMismatch"
    assert rig.request("GET", "a", auth=container_sas(rig, ip="127.0.0.0-127.0.0.9")).status == 200


def test_response_headers_of_a_signature(rig):
    rig.put("a", b"1", content_type="text/plain")
    got = rig.request("GET", "a", auth=container_sas(rig, content_type="text/csv", content_disposition="attachment"))
    assert (got.headers["content-type"], got.headers["content-disposition"]) == ("text/csv", "attachment")


def test_without_credentials_there_is_a_challenge(rig):
    answer = rig.request("GET", "a", auth="")
    assert (answer.status, answer.code) == (401, "NoAuthenticationInformation")
    assert "resource_id=https://storage.azure.com" in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "authorization",
    [
        "SharedKey acct:AAAA",
        "SharedKey other:AAAA",
        "SharedKey acct",
        "SharedKeyLite acct:AAAA",
        "Basic YTpi",
        "Bearer x",
        "nonsense",
    ],
)
def test_wrong_authorization_headers(rig, authorization):
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    answer = rig.request("GET", "a", headers={"authorization": authorization, "x-ms-date": date}, auth="")
    assert answer.status in (400, 403)


@pytest.mark.parametrize("date", ["Sun, 22 Nov 2026 01:02:03 +99999999999999999", "Sun, 99 Nov 2026", "soon"])
def test_a_date_that_is_none_is_refused(rig, date):
    rig.put("a")
    shared = rig.request("GET", "a", headers={"authorization": "SharedKey acct:AAAA", "x-ms-date": date}, auth="")
    condition = rig.request("GET", "a", headers={"if-modified-since": date})
    assert [(one.status, one.code) for one in (shared, condition)] == [(400, "InvalidHeaderValue")] * 2


class OneToken:
    """A token service that knows one token for storage."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal

    def issue(self, principal: Principal, audience: str, lifetime_s: float) -> str:
        raise AssertionError("blobs never issue tokens")

    def verify(self, token: str, audiences) -> Principal:
        if token != "good" or "https://storage.azure.com" not in audiences:
            raise unauthorized("The token is not valid.")
        return self.principal


def test_bearer_tokens(rig):
    rig.put("a", b"1")
    principal = Principal("oid", "me", "owner", "tenant")
    rig.app = BlobApp(rig.service, OneToken(principal))
    assert rig.request("GET", "a", headers={"authorization": "Bearer good"}, auth="").body == b"1"
    bad = rig.request("GET", "a", headers={"authorization": "Bearer bad"}, auth="")
    assert (bad.status, bad.code) == (401, "InvalidAuthenticationInfo")
    job = replace(principal, kind="job")
    rig.app = BlobApp(rig.service, OneToken(job), lambda who, target, method: who.kind != "job" or method == "GET")
    headers = {"authorization": "Bearer good", "x-ms-blob-type": "BlockBlob"}
    assert rig.request("GET", "a", headers=headers, auth="").status == 200
    assert rig.request("PUT", "a", headers=headers, auth="").status == 403


def test_no_secret_is_logged_or_told(rig, caplog):
    caplog.set_level(logging.DEBUG)
    sas = container_sas(rig)
    signature = sas.partition("sig=")[2]

    def fail(*_):
        raise RuntimeError("broken")

    rig.service.store.head = fail
    answer = rig.request("HEAD", "a", auth=sas)
    assert (answer.status, answer.code) == (500, "InternalError")
    answer = rig.request("GET", "a", auth=sas.replace("sp=r", "sp=x"))
    assert signature not in answer.body.decode()
    assert "blob request failed" in caplog.text
    assert signature not in caplog.text
    assert rig.key not in caplog.text


def test_the_ports_own_signatures(rig):
    rig.put("a", b"1")
    for sas in (
        rig.port.sas("acct", "r", 60, "data", "a"),
        rig.port.sas("acct", "r", 60, "data"),
        rig.port.sas("acct", "r", 60),
    ):
        assert rig.request("GET", "a", auth=sas).status == 200
        assert rig.request("DELETE", "a", auth=sas).status == 403
    assert rig.request("GET", "a", auth=rig.port.sas("acct", "r", -1, "data")).status == 403
    with pytest.raises(ArmError):
        rig.port.sas("nobody", "r", 60)


def test_which_requests_are_for_blobs():
    def scope(path: str, host: str = "localhost:1") -> dict:
        return {"type": "http", "path": path, "raw_path": path.encode(), "headers": [(b"host", host.encode())]}

    assert is_blob_request(scope("/acct.blob.core.smalt/c/b"))
    assert is_blob_request(scope("/acct.blob.core.smalt"))
    assert is_blob_request(scope("/c/b", "acct.blob.core.smalt:7443"))
    assert not is_blob_request(scope("/subscriptions/1"))
    assert not is_blob_request(scope("/x/acct.blob.core.smalt/c"))
    assert not is_blob_request(scope("/acct.blob.core.smaltx/c"))
    assert not is_blob_request({"type": "lifespan"})
    path, host = (
        parse_target("/acct.blob.core.smalt/c/b%20c/d", "h"),
        parse_target("/c/b%20c/d", "acct.blob.core.smalt:1"),
    )
    assert path == host
    assert (path.account, path.container, path.blob) == ("acct", "c", "b c/d")


def test_the_port_lists_and_removes(rig):
    for name in ("job/a", "job/b/c", "job2/a"):
        rig.put(name, b"12")
    listed = list(rig.port.list("acct", "data", "job/"))
    assert [(one.name, one.size) for one in listed] == [("job/a", 2), ("job/b/c", 2)]
    rig.put("job/a", b"34")
    again = list(rig.port.list("acct", "data", "job/"))
    assert again[0].etag != listed[0].etag and again[1] == listed[1]
    rig.port.remove("acct", "data", "job")
    assert [one.name for one in rig.port.list("acct", "data", "")] == ["job2/a"]
    rig.port.remove("acct", "data", "nothing/here")
    rig.port.remove("acct", "data", "")
    assert list(rig.port.list("acct", "data", "")) == []
    rig.port.ensure_container("acct", "data")
    assert rig.put("again").status == 201


def test_accounts_are_made_once(rig):
    assert rig.port.ensure_account("acct") == rig.key
    assert rig.port.ensure_account("another") != rig.key
    with pytest.raises(ArmError):
        rig.port.ensure_account("Not/Valid")


def test_an_event_loop_is_free_while_large_bodies_are_written(rig):
    """While a large upload is half done, small requests are answered."""

    async def both() -> int:
        gate = asyncio.Event()
        sent: list[int] = []
        pieces = iter([b"x" * (2 << 20), b"x" * (2 << 20)])

        async def receive() -> dict:
            piece = next(pieces)
            if len(sent) == 0:
                sent.append(1)
                return {"type": "http.request", "body": piece, "more_body": True}
            await gate.wait()
            return {"type": "http.request", "body": piece, "more_body": False}

        statuses: list[int] = []

        async def send(message: dict) -> None:
            statuses.append(message.get("status", 0))

        headers = {"host": "h", "x-ms-blob-type": "BlockBlob", "content-length": str(4 << 20)}
        scope = {
            "type": "http",
            "method": "PUT",
            "path": "/acct.blob.core.smalt/data/big",
            "raw_path": b"/acct.blob.core.smalt/data/big",
            "query_string": rig.sas.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "scheme": "http",
            "client": None,
        }
        upload = asyncio.create_task(rig.app(scope, receive, send))
        small = await rig._call("GET", "/acct.blob.core.smalt/data/nope", rig.sas, {"host": "h"}, [b""], False)
        assert small.status == 404
        assert not upload.done()
        gate.set()
        await upload
        return statuses[0]

    assert rig.loop.run_until_complete(both()) == 201


def test_half_a_body_of_who_is_refused_is_not_waited_for(rig, monkeypatch):
    monkeypatch.setattr("smalt.blob.server._DISCARD_S", 0.05)
    sent = []

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/acme.blob.core.smalt/c/a",
        "raw_path": b"/acme.blob.core.smalt/c/a",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-length", b"100"), (b"x-ms-version", b"2021-12-02")],
    }
    asyncio.run(asyncio.wait_for(rig.app(scope, receive, send), 5))
    assert sent[0]["type"] == "http.response.start" and sent[0]["status"] in (401, 403, 404)
