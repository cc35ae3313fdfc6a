from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from smalt.arm.errors import ArmError
from smalt.auth.federation import FederatedCredential
from smalt.auth.identities import Identities
from smalt.auth.owner import derived_principal, owner_principal
from smalt.settings import Settings
from smalt.store.database import Database

ISSUER, SUBJECT, AUDIENCE = "https://issuer.example", "repo:a/b:ref:refs/heads/main", "api://AzureADTokenExchange"
RESOURCE = "https://localhost:7443"


@pytest.fixture
def identities(settings: Settings, database: Database, clock: Any) -> Identities:
    return Identities(settings, database, clock)


def refused(status: int, call: Any, *arguments: Any) -> ArmError:
    with pytest.raises(ArmError) as caught:
        call(*arguments)
    assert caught.value.status == status
    return caught.value


def test_a_service_principal_signs_in_with_its_secret_until_that_ends(identities: Identities, clock: Any) -> None:
    made = identities.create_service_principal("ci", "/Subscriptions/S/", lifetime_s=100)
    principal = identities.sign_in(made.identity.client_id, made.secret)
    assert (principal.kind, principal.name, principal.scope) == ("servicePrincipal", "ci", "/subscriptions/s")
    assert principal.oid == made.identity.oid != principal.client_id
    for wrong in ("", made.secret + "x", made.secret[:-1], "\udc80", made.secret.upper()):
        assert "AADSTS7000215" in refused(401, identities.sign_in, made.identity.client_id, wrong).message
    assert "AADSTS700016" in refused(401, identities.sign_in, made.identity.oid, made.secret).message
    clock.now += 101
    assert "AADSTS7000222" in refused(401, identities.sign_in, made.identity.client_id, made.secret).message


def test_the_secret_itself_is_nowhere_on_disk(identities: Identities, settings: Settings) -> None:
    made = identities.create_service_principal("ci")
    files = [path for path in settings.root.rglob("*") if path.is_file()]
    assert files and not any(made.secret.encode() in path.read_bytes() for path in files)


def test_rotating_ends_the_old_secret_and_deleting_ends_all(identities: Identities) -> None:
    first = identities.create_service_principal("ci")
    client_id = first.identity.client_id
    second = identities.rotate("ci")
    assert identities.sign_in(client_id, second.secret).name == "ci"
    refused(401, identities.sign_in, client_id, first.secret)
    assert [one.name for one in identities.list()] == ["ci"]
    identities.delete(client_id)
    refused(401, identities.sign_in, client_id, second.secret)
    refused(404, identities.delete, "ci")
    assert identities.list() == []


def test_names_are_checked_and_unique(identities: Identities) -> None:
    identities.create("ci")
    assert "rotate" in refused(409, identities.create, "ci").message
    for wrong in ("", " x", "x\n", "x" * 121):
        refused(400, identities.create, wrong)
    refused(400, identities.create, "x", "owner")
    refused(400, identities.rotate, identities.create("m", "managedIdentity", "/s").oid)


def test_a_managed_identity_is_no_service_principal(identities: Identities) -> None:
    made = identities.create("one", "managedIdentity", "/subscriptions/S/WS/")
    assert made.scope == "/subscriptions/s/ws"
    assert identities.list("managedIdentity") == [made] and identities.list() == []


def test_the_owner_stays_the_same_and_jobs_have_identities_of_their_own(settings: Settings) -> None:
    owner = owner_principal(settings)
    assert owner_principal(settings) == owner and owner.kind == "owner" and owner.scope == ""
    one = derived_principal(owner, "job", "/WS/jobs/A", "A", "/WS")
    assert one == derived_principal(owner, "job", "/ws/jobs/a", "A", "/ws/")
    assert one.oid != derived_principal(owner, "job", "/ws/jobs/b", "b", "/ws").oid
    assert one.oid != derived_principal(owner, "endpoint", "/ws/jobs/a", "A", "/ws").oid


def assertion(key: Any, algorithm: str, clock: Any, **changes: Any) -> str:
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, "exp": clock.now + 300, "nbf": clock.now} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": key.kid}, claims, key, algorithms=[algorithm])


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSAKey.generate_key(2048), "RS256"), (ECKey.generate_key("P-256"), "ES256")]
)
@pytest.mark.parametrize("in_file", [False, True])
def test_a_federated_token_signs_in(
    identities: Identities, settings: Settings, clock: Any, key: Any, algorithm: str, in_file: bool
) -> None:
    key.ensure_kid()
    jwks: Any = {"keys": [key.as_dict(private=False)]}
    if in_file:
        path = settings.root / "jwks.json"
        path.write_text(json.dumps(jwks))
        jwks = str(path)
    client_id = identities.create("ci").client_id
    identities.federate("ci", FederatedCredential(ISSUER, SUBJECT, (AUDIENCE,), jwks))
    assert identities.sign_in_with_assertion(client_id, assertion(key, algorithm, clock), RESOURCE).name == "ci"
    assert (
        identities.sign_in_with_assertion(
            client_id, assertion(key, algorithm, clock, aud=["x", AUDIENCE]), RESOURCE
        ).name
        == "ci"
    )


def test_a_federated_token_that_does_not_fit_is_refused_with_the_reason(
    identities: Identities, clock: Any, sign_with_public_key: Any
) -> None:
    key = RSAKey.generate_key(2048, auto_kid=True)
    stranger = RSAKey.generate_key(2048, {"kid": key.kid})
    client_id = identities.create("ci").client_id
    jwks = {"keys": [key.as_dict(private=False)]}
    good = assertion(key, "RS256", clock)
    assert "AADSTS70021" in refused(401, identities.sign_in_with_assertion, client_id, good, RESOURCE).message
    identities.federate("ci", FederatedCredential(ISSUER, SUBJECT, (AUDIENCE,), jwks))
    _, body, _ = good.split(".")
    fitting = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, "exp": clock.now + 300}
    cases = {
        assertion(key, "RS256", clock, iss="https://other"): "AADSTS70021",
        assertion(key, "RS256", clock, sub="repo:a/b:ref:refs/heads/dev"): "AADSTS70021",
        assertion(key, "RS256", clock, aud="api://other"): "AADSTS70021",
        assertion(key, "RS256", clock, aud=None): "AADSTS70021",
        assertion(stranger, "RS256", clock): "AADSTS50013",
        sign_with_public_key(key, fitting): "AADSTS50013",
        f"eyJhbGciOiJub25lIn0.{body}.": "AADSTS50013",
        assertion(key, "RS256", clock, exp=clock.now - 61): "AADSTS700024",
        assertion(key, "RS256", clock, exp=None): "AADSTS50027",
        assertion(key, "RS256", clock, nbf=clock.now + 61): "AADSTS700024",
        "nonsense": "AADSTS50027",
        "a.W10.b": "AADSTS50027",
        f"e30.{base64.urlsafe_b64encode(b'[' * 20_000).decode()}.x": "AADSTS50027",
    }
    for token, code in cases.items():
        assert code in refused(401, identities.sign_in_with_assertion, client_id, token, RESOURCE).message
    other = identities.create("other").client_id
    refused(401, identities.sign_in_with_assertion, other, good, RESOURCE)


def test_a_credential_that_cannot_work_is_refused_with_every_field(identities: Identities) -> None:
    identities.create("ci")
    symmetric = {"keys": [OctKey.generate_key(256).as_dict(private=True)]}
    error = refused(400, identities.federate, "ci", FederatedCredential("", "", (), symmetric))
    assert {one.target for one in error.details} == {"issuer", "subject", "audiences", "jwks"}
    for jwks in ("/does/not/exist.json", {}, {"keys": []}, {"keys": [{}]}, {"keys": "x"}):
        error = refused(400, identities.federate, "ci", FederatedCredential(ISSUER, SUBJECT, (AUDIENCE,), jwks))
        assert [one.target for one in error.details] == ["jwks"], jwks


def test_a_credential_of_the_same_issuer_and_subject_is_replaced(identities: Identities) -> None:
    identities.create("ci")
    for key in (RSAKey.generate_key(2048), RSAKey.generate_key(2048)):
        jwks = {"keys": [key.as_dict(private=False)]}
        found = identities.federate("ci", FederatedCredential(ISSUER, SUBJECT, (AUDIENCE,), jwks))
    assert [one.jwks for one in found.federation] == [jwks]
