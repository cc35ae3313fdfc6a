"""Assertions that a service principal signs with its certificate, made as MSAL makes them, and what is wrong with others."""

from __future__ import annotations

import base64
import json
import math
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey

from smalt.arm.errors import ArmError
from smalt.auth.client_certificates import ClientCertificate, new_certificate
from smalt.auth.identities import Identities
from smalt.settings import TENANT, Settings
from smalt.store.database import Database

ARM, STORAGE = "https://localhost:7443", "https://storage.azure.com"
ENDPOINT = "https://localhost:7443/adfs/oauth2/v2.0/token"
DAY_S = 86_400.0


@dataclass
class Holder:
    """Who has the file that `new_certificate` made."""

    certificate: ClientCertificate
    key: RSAKey
    now: Callable[[], float]

    @classmethod
    def new(cls, now: Callable[[], float], lifetime_s: float = 365 * DAY_S) -> Holder:
        certificate, content = new_certificate("ci", lifetime_s, now())
        return cls(certificate, RSAKey.import_key(content[: content.index(b"-----BEGIN CERT")]), now)

    def thumbprint(self, algorithm: hashes.HashAlgorithm) -> str:
        return encoded(self.certificate.certificate.fingerprint(algorithm))

    def assertion(self, client_id: str, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """As MSAL's for ADFS: RS256 and a SHA-1 thumbprint. A change to None leaves a claim out."""
        now = self.now()
        claims = {
            "aud": ENDPOINT,
            "iss": client_id,
            "sub": client_id,
            "jti": str(uuid.uuid4()),
            "iat": now,
            "exp": now + 600.5,
        } | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "typ": "JWT", "x5t": self.thumbprint(hashes.SHA1())} | (header or {})
        header = {name: value for name, value in header.items() if value is not None}
        return jwt.encode(header, claims, self.key, algorithms=["RS256", "PS256", "RS512"])


@pytest.fixture
def identities(settings: Settings, database: Database, clock: Any) -> Identities:
    return Identities(settings, database, clock)


@pytest.fixture
def holder(clock: Any) -> Holder:
    return Holder.new(clock)


@pytest.fixture
def client_id(identities: Identities, holder: Holder) -> str:
    return identities.create_with_certificate("ci", holder.certificate).client_id


def refusal(identities: Identities, client_id: str, assertion: str, resource: str = ARM) -> str:
    with pytest.raises(ArmError) as caught:
        identities.sign_in_with_assertion(client_id, assertion, resource)
    assert (caught.value.status, caught.value.code) == (401, "invalid_client")
    return caught.value.message


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def test_every_way_in_which_clients_name_a_certificate(identities: Identities, holder: Holder, client_id: str) -> None:
    sha256 = holder.thumbprint(hashes.SHA256())
    der = base64.b64encode(holder.certificate.certificate.public_bytes(serialization.Encoding.DER)).decode()
    lines = "\n".join(holder.certificate.pem.splitlines()[1:-1])  # MSAL leaves the line breaks in
    for header in (
        {},
        {"x5t": holder.thumbprint(hashes.SHA1()) + "="},  # MSAL leaves the padding in
        {"alg": "PS256", "x5t": None, "x5t#S256": sha256},
        {"alg": "RS256", "x5t#S256": sha256},
        {"alg": "PS256", "x5t": None, "x5c": [der]},
        {"x5c": [lines, "an authority's"]},
        {"kid": "whatever"},
    ):
        made = holder.assertion(client_id, header)
        assert identities.sign_in_with_assertion(client_id, made, ARM).name == "ci", header


@pytest.mark.parametrize(
    "audience",
    [
        ENDPOINT,
        f"https://127.0.0.1:7443/adfs/{TENANT}/oauth2/v2.0/token",
        f"https://LOCALHOST:7443/adfs/{TENANT.upper()}/oauth2/token",
        f"https://localhost:7443/adfs/{TENANT}/v2.0",
        f"https://localhost:7443/adfs/{TENANT}",
        ["https://elsewhere", ENDPOINT],
    ],
)
def test_audiences_are_all_addresses_of_the_token_endpoint(
    identities: Identities, holder: Holder, client_id: str, audience: Any
) -> None:
    made = holder.assertion(client_id, aud=audience)
    assert identities.sign_in_with_assertion(client_id, made, ARM).client_id == client_id


def test_what_does_not_fit_is_refused_with_the_reason(
    identities: Identities, holder: Holder, client_id: str, clock: Any, sign_with_public_key: Any
) -> None:
    stranger = Holder.new(clock)
    thumbprint = holder.thumbprint(hashes.SHA1())
    now = clock.now
    claims = {"aud": ENDPOINT, "iss": client_id, "sub": client_id, "jti": "x", "exp": now + 60}
    body = encoded(json.dumps(claims).encode())
    none = encoded(json.dumps({"alg": "none", "x5t": thumbprint}).encode())
    cases: dict[str, str | tuple[str, str]] = {
        stranger.assertion(client_id): ("AADSTS700027", "not registered"),
        stranger.assertion(client_id, {"x5t": thumbprint}): ("AADSTS700027", "invalid signature"),
        holder.assertion(client_id, {"x5t": None}): ("AADSTS700027", "not registered"),
        holder.assertion(client_id, {"x5t#S256": stranger.thumbprint(hashes.SHA256())}): "AADSTS700027",
        holder.assertion(client_id, {"x5c": ["!"]}): "AADSTS700027",
        holder.assertion(client_id, {"alg": "RS512"}): ("AADSTS50027", "RS256"),
        sign_with_public_key(holder.key, claims): ("AADSTS50027", "RS256"),
        f"{none}.{body}.": ("AADSTS50027", "RS256"),
        holder.assertion(client_id, sub="other"): "AADSTS700021",
        holder.assertion("other"): "AADSTS700021",
        holder.assertion(client_id, aud="https://login.microsoftonline.com/common/oauth2/v2.0/token"): "AADSTS700023",
        holder.assertion(client_id, aud=ENDPOINT + "/elsewhere"): "AADSTS700023",
        holder.assertion(client_id, aud="https://localhost:74430/adfs/oauth2/token"): "AADSTS700023",
        holder.assertion(client_id, aud=None): "AADSTS700023",
        holder.assertion(client_id, exp=now - 61): ("AADSTS700024", "expired"),
        holder.assertion(client_id, nbf=now + 61): ("AADSTS700024", "not valid yet"),
        holder.assertion(client_id, exp=now + DAY_S + 1): ("AADSTS700024", "a day"),
        holder.assertion(client_id, exp=10**400): "AADSTS50027",
        holder.assertion(client_id, exp=math.nan): "AADSTS50027",
        holder.assertion(client_id, exp=math.inf): "AADSTS50027",
        holder.assertion(client_id, exp=True): "AADSTS50027",
        holder.assertion(client_id, exp=None): "AADSTS50027",
        holder.assertion(client_id, jti=None): ("AADSTS50027", "jti"),
        holder.assertion(client_id, jti=""): ("AADSTS50027", "jti"),
        holder.assertion(client_id, jti=["x"]): ("AADSTS50027", "jti"),
        holder.assertion(client_id, jti="x" * 256): ("AADSTS50027", "jti"),
    }
    for assertion, words in cases.items():
        said = refusal(identities, client_id, assertion)
        assert all(word in said for word in ([words] if isinstance(words, str) else words)), said
    assert "AADSTS700016" in refusal(identities, str(uuid.uuid4()), holder.assertion(client_id))
    assert thumbprint_shown(stranger) in refusal(identities, client_id, stranger.assertion(client_id))


def thumbprint_shown(holder: Holder) -> str:
    return holder.certificate.certificate.fingerprint(hashes.SHA1()).hex().upper()


def test_an_assertion_works_once_for_each_resource(
    identities: Identities, holder: Holder, client_id: str, clock: Any
) -> None:
    made = holder.assertion(client_id)
    for resource in (ARM, STORAGE):
        assert identities.sign_in_with_assertion(client_id, made, resource).name == "ci"
        said = refusal(identities, client_id, made, resource)
        assert "AADSTS50027" in said and "'jti' works once" in said
    clock.now += 600 + 59  # to its very end
    assert "works once" in refusal(identities, client_id, made)
    clock.now += 2
    assert "AADSTS700024" in refusal(identities, client_id, made)
    assert identities.sign_in_with_assertion(client_id, holder.assertion(client_id), ARM).name == "ci"


def test_two_clients_may_choose_the_same_jti(identities: Identities, holder: Holder, client_id: str) -> None:
    other = identities.create_with_certificate("other", holder.certificate).client_id
    for one in (client_id, other):
        assert identities.sign_in_with_assertion(one, holder.assertion(one, jti="1"), ARM).client_id == one


def test_of_many_at_the_same_moment_one_gets_in(identities: Identities, holder: Holder, client_id: str) -> None:
    made = holder.assertion(client_id)
    together, ends = threading.Barrier(4), list[str]()

    def sign_in() -> None:
        together.wait()
        try:
            ends.append(identities.sign_in_with_assertion(client_id, made, ARM).name)
        except ArmError as error:
            ends.append(error.message.partition(":")[0])

    threads = [threading.Thread(target=sign_in) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(ends) == ["AADSTS50027"] * 3 + ["ci"]


def test_what_was_refused_was_not_used(identities: Identities, holder: Holder, client_id: str) -> None:
    assert "AADSTS700023" in refusal(identities, client_id, holder.assertion(client_id, jti="1", aud="elsewhere"))
    made = holder.assertion(client_id, jti="1")
    assert identities.sign_in_with_assertion(client_id, made, ARM).name == "ci"


def test_a_certificate_ends_with_its_validity_a_rotation_or_its_identity(
    identities: Identities, clock: Any, holder: Holder, client_id: str
) -> None:
    later = Holder.new(clock, 2 * DAY_S)
    identities.trust_certificate("ci", later.certificate)
    assert "not registered" in refusal(identities, client_id, holder.assertion(client_id))
    assert identities.sign_in_with_assertion(client_id, later.assertion(client_id), ARM).name == "ci"
    clock.now += 2 * DAY_S + 1
    said = refusal(identities, client_id, later.assertion(client_id))
    assert "AADSTS700027" in said and "expired at" in said
    with pytest.raises(ArmError, match="expired at"):
        identities.trust_certificate("ci", later.certificate)
    identities.trust_certificate("ci", holder.certificate)
    secret = identities.rotate("ci").secret
    assert "not registered" in refusal(identities, client_id, holder.assertion(client_id))
    assert identities.sign_in(client_id, secret).name == "ci"
    identities.trust_certificate("ci", holder.certificate)
    with pytest.raises(ArmError, match="AADSTS7000215"):
        identities.sign_in(client_id, secret)
    identities.delete("ci")
    assert "AADSTS700016" in refusal(identities, client_id, holder.assertion(client_id))
    again = identities.create("ci").client_id
    assert "not registered" in refusal(identities, again, holder.assertion(again))


def test_certificates_that_cannot_work_are_refused_before_anything_is_made(identities: Identities, clock: Any) -> None:
    pem = serialization.Encoding.PEM
    elliptic, short = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65_537, 1024)
    _, content = new_certificate("x", DAY_S, clock.now)
    private = content[: content.index(b"-----BEGIN CERT")]
    unusable = {b"": "PEM", private: "PEM", b"\xff\x00": "PEM"}
    for key, word in ((elliptic, "RSA"), (short, "2048")):
        unusable[signed_by(key, clock.now).public_bytes(pem)] = word
    for text, word in unusable.items():
        with pytest.raises(ArmError, match=word) as caught:
            ClientCertificate.parse(text)
        assert caught.value.status == 400
    future, _ = new_certificate("x", DAY_S, clock.now + 60)
    with pytest.raises(ArmError, match="not valid before"):
        identities.create_with_certificate("x", future)
    assert identities.list() == []
    with pytest.raises(ArmError, match="managedIdentity"):
        made = identities.create("m", "managedIdentity")
        identities.trust_certificate(made.oid, ClientCertificate.parse(content))


def signed_by(key: Any, now: float) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    starts = datetime.fromtimestamp(now, UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(starts).not_valid_after(starts + timedelta(days=1))
    return builder.sign(key, hashes.SHA256())


def test_a_name_longer_than_a_certificate_takes_is_cut(clock: Any) -> None:
    made, _ = new_certificate("é" * 100, DAY_S, clock.now)
    assert made.certificate.subject.rfc4514_string() == "CN=" + "é" * 32
    assert made.ends_at == clock.now + DAY_S


def test_the_private_key_is_nowhere_in_the_root(
    identities: Identities, settings: Settings, holder: Holder, client_id: str
) -> None:
    identities.sign_in_with_assertion(client_id, holder.assertion(client_id), ARM)
    files = [path.read_bytes() for path in settings.root.rglob("*") if path.is_file()]
    assert any(holder.certificate.pem.encode()[100:150] in content for content in files)
    assert not any(b"PRIVATE KEY" in content for content in files)
