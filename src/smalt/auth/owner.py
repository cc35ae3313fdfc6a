"""The owner of a root, and the identities that derive from it.

Needs no database, so that the command line starts fast.
"""

from __future__ import annotations

import getpass
import json
import uuid

from smalt.arm.ports import Principal
from smalt.auth.secret_files import keep_secret
from smalt.settings import TENANT, Settings


def owner_principal(settings: Settings) -> Principal:
    """Who owns the root: the same oid for as long as the root exists."""

    def make() -> bytes:
        return json.dumps({"oid": _new_id(), "client_id": _new_id(), "name": _user_name()}).encode()

    def read(content: bytes) -> Principal:
        known = json.loads(content)
        return Principal(known["oid"], known["name"], "owner", TENANT, known["client_id"])

    return keep_secret(settings.secrets / "owner.json", make, read)


def derived_principal(owner: Principal, kind: str, resource_id: str, name: str, scope: str) -> Principal:
    """The identity that a resource (a job, an endpoint) has by itself: derived from its id, so nothing need be stored.

    The owner's oid is the name space, so that two platforms never share one.
    """
    space = uuid.UUID(owner.oid)
    oid, client_id = (str(uuid.uuid5(space, f"{part}:{kind}:{resource_id.lower()}")) for part in ("oid", "client"))
    return Principal(oid, name, kind, owner.tenant, client_id, scope.lower().rstrip("/"))


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return "owner"


def _new_id() -> str:
    return str(uuid.uuid4())
