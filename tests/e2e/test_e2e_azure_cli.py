"""Microsoft's `az` against a started platform: each login that needs no person, and what it says of one that is refused."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import RSAKey

from live.azure_cli import AzureCli, no_way_out
from live.marks import Marks
from live.patience import ANSWER_S
from live.platform import API, HOME, Platform, eventually
from smalt.auth.client_certificates import new_certificate
from smalt.settings import STORAGE_AUDIENCE, SUBSCRIPTION, TENANT

pytestmark = pytest.mark.e2e
ISSUER, SUBJECT, AUDIENCE = "https://ci.example", "repo:bank/churn", "api://AzureADTokenExchange"


@pytest.fixture
def az(platform: Platform, tmp_path: Path) -> Iterator[AzureCli]:
    """In a configuration of its own. Nothing leaves this machine."""
    with no_way_out() as (proxies, came):
        yield AzureCli.new(tmp_path / "azure", {**platform.variables, **proxies})
    assert not came


@pytest.fixture
def principal(platform: Platform, tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """Makes service principals as their user does, and removes them."""
    made: list[str] = []

    def make(*options: str) -> dict[str, str]:
        name = f"az-{uuid.uuid4().hex[:8]}"
        done = platform.smalt("sp", "create", name, *options, "--json")
        assert done.returncode == 0, done.stderr
        made.append(name)
        return json.loads(done.stdout)

    yield make
    for name in made:
        platform.smalt("sp", "delete", name)


def login(client_id: str, *credential: str) -> tuple[str, ...]:
    return ("login", "--service-principal", "-u", client_id, "--tenant", TENANT, *credential)


def opens(platform: Platform, token: str) -> int:
    """The status of a request for the workspace with that token."""
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{platform.url}{HOME}?api-version={API}"
    return requests.get(url, headers=headers, verify=platform.ca, timeout=ANSWER_S).status_code


def check_tokens(platform: Platform, az: AzureCli) -> None:
    """Of a CLI that is logged in: one for this platform, which works, and one for another resource."""
    token = az("account", "get-access-token")
    assert token["tenant"] == TENANT and opens(platform, token["accessToken"]) == 200
    assert time.time() < token["expires_on"] <= time.time() + 86_400
    other = az("account", "get-access-token", "--resource", STORAGE_AUDIENCE)
    assert opens(platform, other["accessToken"]) == 401


def check_account(az: AzureCli, client_id: str) -> None:
    shown = az("account", "show")
    assert (shown["user"]["name"], shown["user"]["type"]) == (client_id, "servicePrincipal")
    assert (shown["environmentName"], shown["id"], shown["tenantId"]) == ("Smalt", SUBSCRIPTION, TENANT)
    assert shown["isDefault"]
    assert [one["id"] for one in az("account", "list")] == [SUBSCRIPTION]


def test_the_managed_identity(platform: Platform, az: AzureCli) -> None:
    assert "No managed identity" in az.refused("login", "--identity", "--client-id", str(uuid.uuid4()))
    assert "missing, wrong" in az.with_(IDENTITY_HEADER="wrong").refused("login", "--identity")
    (account,) = az("login", "--identity")
    assert account["user"] == {
        "assignedIdentityInfo": "MSI",
        "name": "systemAssignedIdentity",
        "type": "servicePrincipal",
    }
    assert (account["environmentName"], account["tenantId"]) == ("Smalt", TENANT)
    check_tokens(platform, az)


def test_a_secret_until_its_principal_is_deleted(platform: Platform, az: AzureCli, principal: Any) -> None:
    made = principal()
    client_id = made["AZURE_CLIENT_ID"]
    assert "AADSTS7000215" in az.refused(*login(client_id, "-p", "wrong"))
    assert "AADSTS700016" in az.refused(*login(str(uuid.uuid4()), "-p", "wrong"))
    az(*login(client_id, "-p", made["AZURE_CLIENT_SECRET"]))
    check_account(az, client_id)
    check_tokens(platform, az)
    token = az("account", "get-access-token")["accessToken"]
    platform.smalt("sp", "delete", client_id)
    eventually(lambda: opens(platform, token) == 401, "the token to open nothing", pause_s=0.1)
    assert "AADSTS700016" in az.refused("account", "get-access-token", "--resource", "https://vault.smalt")


@pytest.mark.parametrize("options", [(), ("--use-cert-sn-issuer",)])  # the latter brings the certificate along
def test_a_certificate(platform: Platform, az: AzureCli, principal: Any, tmp_path: Path, options: Any) -> None:
    path, foreign = tmp_path / "own.pem", tmp_path / "foreign.pem"
    foreign.write_bytes(new_certificate("foreign", 86_400, time.time())[1])
    client_id = principal("--create-cert", str(path))["AZURE_CLIENT_ID"]
    assert "AADSTS700027" in az.refused(*login(client_id, "--certificate", str(foreign), *options))
    az(*login(client_id, "--certificate", str(path), *options))
    check_account(az, client_id)
    check_tokens(platform, az)


def test_a_federated_token(platform: Platform, az: AzureCli, principal: Any, tmp_path: Path) -> None:
    key = RSAKey.generate_key(2048, auto_kid=True)
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    client_id = principal("--issuer", ISSUER, "--subject", SUBJECT, "--jwks", str(jwks))["AZURE_CLIENT_ID"]

    def token(**changes: Any) -> tuple[str, str]:
        claims = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, "exp": int(time.time()) + 600} | changes
        return "--federated-token", jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)

    assert "AADSTS70021" in az.refused(*login(client_id, *token(sub="repo:other")))
    assert "AADSTS700024" in az.refused(*login(client_id, *token(exp=int(time.time()) - 61)))
    az(*login(client_id, *token()))
    check_account(az, client_id)
    check_tokens(platform, az)  # the CLI sends the token again


def test_steps_that_insist_on_azures_cloud(platform: Platform, az: AzureCli, principal: Any) -> None:
    """As the GitHub action `azure/login` goes: the name in lower case, then the login."""
    made = principal()
    az("cloud", "set", "-n", "azurecloud")
    clouds = {one["name"]: one for one in az("cloud", "list")}
    assert clouds.keys() == {"Smalt", "AzureCloud"}
    assert clouds["Smalt"]["isActive"] and not clouds["AzureCloud"]["isActive"]
    assert {one["endpoints"]["resourceManager"] for one in clouds.values()} == {platform.url}
    az(*login(made["AZURE_CLIENT_ID"], "-p", made["AZURE_CLIENT_SECRET"]))
    check_account(az, made["AZURE_CLIENT_ID"])


REDIRECTED: Mapping[str, Any] = {
    "registered": lambda url: ("register", "-n", "mine", "--endpoint-resource-manager", url),
    "updated": lambda url: (
        "update", "-n", "AzureCloud", "--endpoint-resource-manager", url, "--endpoint-active-directory", f"{url}/adfs",
        "--endpoint-active-directory-resource-id", url,
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", REDIRECTED)
def test_a_cloud_without_the_variables(platform: Platform, az: AzureCli, principal: Any, way: str) -> None:
    made = principal()
    bare = az.with_(ARM_CLOUD_METADATA_URL="", AZURE_CLOUD_NAME="")
    bare("cloud", *REDIRECTED[way](platform.url))
    name = "mine" if way == "registered" else "AzureCloud"
    if way == "registered":
        bare("cloud", "set", "-n", name)
    bare(*login(made["AZURE_CLIENT_ID"], "-p", made["AZURE_CLIENT_SECRET"]))
    assert bare("account", "show")["environmentName"] == name
    assert opens(platform, bare("account", "get-access-token")["accessToken"]) == 200


def test_groups_resources_and_tags(az: AzureCli) -> None:
    """What `az` does above workspaces."""
    az("login", "--identity")
    (account,) = az("account", "list")
    assert account["state"] == "Enabled"
    name = f"rg-{uuid.uuid4().hex[:8]}"
    assert az("group", "exists", "-n", name) is False
    made = az("group", "create", "-n", name, "-l", "local", "--tags", f"team={name}")
    assert made["properties"]["provisioningState"] == "Succeeded" and az("group", "exists", "-n", name) is True
    assert [one["name"] for one in az("group", "list", "--tag", f"team={name}")] == [name]
    kind = "Microsoft.MachineLearningServices/workspaces"
    (workspace,) = [one["id"] for one in az("resource", "list", "--resource-type", kind) if one["id"] == HOME]
    shown = az("resource", "tag", "--ids", workspace, "--tags", "owner=ada", "--api-version", API)
    assert shown["tags"]["owner"] == "ada"
    assert az("resource", "show", "--ids", workspace, "--api-version", API)["tags"] == shown["tags"]
    assert "Microsoft.MachineLearningServices" in [one["namespace"] for one in az("provider", "list")]
    assert "ResourceGroupNotFound" in az.refused("group", "show", "-n", f"{name}-no")
    az("group", "delete", "-n", name, "--yes")
    assert az("group", "exists", "-n", name) is False


def test_metrics_of_a_job(platform: Platform, az: AzureCli) -> None:
    az("login", "--identity")
    job = f"measured-{uuid.uuid4().hex[:8]}"
    marks = Marks(platform.shared())
    assert platform.submit(job, marks.command).status_code == 201
    marks.wait_until_running(platform, job)
    resource, name = f"{HOME}/jobs/{job}", "CpuMemoryUtilizationMegabytes"
    assert name in [
        one["name"]["value"] for one in az("monitor", "metrics", "list-definitions", "--resource", resource)
    ]

    def seen() -> list[float]:
        shown = az("monitor", "metrics", "list", "--resource", resource, "--metric", name, "--aggregation", "Average")
        return [
            one["average"] for line in shown["value"][0]["timeseries"] for one in line["data"] if one.get("average")
        ]

    assert eventually(seen, "what it uses")[0] > 0
    marks.assert_once(platform, job)
