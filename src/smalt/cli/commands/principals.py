"""`smalt sp`: service principals, straight on the database, so that it works whether or not the platform runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError

from smalt.agent.wire import Hint
from smalt.auth.federation import DEFAULT_AUDIENCE, FederatedCredential, check_credential
from smalt.auth.identities import Identities, Identity, NewSecret
from smalt.cli.root import CliError, no_platform, resolve
from smalt.cli.variables import in_syntax_of
from smalt.config import read_settings
from smalt.kinds.routing import GATEWAY
from smalt.settings import TENANT, Settings
from smalt.store.database import Database


def create(root: Path | None, name: str, as_json: bool, trusted: Mapping[str, Any]) -> int:
    """`trusted` (issuer, subject, audience, jwks), where given, is whose tokens stand for it instead of a secret."""
    with _identities(root) as (settings, identities):
        if any(trusted.values()):
            _create_federated(settings, identities, name, trusted, as_json)
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
    variables = {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": made.client_id,
        "AZURE_AUTHORITY_HOST": f"{settings.url}/adfs",
    }
    print(json.dumps({**_document(made), **variables}) if as_json else in_syntax_of("bash", variables))


def rotate(root: Path | None, name: str, as_json: bool) -> int:
    with _identities(root) as (settings, identities):
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
    settings = read_settings(resolve(root))
    if not (settings.root / "config.json").exists():
        raise no_platform(settings.root)
    database = Database(settings.database)
    try:
        yield settings, Identities(settings, database)
    except OperationalError as error:
        raise CliError(
            f"the database of {settings.root} does not answer ({error.orig}); has the platform ever run?"
        ) from error
    finally:
        database.close()


def _show_secret(settings: Settings, made: NewSecret, as_json: bool) -> None:
    """The four variables that azure-identity's EnvironmentCredential reads; the secret is never shown again."""
    variables = {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": made.identity.client_id,
        "AZURE_CLIENT_SECRET": made.secret,
        "AZURE_AUTHORITY_HOST": f"{settings.url}/adfs",
    }
    if as_json:
        document: dict[str, Any] = {**_document(made.identity), "expires": _time(made.expires_at)}
        print(json.dumps({**document, **variables}))
    else:
        print(in_syntax_of("bash", variables))


def _document(one: Identity) -> dict[str, str]:
    return {"name": one.name, "clientId": one.client_id, "objectId": one.oid, "created": _time(one.created_at)}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
