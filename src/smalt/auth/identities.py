"""Who may sign in: the owner of the root, service principals, managed identities, and what proves each of them.

A client secret is 256 random bits, shown once and kept as a salted SHA-256: what cannot be guessed needs no slow hash,
and a sign-in stays at microseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from smalt.arm.errors import conflict, invalid, not_found
from smalt.arm.ports import ASSIGNED_IDENTITY, Principal
from smalt.auth import living
from smalt.auth.assertions import LEEWAY_S, is_self_signed, refused
from smalt.auth.client_certificates import ClientCertificate, check_certificate_assertion, token_endpoint
from smalt.auth.federation import FederatedCredential, check_assertion, check_credential
from smalt.auth.owner import owner_principal
from smalt.auth.secret_words import new_secret_word
from smalt.auth.used_once import use
from smalt.settings import TENANT, Settings
from smalt.store.database import Database
from smalt.store.tables import identity, identity_certificate, identity_secret

SERVICE_PRINCIPAL = "servicePrincipal"
MANAGED_IDENTITY = "managedIdentity"
SECRET_LIFETIME_S = 365 * 86400.0


@dataclass(frozen=True)
class Identity:
    oid: str
    kind: str
    name: str
    client_id: str
    scope: str  # a lowered ARM id; empty: everything
    federation: Sequence[FederatedCredential]
    created_at: float

    @property
    def principal(self) -> Principal:
        return Principal(self.oid, self.name, self.kind, TENANT, self.client_id, self.scope)


@dataclass(frozen=True)
class NewSecret:
    """The only time that a client secret is seen."""

    identity: Identity
    secret: str
    expires_at: float


class Identities:
    """Over the tables that begin with `identity`. A `reference` is an oid, a client id, or a name."""

    def __init__(self, settings: Settings, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._token_endpoint = token_endpoint(settings)
        self._clock = clock
        self.owner = owner_principal(settings)

    def create(self, name: str, kind: str = SERVICE_PRINCIPAL, scope: str = "") -> Identity:
        """A new identity without any credential. Raises ArmError 400 for a bad name, 409 for one in use."""
        if not 1 <= len(name) <= 120 or not name.isprintable() or name != name.strip():
            raise invalid("A name has 1 to 120 printable characters and no space at either end.", "name")
        if kind not in (SERVICE_PRINCIPAL, MANAGED_IDENTITY):
            raise invalid(f"An identity is a {SERVICE_PRINCIPAL} or a {MANAGED_IDENTITY}, not '{kind}'.", "kind")
        made = Identity(_new_id(), kind, name, _new_id(), scope.lower().rstrip("/"), (), self._clock())
        with self._database.write() as connection:
            if connection.execute(
                select(identity.c.oid).where(identity.c.name == name, identity.c.kind == kind)
            ).first():
                raise conflict(f"A {kind} '{name}' exists already: rotate its secret, or delete it first.", "name")
            connection.execute(insert(identity).values(**_row(made)))
        return made

    def create_service_principal(self, name: str, scope: str = "", lifetime_s: float = SECRET_LIFETIME_S) -> NewSecret:
        """A service principal with its first secret."""
        return self._add_secret(self.create(name, SERVICE_PRINCIPAL, scope), lifetime_s)

    def create_with_certificate(self, name: str, certificate: ClientCertificate) -> Identity:
        """A service principal that signs in with that certificate's key. ArmError(400) also where its time is over."""
        self._check_in_time(certificate)  # before anything is made
        return self.trust_certificate(self.create(name).oid, certificate)

    def list(self, kind: str = SERVICE_PRINCIPAL) -> list[Identity]:
        with self._database.read() as connection:
            query = select(identity).where(identity.c.kind == kind).order_by(identity.c.created_at, identity.c.oid)
            return [_parse(row) for row in connection.execute(query).mappings()]

    def get(self, reference: str) -> Identity:
        """Raises ArmError(404), or 409 where a name means two identities."""
        # A user-assigned identity has its name in a group, where others give it: here it is known by its ids alone.
        named = (identity.c.name == reference) & (identity.c.kind != ASSIGNED_IDENTITY)
        matches = (identity.c.oid == reference) | (identity.c.client_id == reference) | named
        with self._database.read() as connection:
            rows = connection.execute(select(identity).where(matches)).mappings().all()
        if not rows:
            raise not_found("Identity", reference)
        if len(rows) > 1:
            raise conflict(f"'{reference}' names {len(rows)} identities: give the client id instead.", "name")
        return _parse(rows[0])

    def delete(self, reference: str) -> None:
        """Nobody signs in with it any more, and its tokens open nothing within a second (`auth/living.py`)."""
        found = self.get(reference)
        with self._database.write() as connection:
            living.end(connection, found.oid, self._clock())
            _end_credentials(connection, found.oid)
            connection.execute(delete(identity).where(identity.c.oid == found.oid))

    def rotate(self, reference: str, lifetime_s: float = SECRET_LIFETIME_S) -> NewSecret:
        """A new secret; all earlier secrets and certificates end at once."""
        return self._add_secret(self._service_principal(reference), lifetime_s)

    def trust_certificate(self, reference: str, certificate: ClientCertificate) -> Identity:
        """Who holds its private key signs in as this identity; all earlier secrets and certificates end at once."""
        self._check_in_time(certificate)
        found = self._service_principal(reference)
        row = {
            "oid": found.oid,
            "thumbprint": certificate.thumbprint,
            "pem": certificate.pem,
            "created_at": self._clock(),
        }
        with self._database.write() as connection:
            _end_credentials(connection, found.oid)
            connection.execute(insert(identity_certificate).values(**row))
        return found

    def federate(self, reference: str, credential: FederatedCredential) -> Identity:
        """Let tokens of another issuer sign in as this identity; replaces one of the same issuer and subject."""
        check_credential(credential)
        oid = self.get(reference).oid
        with self._database.write() as connection:
            row = connection.execute(select(identity).where(identity.c.oid == oid)).mappings().first()
            if row is None:
                raise not_found("Identity", reference)
            same = (credential.issuer, credential.subject)
            kept = [one for one in _parse(row).federation if (one.issuer, one.subject) != same]
            documents = [one.document() for one in (*kept, credential)]
            connection.execute(update(identity).where(identity.c.oid == oid).values(federation=json.dumps(documents)))
        return self.get(oid)

    def sign_in(self, client_id: str, secret: str) -> Principal:
        """Raises ArmError(401, invalid_client): unknown client, wrong secret, expired secret."""
        found = self._client(client_id)
        with self._database.read() as connection:
            rows = (
                connection.execute(select(identity_secret).where(identity_secret.c.oid == found.oid)).mappings().all()
            )
        good = [row for row in rows if _hash_fits(row["salted_hash"], secret)]
        if not good:
            raise refused(f"AADSTS7000215: Invalid client secret provided for app '{client_id}'.")
        if max(row["expires_at"] for row in good) <= self._clock():
            raise refused(f"AADSTS7000222: The client secret for app '{client_id}' is expired: rotate it.")
        return found.principal

    def sign_in_with_assertion(self, client_id: str, assertion: str, resource: str) -> Principal:
        """A token of another issuer, or one that the client signed with its certificate's key.

        The latter gets a token for each `resource` once: MSAL sends one assertion for nine minutes, whatever it asks
        for. Raises ArmError(401, invalid_client) that says what does not fit.
        """
        found, now = self._client(client_id), self._clock()
        if not is_self_signed(assertion, client_id):
            check_assertion(assertion, found.federation, now)
            return found.principal
        query = select(identity_certificate.c.pem).where(identity_certificate.c.oid == found.oid)
        with self._database.read() as connection:
            known = [ClientCertificate.parse(pem.encode()) for pem in connection.execute(query).scalars()]
        jti, ends_at = check_certificate_assertion(assertion, client_id, known, self._token_endpoint, now)
        nonce = hashlib.sha256(json.dumps([client_id, jti, resource]).encode()).hexdigest()
        if not use(self._database, nonce, ends_at + LEEWAY_S, now):
            raise refused(f"AADSTS50027: The client assertion was used for '{resource}' before: its 'jti' works once.")
        return found.principal

    def name_of(self, client_id: str) -> str:
        """'' where there is no such client."""
        with self._database.read() as connection:
            return connection.execute(select(identity.c.name).where(identity.c.client_id == client_id)).scalar() or ""

    def _service_principal(self, reference: str) -> Identity:
        found = self.get(reference)
        if found.kind != SERVICE_PRINCIPAL:
            raise invalid(f"'{reference}' is a {found.kind}: it signs in with no secret or certificate.", "name")
        return found

    def _check_in_time(self, certificate: ClientCertificate) -> None:
        if why := certificate.out_of_time(self._clock()):
            raise invalid(f"The certificate cannot be used: {why}.", "certificate")

    def _client(self, client_id: str) -> Identity:
        with self._database.read() as connection:
            row = connection.execute(select(identity).where(identity.c.client_id == client_id)).mappings().first()
        if row is None:
            raise refused(f"AADSTS700016: Application with identifier '{client_id}' was not found on this server.")
        return _parse(row)

    def _add_secret(self, found: Identity, lifetime_s: float) -> NewSecret:
        secret, now = new_secret_word(), self._clock()
        fresh = NewSecret(found, secret, now + lifetime_s)
        row = {
            "id": _new_id(),
            "oid": found.oid,
            "salted_hash": _salted_hash(secret),
            "expires_at": fresh.expires_at,
            "created_at": now,
        }
        with self._database.write() as connection:
            _end_credentials(connection, found.oid)
            connection.execute(insert(identity_secret).values(**row))
        return fresh


def _end_credentials(connection: Connection, oid: str) -> None:
    for table in (identity_secret, identity_certificate):
        connection.execute(delete(table).where(table.c.oid == oid))


def _new_id() -> str:
    return str(uuid.uuid4())


def _salted_hash(secret: str) -> str:
    salt = secrets.token_hex(16)
    return f"sha256${salt}${_digest(salt, secret)}"


def _hash_fits(salted_hash: str, secret: str) -> bool:
    _, salt, expected = salted_hash.split("$")
    return hmac.compare_digest(_digest(salt, secret), expected)


def _digest(salt: str, secret: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + secret.encode("utf-8", "surrogatepass")).hexdigest()


def _row(made: Identity) -> dict[str, Any]:
    return {
        "oid": made.oid,
        "kind": made.kind,
        "name": made.name,
        "client_id": made.client_id,
        "scope": made.scope,
        "federation": json.dumps([one.document() for one in made.federation]),
        "created_at": made.created_at,
    }


def _parse(row: Any) -> Identity:
    federation = tuple(FederatedCredential.parse(one) for one in json.loads(row["federation"]))
    return Identity(row["oid"], row["kind"], row["name"], row["client_id"], row["scope"], federation, row["created_at"])
