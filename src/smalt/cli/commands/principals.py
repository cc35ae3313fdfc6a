"""`smalt sp`: service principals, straight on the database, so that it works whether or not the platform runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from smalt.agent.wire import Hint
from smalt.arm.ports.serving import GATEWAY
from smalt.auth.client_certificates import ClientCertificate, new_certificate
from smalt.auth.federation import DEFAULT_AUDIENCE, FederatedCredential, check_credential
from smalt.auth.identities import SECRET_LIFETIME_S, Identities, Identity, NewSecret
from smalt.cli.root import CliError
from smalt.cli.rows import opened
from smalt.cli.variables import in_syntax_of
from smalt.settings import TENANT, Settings

Files = Mapping[str, Path | None]


def create(root: Path | None, name: str, as_json: bool, trusted: Mapping[str, Any], certificate: Files) -> int:
    """`trusted` (issuer, subject, audience, jwks), where given, is whose tokens stand for it instead of a secret.

    `certificate` (existing, new), where given, is the file with what stands for it.
    """
    if any(certificate.values()) and any(trusted.values()):
        raise CliError("either a certificate or another issuer's tokens: make a service principal for each")
    with _identities(root) as (settings, identities):
        if any(trusted.values()):
            _create_federated(settings, identities, name, trusted, as_json)
        elif any(certificate.values()):
            with _certificate(**certificate, name=name) as (ready, path):
                made = identities.create_with_certificate(name, ready)
            _show_certificate(settings, made, ready, path, as_json)
        else:
            _show_secret(settings, identities.create_service_principal(name), as_json)
    return 0


def _create_federated(
    settings: Settings, identities: Identities, name: str, trusted: Mapping[str, Any], as_json: bool
) -> None:
    path: Path | None = trusted["jwks"]
    if path is None:
        raise CliError("a federated sign-in needs the issuer's public keys: --jwks FILE")
    audiences = (trusted["audience"],) if trusted["audience"] else (DEFAULT_AUDIENCE,)
    credential = FederatedCredential(trusted["issuer"], trusted["subject"], audiences, str(path.resolve()))
    check_credential(credential)  # before anything is made
    made = identities.federate(identities.create(name).oid, credential)
    _show(settings, made, {}, {}, as_json)


def rotate(root: Path | None, name: str, as_json: bool, certificate: Files) -> int:
    with _identities(root) as (settings, identities):
        if any(certificate.values()):
            with _certificate(**certificate, name=identities.get(name).name) as (ready, path):
                made = identities.trust_certificate(name, ready)
            _show_certificate(settings, made, ready, path, as_json)
        else:
            _show_secret(settings, identities.rotate(name), as_json)
    return 0


def delete(root: Path | None, name: str, as_json: bool) -> int:
    with _identities(root) as (settings, identities):
        found = identities.get(name)
        identities.delete(found.oid)
        Hint(GATEWAY, "").send(str(settings.hints_socket))  # endpoints check tokens without the database
    print(json.dumps(_document(found)) if as_json else f"Deleted {found.name} ({found.client_id}).")
    return 0


def list_all(root: Path | None, as_json: bool) -> int:
    with _identities(root) as (_, identities):
        found = identities.list()
    if as_json:
        print(json.dumps([_document(one) for one in found]))
        return 0
    table = Table(box=None)
    for heading in ("name", "client id", "created"):
        table.add_column(heading)
    for one in found:
        table.add_row(one.name, one.client_id, _time(one.created_at))
    Console(highlight=False).print(table if found else "No service principals yet; make one: smalt sp create NAME")
    return 0


@contextmanager
def _identities(root: Path | None) -> Iterator[tuple[Settings, Identities]]:
    with opened(root) as (settings, database):
        yield settings, Identities(settings, database)


@contextmanager
def _certificate(existing: Path | None, new: Path | None, name: str) -> Iterator[tuple[ClientCertificate, Path]]:
    """The certificate in one of the two files, and that file. A new one goes again where what is done with it fails."""
    if existing is not None:
        if new is not None:
            raise CliError("either an existing certificate, --cert FILE, or a new one, --create-cert FILE")
        yield ClientCertificate.parse(_read(existing)), existing
    elif new is not None:
        made, content = new_certificate(name, SECRET_LIFETIME_S, time.time())
        _write_new(new, content)
        try:
            yield made, new
        except BaseException:
            new.unlink()
            raise


def _show_secret(settings: Settings, made: NewSecret, as_json: bool) -> None:
    """The secret is never shown again."""
    known = {"expires": _time(made.expires_at)}
    _show(settings, made.identity, known, {"AZURE_CLIENT_SECRET": made.secret}, as_json)


def _show_certificate(
    settings: Settings, made: Identity, certificate: ClientCertificate, path: Path, as_json: bool
) -> None:
    """Its file, where that holds the private key too: else only the user knows where the two are together."""
    known = {"expires": _time(certificate.ends_at), "thumbprint": certificate.thumbprint}
    whole = b"PRIVATE KEY-----" in _read(path)
    variables = {"AZURE_CLIENT_CERTIFICATE_PATH": str(path.resolve())} if whole else {}
    _show(settings, made, known, variables, as_json)


def _show(
    settings: Settings, made: Identity, known: Mapping[str, str], credential: Mapping[str, str], as_json: bool
) -> None:
    """The variables that azure-identity's EnvironmentCredential reads; as JSON what is `known` besides."""
    variables = {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": made.client_id,
        **credential,
        "AZURE_AUTHORITY_HOST": f"{settings.url}/adfs",
    }
    print(json.dumps({**_document(made), **known, **variables}) if as_json else in_syntax_of("bash", variables))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}") from error


def _write_new(path: Path, content: bytes) -> None:
    """Only its owner reads it. What is there already may be the only copy of a key: it is never replaced."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except FileExistsError:
        raise CliError(f"{path} is there already: name a new file") from None
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}") from error


def _document(one: Identity) -> dict[str, str]:
    return {"name": one.name, "clientId": one.client_id, "objectId": one.oid, "created": _time(one.created_at)}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
