"""The official credentials against our login routes, over TLS, with nothing but environment variables."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette

from smalt.arm.ports import Principal
from smalt.auth.certificates import ensure_certificates
from smalt.auth.client_certificates import new_certificate
from smalt.auth.federation import DEFAULT_AUDIENCE, FederatedCredential
from smalt.auth.identities import Identities
from smalt.auth.identity_headers import IdentityHeaders
from smalt.auth.login import Login
from smalt.auth.login_links import LoginLinks
from smalt.auth.owner import derived_principal
from smalt.auth.sessions import Sessions
from smalt.auth.tokens import TokenService
from smalt.settings import TENANT, Settings
from smalt.store.database import Database
from smalt.store.tables import metadata

ELSEWHERE = "72f988bf-86f1-41af-91ab-2d7cd011db47"  # a tenant that a user's code may have written down
SCRIPT = """
import sys
from azure.identity import *
print(eval(sys.argv[1]).get_token(*sys.argv[2:]).token)
"""


@dataclass
class Platform:
    settings: Settings
    tokens: TokenService
    identities: Identities
    headers: IdentityHeaders

    def environment(self, **more: str) -> dict[str, str]:
        bundle = str(self.settings.tls / "bundle.pem")
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        trusted = {"REQUESTS_CA_BUNDLE": bundle, "SSL_CERT_FILE": bundle}
        return kept | trusted | {"AZURE_AUTHORITY_HOST": f"{self.settings.url}/adfs"} | more

    def credential(self, expression: str, *scopes: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, expression, *scopes],
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def principal(self, expression: str, scope: str, audience: str, **variables: str) -> Principal:
        done = self.credential(expression, scope, **variables)
        assert done.returncode == 0, done.stderr[-2000:]
        return self.tokens.verify(done.stdout.strip(), [audience])

    def owner_variables(self) -> dict[str, str]:
        return {"IDENTITY_ENDPOINT": f"{self.settings.url}/msi/token", "IDENTITY_HEADER": self.headers.owner()}

    def http(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.settings.tls / "bundle.pem"))
        return httpx.Client(base_url=self.settings.url, verify=context)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    settings = Settings(tmp_path_factory.mktemp("auth") / "root", "localhost", listening.getsockname()[1])
    made = ensure_certificates(settings)
    database = Database(settings.database)
    with database.write() as connection:
        metadata.create_all(connection)
    tokens, identities, headers = TokenService(settings), Identities(settings, database), IdentityHeaders(settings)
    login = Login(settings, tokens, identities, headers, Sessions(settings, database))
    config = uvicorn.Config(
        Starlette(routes=login.routes()),
        ssl_keyfile=made.server_key,
        ssl_certfile=str(made.server),
        log_level="warning",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield Platform(settings, tokens, identities, headers)
    server.should_exit = True
    thread.join()
    listening.close()
    database.close()


def test_managed_identity_is_the_owner(platform: Platform) -> None:
    url = platform.settings.url
    for expression in ("ManagedIdentityCredential()", "DefaultAzureCredential()"):
        found = platform.principal(expression, f"{url}/.default", url, **platform.owner_variables())
        assert found == platform.identities.owner and found.kind == "owner"


def test_double_slashes_of_a_scope_are_kept(platform: Platform) -> None:
    url = platform.settings.url
    found = platform.principal(
        "ManagedIdentityCredential()", f"{url}//.default", f"{url}/", **platform.owner_variables()
    )
    assert found.kind == "owner"


def test_azure_mls_own_style_of_managed_identity(platform: Platform) -> None:
    variables = {"MSI_ENDPOINT": f"{platform.settings.url}/msi/token", "MSI_SECRET": platform.headers.owner()}
    found = platform.principal("DefaultAzureCredential()", "https://x/.default", "https://x", **variables)
    assert found.kind == "owner"


def test_a_job_has_an_identity_of_its_own_that_ends_with_it(platform: Platform) -> None:
    job = derived_principal(platform.identities.owner, "job", "/ws/jobs/a", "a", "/ws")
    variables = platform.owner_variables() | {"IDENTITY_HEADER": platform.headers.mint(job, 90)}
    done = platform.credential("DefaultAzureCredential()", "https://storage.azure.com/.default", **variables)
    token = done.stdout.strip()
    assert platform.tokens.verify(token, ["https://storage.azure.com"]) == job
    assert time.time() < claims_of(token)["exp"] <= time.time() + 91
    again = platform.principal(
        f"ManagedIdentityCredential(client_id={job.client_id!r})", "https://x/.default", "https://x", **variables
    )
    assert again == job
    owner = platform.identities.owner
    stolen = platform.credential(
        f"ManagedIdentityCredential(client_id={owner.client_id!r})", "https://x/.default", **variables
    )
    assert stolen.returncode != 0 and "No managed identity" in stolen.stderr and "leave the id out" in stolen.stderr


def test_the_owner_may_use_a_managed_identity_by_its_client_id(platform: Platform) -> None:
    made = platform.identities.create("reader", "managedIdentity", "/ws")
    expression = f"ManagedIdentityCredential(client_id={made.client_id!r})"
    found = platform.principal(expression, "https://x/.default", "https://x", **platform.owner_variables())
    assert found == made.principal and found.scope == "/ws"


def test_a_job_acts_on_behalf_of_whoever_submitted_it(platform: Platform) -> None:
    owner, url = platform.identities.owner, platform.settings.url
    key = platform.headers.mint(owner, 7200, "job:oid:/ws/jobs/a")
    credential = "__import__('azure.ai.ml.identity', fromlist=['x']).AzureMLOnBehalfOfCredential()"
    lent = {"OBO_ENDPOINT": f"{url}/obo/token?key={key}"}
    done = platform.credential(credential, f"{url}/.default", **lent)
    assert done.returncode == 0, done.stderr[-2000:]
    token = done.stdout.strip()
    assert platform.tokens.verify(token, [url]) == owner and claims_of(token)["exp"] <= time.time() + 3601
    own = platform.headers.mint(derived_principal(owner, "job", "/ws/jobs/a", "a", "/ws"), 90)
    for wrong in ("", "wrong", own, platform.headers.owner()):
        more = {"OBO_ENDPOINT": f"{url}/obo/token?key={wrong}"}
        with platform.http() as client:
            assert client.get(more["OBO_ENDPOINT"], params={"key": wrong, "resource": url}).status_code == 401
    with platform.http() as client:
        assert client.get("/obo/token", params={"key": key, "resource": ""}).status_code == 400
    nothing = platform.credential(credential, f"{url}/.default")
    assert nothing.returncode != 0 and "not available in this environment" in nothing.stderr


def test_a_wrong_identity_header_gets_nothing(platform: Platform) -> None:
    variables = platform.owner_variables() | {"IDENTITY_HEADER": "wrong"}
    done = platform.credential("ManagedIdentityCredential()", "https://x/.default", **variables)
    assert done.returncode != 0 and "missing, wrong" in done.stderr
    assert not done.stdout.strip()


@pytest.mark.parametrize("tenant", [TENANT, ELSEWHERE])
def test_a_service_principal_with_its_secret(platform: Platform, tenant: str) -> None:
    made = platform.identities.create_service_principal(f"ci-{tenant}")
    client_id, url = made.identity.client_id, platform.settings.url
    direct = f"ClientSecretCredential({tenant!r}, {client_id!r}, {made.secret!r})"
    assert platform.principal(direct, f"{url}//.default", f"{url}/") == made.identity.principal
    variables = {"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": client_id, "AZURE_CLIENT_SECRET": made.secret}
    found = platform.principal("DefaultAzureCredential()", "https://x/.default", "https://x", **variables)
    assert found == made.identity.principal


def test_a_service_principal_with_a_wrong_or_rotated_secret(platform: Platform) -> None:
    made = platform.identities.create_service_principal("rotated")
    platform.identities.rotate("rotated")
    expression = f"ClientSecretCredential({TENANT!r}, {made.identity.client_id!r}, {made.secret!r})"
    done = platform.credential(expression, "https://x/.default")
    assert done.returncode != 0 and "AADSTS7000215" in done.stderr


def test_workload_identity_with_a_federated_token(platform: Platform, tmp_path: Path) -> None:
    key = RSAKey.generate_key(2048, auto_kid=True)
    client_id = platform.identities.create("workload").client_id
    jwks = {"keys": [key.as_dict(private=False)]}
    platform.identities.federate("workload", FederatedCredential("https://issuer", "pod", (DEFAULT_AUDIENCE,), jwks))
    path = tmp_path / "token"
    variables = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": client_id, "AZURE_FEDERATED_TOKEN_FILE": str(path)}
    claims = {"iss": "https://issuer", "sub": "pod", "aud": DEFAULT_AUDIENCE, "exp": int(time.time()) + 300}
    path.write_text(jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key))
    for expression in ("WorkloadIdentityCredential()", "DefaultAzureCredential()"):
        assert platform.principal(expression, "https://x/.default", "https://x", **variables).name == "workload"
    path.write_text(jwt.encode({"alg": "RS256", "kid": key.kid}, claims | {"sub": "other"}, key))
    done = platform.credential("WorkloadIdentityCredential()", "https://x/.default", **variables)
    assert done.returncode != 0 and "AADSTS70021" in done.stderr


@pytest.mark.parametrize("options", ["", ", send_certificate_chain=True"])
def test_a_service_principal_with_its_certificate(platform: Platform, tmp_path: Path, options: str) -> None:
    certificate, content = new_certificate("signer", 86_400, time.time())
    made = platform.identities.create_with_certificate(f"signer{options}", certificate)
    path, url = tmp_path / "signer.pem", platform.settings.url
    path.write_bytes(content)
    direct = f"CertificateCredential({TENANT!r}, {made.client_id!r}, {str(path)!r}{options})"
    assert platform.principal(direct, f"{url}//.default", f"{url}/") == made.principal
    # MSAL sends one assertion for all that a process asks for within nine minutes
    both = f"[one.get_token('https://{{}}/.default'.format(x)) for one in [{direct}] for x in 'xy'][-1]"
    done = platform.credential(f"type('Last', (), {{'get_token': lambda self, *_: {both}}})()", "unused")
    assert done.returncode == 0, done.stderr
    assert platform.tokens.verify(done.stdout.strip(), ["https://y"]) == made.principal
    variables = {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": made.client_id,
        "AZURE_CLIENT_CERTIFICATE_PATH": str(path),
    }
    if not options:
        found = platform.principal("DefaultAzureCredential()", "https://x/.default", "https://x", **variables)
        assert found == made.principal
    platform.identities.delete(made.oid)
    refused = platform.credential(direct, "https://x/.default")
    assert refused.returncode != 0 and "AADSTS700016" in refused.stderr


def test_azure_ai_ml_finds_this_cloud_in_the_metadata(platform: Platform) -> None:
    url = platform.settings.url
    script = (
        "from azure.ai.ml import _azure_environments as e\n"
        "c = e._get_cloud_details()\n"
        "print(e._get_base_url_from_metadata(), c['active_directory'], c['storage_endpoint'],"
        " e._get_aml_resource_id_from_metadata())"
    )
    variables = {"ARM_CLOUD_METADATA_URL": f"{url}/metadata/endpoints", "AZUREML_CURRENT_CLOUD": "Smalt"}
    environment = platform.environment(**variables)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    login = f"{url}/adfs".replace("localhost", "127.0.0.1")
    assert done.stdout.split() == [url, login, "core.smalt", "https://ml.azure.smalt"], done.stderr


def post(client: httpx.Client, path: str = f"/adfs/{TENANT}/oauth2/v2.0/token", **fields: Any) -> httpx.Response:
    return client.post(path, data={"grant_type": "client_credentials", "scope": "https://x/.default"} | fields)


def test_oauth_errors_are_oauths(platform: Platform) -> None:
    made = platform.identities.create_service_principal("errors")
    good = {"client_id": made.identity.client_id, "client_secret": made.secret}
    with platform.http() as client:
        cases: list[tuple[dict[str, Any], int, str]] = [
            ({"client_id": "nobody", "client_secret": "x"}, 401, "invalid_client"),
            ({"client_id": made.identity.client_id}, 401, "invalid_client"),
            ({"client_secret": made.secret}, 400, "invalid_request"),
            (good | {"grant_type": "password"}, 400, "unsupported_grant_type"),
            (good | {"grant_type": ["client_credentials", "x"]}, 400, "invalid_request"),
            (good | {"scope": "openid"}, 400, "invalid_scope"),
            (good | {"scope": "https://x/.default https://y/.default"}, 400, "invalid_scope"),
            (good | {"scope": "/.default"}, 400, "invalid_scope"),
            ({"client_id": good["client_id"], "client_assertion": "x"}, 400, "invalid_request"),
            (good | {"padding": "x" * 70_000}, 413, "invalid_request"),
        ]
        for fields, status, error in cases:
            answer = post(client, **fields)
            assert (answer.status_code, answer.json()["error"]) == (status, error), fields
            assert answer.json()["error_description"] and answer.headers["cache-control"] == "no-store"
        broken = client.post(
            f"/adfs/{TENANT}/oauth2/token", content=b"\xff\xfe", headers={"content-type": "text/plain"}
        )
        assert (broken.status_code, broken.json()["error"]) == (400, "invalid_request")
        answer = post(client, f"/adfs/{TENANT}/oauth2/token", **good, scope="", resource="https://x/")
        assert platform.tokens.verify(answer.json()["access_token"], ["https://x/"]).name == "errors"
        basic = client.post(
            f"/adfs/{TENANT}/oauth2/v2.0/token",
            data={"grant_type": "client_credentials", "scope": "https://x/.default"},
            auth=(made.identity.client_id, made.secret),
        )
        assert basic.status_code == 200
        for path in ("authorize", "devicecode"):
            answer = client.post(f"/adfs/{TENANT}/oauth2/v2.0/{path}", data={})
            assert answer.status_code == 400 and "managed identity" in answer.json()["error_description"]


def test_discovery_leads_to_keys_that_verify_our_tokens(platform: Platform) -> None:
    owner = platform.identities.owner
    token = platform.tokens.issue(owner, "https://x", 60)
    with platform.http() as client:
        for base in ("/adfs", f"/adfs/{TENANT}", f"/adfs/{TENANT}/v2.0", f"/adfs/{ELSEWHERE}"):
            document = client.get(f"{base}/.well-known/openid-configuration").json()
            keys = client.get(document["jwks_uri"]).json()["keys"]
            claims = jwt.decode(token, RSAKey.import_key(keys[0])).claims
            assert claims["iss"] == document["issuer"] and claims["oid"] == owner.oid


def test_the_managed_identity_endpoint_says_what_is_wrong(platform: Platform) -> None:
    good = {"X-IDENTITY-HEADER": platform.headers.owner()}
    query = {"api-version": "2019-08-01", "resource": "https://x"}
    with platform.http() as client:
        answer = client.get("/msi/token", params=query, headers=good)
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
        assert answer.json()["token_type"] == "Bearer" and answer.json()["resource"] == "https://x"
        assert abs(int(answer.json()["expires_on"]) - time.time() - 86_400) < 30
        assert client.get("/msi/token", params=query).status_code == 401
        assert client.get("/msi/token", params=query, headers={"secret": platform.headers.owner()}).status_code == 401
        for missing in ("api-version", "resource"):
            rest = {name: value for name, value in query.items() if name != missing}
            assert client.get("/msi/token", params=rest, headers=good).status_code == 400
        assert client.post("/msi/token", params=query, headers=good).status_code == 405


def test_a_login_link_opens_once_and_leads_home(platform: Platform) -> None:
    links = LoginLinks(platform.settings)
    with platform.http() as client:
        url = links.mint("/studio?tab=jobs")
        answer = client.get(url)
        assert answer.status_code == 303 and answer.headers["location"] == "/studio?tab=jobs"
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"__Host-smalt-{platform.settings.port}=") and "HttpOnly" in cookie
        assert client.get(url).status_code == 403
        for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x"):
            answer = client.get(links.mint().replace("/login?", "/login?next=" + elsewhere.replace("\\", "%5C") + "&"))
            assert answer.status_code == 303 and answer.headers["location"] == "/"
        assert client.get("/login").status_code == 403
        client.cookies.clear()
        assert client.post("/logout").status_code == 403
        headers = {"Cookie": cookie.split(";")[0], "Origin": platform.settings.url}
        assert "Max-Age=0" in client.post("/logout", headers=headers).headers["set-cookie"]


def test_metadata_is_cheap_and_open(platform: Platform) -> None:
    with platform.http() as client:
        cloud = client.get("/metadata/endpoints?api-version=2019-05-01").json()[0]
    assert cloud["resourceManager"] == platform.settings.url and cloud["name"] == "Smalt"


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
