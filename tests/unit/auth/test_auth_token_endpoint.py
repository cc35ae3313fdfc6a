"""The token endpoint as clients ask it: what each refusal looks like to MSAL, and that nothing becomes a 500."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import uuid
from dataclasses import replace
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from joserfc import jwt
from joserfc.jwk import RSAKey
from sqlalchemy import update
from starlette.applications import Starlette

from live.tokens import other_claims
from smalt.arm.cloud import metadata
from smalt.auth.client_certificates import new_certificate
from smalt.auth.federation import DEFAULT_AUDIENCE, FederatedCredential
from smalt.auth.identities import Identities
from smalt.auth.identity_headers import IdentityHeaders
from smalt.auth.login import Login
from smalt.auth.oauth import JWT_BEARER
from smalt.auth.sessions import Sessions
from smalt.auth.tokens import TokenService
from smalt.settings import TENANT, Settings
from smalt.store.database import Database
from smalt.store.tables import identity

ARM = "https://localhost:7443"
TOKEN = "/adfs/oauth2/v2.0/token"


class Site:
    def __init__(self, settings: Settings, database: Database, clock: Any) -> None:
        self.clock = clock
        self.tokens = TokenService(settings, clock)
        self.identities = Identities(settings, database, clock)
        self.headers = IdentityHeaders(settings, clock)
        login = Login(settings, self.tokens, self.identities, self.headers, Sessions(settings, database, clock), clock)
        self._app = Starlette(routes=login.routes())

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """An exception of the server's is the test's."""

        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url=ARM) as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def ask(self, path: str = TOKEN, **fields: str) -> Any:
        """As MSAL asks, with all that it adds."""
        usual = {
            "grant_type": "client_credentials",
            "scope": f"{ARM}/.default",
            "client_info": "1",
            "claims": '{"access_token": {"xms_cc": {"values": ["CP1"]}}}',
        }
        return self.request("POST", path, data={name: value for name, value in (usual | fields).items() if value})

    def refusal(self, status: int, code: int, **fields: str) -> str:
        """The words of a refusal that has the shape which MSAL reads."""
        answer = self.ask(**fields)
        body = answer.json()
        assert (answer.status_code, body["error_codes"]) == (status, [code]), body
        assert body["error_description"].startswith(f"AADSTS{code}: ") and body["error"]
        assert answer.headers["cache-control"] == "no-store"
        return body["error_description"]

    def principal(self, answer: Any, audience: str = ARM) -> str:
        assert answer.status_code == 200, answer.text
        assert answer.json()["token_type"] == "Bearer" and answer.json()["expires_in"] == 3600
        return self.tokens.verify(answer.json()["access_token"], [audience]).name


@pytest.fixture
def site(settings: Settings, database: Database, clock: Any) -> Site:
    return Site(settings, database, clock)


def assertion(key: RSAKey, claims: dict[str, Any], **header: Any) -> dict[str, str]:
    made = jwt.encode({"alg": "RS256", **header}, claims, key, algorithms=["RS256"])
    return {"client_assertion": made, "client_assertion_type": JWT_BEARER}


def test_a_secret(site: Site) -> None:
    made = site.identities.create_service_principal("ci", lifetime_s=100)
    good = {"client_id": made.identity.client_id, "client_secret": made.secret}
    assert site.principal(site.ask(**good)) == "ci"
    assert site.principal(site.ask(**good, scope=f"{ARM}//.default"), f"{ARM}/") == "ci"
    assert site.principal(site.ask(**good, scope="", resource="https://graph"), "https://graph") == "ci"
    assert "ci" not in site.refusal(401, 7000215, **good | {"client_secret": "wrong"})
    site.refusal(401, 7000215, **good | {"client_secret": "\udc80".encode("utf-8", "surrogatepass").decode("latin-1")})
    assert "not found" in site.refusal(401, 700016, **good | {"client_id": str(uuid.uuid4())})
    site.refusal(401, 7000218, **good | {"client_secret": ""})
    site.refusal(400, 900144, **good | {"client_id": ""})
    site.refusal(400, 1002012, **good, scope=f"{ARM}/user_impersonation")
    site.refusal(400, 1002012, **good, scope=f"{ARM}/.default https://x/.default")
    site.refusal(400, 70003, **good, grant_type="password")
    site.clock.now += 100
    assert "expired" in site.refusal(401, 7000222, **good)
    site.identities.delete("ci")
    site.refusal(401, 700016, **good)


def test_a_certificate(site: Site) -> None:
    certificate, content = new_certificate("ci", 1e6, site.clock.now)
    key = RSAKey.import_key(content[: content.index(b"-----BEGIN CERT")])
    client_id = site.identities.create_with_certificate("ci", certificate).client_id
    x5t = base64.urlsafe_b64encode(certificate.certificate.fingerprint(hashes.SHA1())).decode()
    claims = {"iss": client_id, "sub": client_id, "exp": site.clock.now + 600, "aud": f"{ARM}{TOKEN}"}
    good = assertion(key, claims | {"jti": "1"}, x5t=x5t)
    assert site.principal(site.ask(client_id=client_id, **good)) == "ci"
    assert "works once" in site.refusal(401, 50027, client_id=client_id, **good)
    assert site.principal(site.ask(client_id=client_id, **good, scope="https://g/.default"), "https://g") == "ci"
    expired = assertion(key, claims | {"jti": "2", "exp": site.clock.now - 61}, x5t=x5t)
    site.refusal(401, 700024, client_id=client_id, **expired)
    elsewhere = assertion(key, claims | {"jti": "3", "aud": "https://login.microsoftonline.com/"}, x5t=x5t)
    site.refusal(401, 700023, client_id=client_id, **elsewhere)
    foreign = assertion(RSAKey.generate_key(2048), claims | {"jti": "4"}, x5t="AAAA")
    assert "'000000'" in site.refusal(401, 700027, client_id=client_id, **foreign)
    fresh = assertion(key, claims | {"jti": "5"}, x5t=x5t)
    other = site.identities.create("other").client_id
    site.refusal(401, 700021, client_id=other, **fresh)
    site.refusal(400, 50027, client_id=client_id, **fresh | {"client_assertion_type": "saml"})
    site.identities.delete("ci")
    site.refusal(401, 700016, client_id=client_id, **fresh)


def test_a_federated_token_works_again_as_the_azure_cli_keeps_it(site: Site) -> None:
    key = RSAKey.generate_key(2048, auto_kid=True)
    client_id = site.identities.create("ci").client_id
    trusted = FederatedCredential("https://issuer", "repo", (DEFAULT_AUDIENCE,), {"keys": [key.as_dict(private=False)]})
    site.identities.federate("ci", trusted)
    claims = {"iss": "https://issuer", "sub": "repo", "aud": DEFAULT_AUDIENCE, "exp": site.clock.now + 600, "jti": "1"}
    good = assertion(key, claims, kid=key.kid)
    for _ in range(2):
        assert site.principal(site.ask(client_id=client_id, **good)) == "ci"
    site.refusal(401, 70021, client_id=client_id, **assertion(key, claims | {"sub": "other"}, kid=key.kid))
    unprintable = good | {"client_assertion": other_claims(good["client_assertion"], sub="\ud800\x1b[31m")}
    assert "Subject: '?" in site.refusal(401, 70021, client_id=client_id, **unprintable)
    site.refusal(401, 50013, client_id=client_id, **assertion(RSAKey.generate_key(2048), claims, kid=key.kid))
    site.clock.now += 661
    site.refusal(401, 700024, client_id=client_id, **good)


ODD_HEADERS: list[dict[str, Any]] = [
    {"crit": 5}, {"crit": ["x"]}, {"crit": [{}]}, {"b64": False, "crit": ["b64"]}, {"kid": 5}, {"kid": {}}, {"typ": 5},
    {"x5c": {}}, {"x5c": [1]}, {"x5c": "é"}, {"x5t": 1}, {"x5t": "é"}, {"x5t#S256": []}, {"jwk": {}}, {"x5u": 1},
    {"alg": []}, {"alg": {}}, {"alg": None}, {"alg": "none"}, {"alg": "ES256"}, {"zip": "DEF"}, {"enc": "A128GCM"},
]  # fmt: skip
ODD_CLAIMS: list[dict[str, Any]] = [
    {"aud": {}}, {"aud": [[]]}, {"exp": "x"}, {"exp": 10**500}, {"nbf": 10**500}, {"nbf": {}}, {"iss": {}},
    {"iss": [], "sub": []}, {"iss": None, "sub": None}, {"jti": {}},
]  # fmt: skip


@pytest.mark.parametrize("signature", ["", "AAAA", "é"])
def test_assertions_of_no_sense_are_refused_like_others(site: Site, signature: str) -> None:
    certificate, _ = new_certificate("signer", 1e6, site.clock.now)
    signer, trusting = (
        site.identities.create_with_certificate("signer", certificate),
        site.identities.create("trusting"),
    )
    key = RSAKey.generate_key(2048, auto_kid=True)
    trusted = FederatedCredential("https://issuer", "repo", (DEFAULT_AUDIENCE,), {"keys": [key.as_dict(private=False)]})
    site.identities.federate("trusting", trusted)
    x5t = encoded(certificate.certificate.fingerprint(hashes.SHA1()))
    own = {"iss": signer.client_id, "sub": signer.client_id, "aud": ARM + TOKEN, "exp": site.clock.now + 60, "jti": "1"}
    other = {"iss": "https://issuer", "sub": "repo", "aud": DEFAULT_AUDIENCE, "exp": site.clock.now + 60}
    for client_id, head, body in (
        (signer.client_id, {"alg": "RS256", "x5t": x5t}, own),
        (trusting.client_id, {"alg": "RS256", "kid": key.kid}, other),
    ):
        odd = [*((one, {}) for one in ODD_HEADERS), *(({}, one) for one in ODD_CLAIMS)]
        made = [f"{encoded(head | one)}.{encoded(body | two)}.{signature}" for one, two in odd]
        for one in [*made, ".", "..", "a.b.c.d", "e30.e30.e30.e30.e30", "\0", "é.é.é"]:
            answer = site.ask(client_id=client_id, client_assertion=one, client_assertion_type=JWT_BEARER)
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), one


def encoded(part: Any) -> str:
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "tenant", [TENANT, "72f988bf-86f1-41af-91ab-2d7cd011db47", "contoso.onmicrosoft.com", "common", "Organizations"]
)
def test_a_tenant_of_elsewhere_is_this_platform(site: Site, tenant: str) -> None:
    made = site.identities.create_service_principal("ci")
    good = {"client_id": made.identity.client_id, "client_secret": made.secret}
    path = site.get(f"/adfs/{tenant}/v2.0/.well-known/openid-configuration").json()["token_endpoint"]
    assert site.principal(site.ask(path.removeprefix(ARM), **good)) == "ci"


@pytest.mark.parametrize("tenant", ["nonsense", "a b", "x..y", "%27%22", "-", "00000000-0000-0000-0000-00000000000"])
def test_what_no_tenant_is_called_is_refused_everywhere(site: Site, tenant: str) -> None:
    for base in (f"/adfs/{tenant}", f"/adfs/{tenant}/v2.0"):
        answer = site.get(f"{base}/.well-known/openid-configuration")
        assert (answer.status_code, answer.json()["error_codes"]) == (400, [900023])
    answer = site.ask(f"/adfs/{tenant}/oauth2/v2.0/token", client_id="x", client_secret="x")
    assert (answer.status_code, answer.json()["error_codes"]) == (400, [900023])


def test_no_refusal_logs_what_was_sent(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = site.identities.create_service_principal("ci")
    client_id = made.identity.client_id
    site.ask(client_id=client_id, client_secret=made.secret)
    site.ask(client_id=client_id, client_secret="s3cret-that-is-wrong")
    site.ask(client_id=client_id, client_assertion="s3cret.assertion.x", client_assertion_type=JWT_BEARER)
    said = "\n".join(f"{one.getMessage()} {one.exc_info}" for one in caplog.records)
    assert made.secret not in said and "s3cret" not in said


def test_the_clouds_that_each_client_expects(site: Site, settings: Settings) -> None:
    listed = site.get("/metadata/endpoints").json()
    assert [one["name"] for one in listed] == ["Smalt", "AzureCloud"]  # first whom clients take that have no choice
    assert listed[1] == {**listed[0], "name": "AzureCloud"}
    assert listed[0]["authentication"]["audiences"][0] == listed[0]["resourceManager"] == ARM
    assert site.get("/metadata/endpoints?api-version=2019-05-01").json() == listed
    one = site.get("/metadata/endpoints?api-version=2022-09-01").json()
    assert one["authentication"] == listed[0]["authentication"] | {"identityProvider": "AAD", "tenant": "common"}
    assert {**one, "authentication": None} == {**listed[0], "authentication": None}
    assert json.loads(metadata(settings)) == listed[:1]  # for tasks, which have no AZURE_CLOUD_NAME


def test_a_managed_identity_is_the_one_that_was_asked_for(site: Site) -> None:
    made = site.identities.create("reader", "managedIdentity", "/ws")

    def ask(**which: str) -> Any:
        query = {"api-version": "2019-08-01", "resource": ARM} | which
        return site.get("/msi/token", params=query, headers={"X-IDENTITY-HEADER": site.headers.owner()})

    owner = site.identities.owner
    for which, oid in (
        ({}, owner.oid),
        ({"client_id": made.client_id}, made.oid),
        ({"object_id": made.oid}, made.oid),
        ({"object_id": owner.oid}, owner.oid),
    ):
        token = ask(**which).json()["access_token"]
        assert site.tokens.verify(token, [ARM]).oid == oid
    resource_id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
    for which in ({"mi_res_id": resource_id}, {"msi_res_id": resource_id}, {"client_id": str(uuid.uuid4())}):
        answer = ask(**which)
        assert answer.status_code == 400 and "No managed identity" in answer.json()["message"]
    site.identities.delete(made.oid)
    assert ask(client_id=made.client_id).status_code == 400


def test_a_token_of_a_user_assigned_identity_knows_the_job_with_which_it_ends(site: Site, database: Database) -> None:
    made = site.identities.create("trainer", "managedIdentity", "/ws")
    with database.write() as connection:
        connection.execute(update(identity).where(identity.c.oid == made.oid).values(kind="assignedIdentity"))
    one = replace(made.principal, kind="assignedIdentity")
    lent = site.headers.mint(one, 7200, "job:oid:/ws/jobs/a")
    for header, holder in ((lent, "job:oid:/ws/jobs/a"), (site.headers.owner(), "")):
        query = {"api-version": "2019-08-01", "resource": ARM, "client_id": one.client_id}
        answer = site.get("/msi/token", params=query, headers={"X-IDENTITY-HEADER": header}).json()
        assert site.tokens.verify(answer["access_token"], [ARM]) == replace(one, holder=holder)
        assert int(answer["expires_in"]) <= 3600
