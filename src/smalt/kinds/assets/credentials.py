"""The credentials of a resource: what may be seen of them stands in its document; the rest is sealed, and leaves by its
action for secrets alone.

One rule for all kinds: a resource has the secrets of the type that its document names, and no others. Clients read a
resource without its secrets and write it back, so an update of the same type without them keeps what is stored; one
that sends the resource elsewhere needs them again, or who may write could have them sent to himself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.validation import nearest
from smalt.store.sealed import Secrets

Document = dict[str, Any]
NAME = "credentials"  # in the table of secrets


@dataclass(frozen=True)
class CredentialType:
    """`shown` stand in the document. `secret` are sealed: at least one of them is needed, where there are any."""

    shown: Sequence[str] = ()
    secret: Sequence[str] = ()


@dataclass(frozen=True)
class Credentials:
    """What a request says: `secrets` are those that it gives, without nulls."""

    type: str
    shown: Document
    secrets: Document


def read_credentials(types: Mapping[str, CredentialType], type_: Any, given: Any, field: str) -> Credentials:
    """`given` (an object, or None) as credentials of the type named `type_`, in any case.

    Raises ArmError(400), which names the field and never repeats a value.
    """
    spelled = next((one for one in types if one.lower() == str(type_).lower()), "")
    if not spelled:
        hint = nearest(str(type_), list(types))
        raise invalid(f"'{str(type_)[:40]}' is no type of credentials; they are {', '.join(types)}.{hint}", field)
    if given is not None and not isinstance(given, dict):
        raise invalid(f"{field}: this must be an object.", field)
    kind = types[spelled]
    values = {name: value for name, value in cast("Document", given or {}).items() if value is not None}
    secrets = {name: _checked(values[name], f"{field}.{name}") for name in kind.secret if name in values}
    shown = {name: values[name] for name in kind.shown if name in values}
    return Credentials(spelled, shown, secrets)


def store_credentials(
    secrets: Secrets,
    connection: Connection,
    key: str,
    types: Mapping[str, CredentialType],
    before: str,
    now: Credentials,
) -> None:
    """From now on the resource has the secrets of `now.type` alone; those of the same type that are not given stay.

    `before` is the type that it had, '' for a new one.
    """
    stays = before.lower() == now.type.lower() and bool(types[now.type].secret)
    if stays and not now.secrets:
        return
    kept = stored_credentials(secrets, connection, key) if stays else {}
    if now.secrets:
        secrets.set(connection, key, NAME, json.dumps({**kept, **now.secrets}))
    else:
        secrets.forget(connection, key, NAME)


def stored_credentials(secrets: Secrets, connection: Connection, key: str) -> Document:
    """The secrets that `store_credentials` keeps, by their names; empty where there are none."""
    return json.loads(secrets.of(connection, key).get(NAME, "{}"))


def check_complete(
    types: Mapping[str, CredentialType], before: str, now: Credentials, field: str, moved: str = ""
) -> None:
    """Raises ArmError(400) where needed secrets are not given: for a new type, and for what was `moved` (a field)."""
    needed = types[now.type].secret
    if not needed or now.secrets:
        return
    if before.lower() != now.type.lower():
        raise invalid(f"{field}: credentials of the type {now.type} need {' or '.join(needed)}.", field)
    if moved:
        raise invalid(
            f"{field}: {moved} is another than before, so the credentials have to be given again:"
            f" {' or '.join(needed)}.",
            field,
        )


def _checked(value: Any, field: str) -> Any:
    """A secret is text, or an object of texts."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        values = cast("dict[str, Any]", value).values()
        if all(isinstance(one, str) for one in values):
            return cast("Any", value)
    raise ArmError(400, "ValidationError", f"{field}: this must be text (or, for keys, an object of texts).", field)
