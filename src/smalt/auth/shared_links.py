"""Guests: who comes with the key of a shared link (`kinds/access/shared_link.py`), and what the link shows.

The key is in the link's query and nowhere else: there is no cookie, so several links live beside each other, and beside
a session. It is looked up in the database at each request, so a link that was taken back is over at once.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from smalt.arm.audit import Audit
from smalt.arm.ids import ResourceId
from smalt.arm.ports import GUEST, Principal
from smalt.settings import TENANT
from smalt.store import author, resources
from smalt.store.database import Database
from smalt.store.row import Row
from smalt.store.sealed import Secrets

LINKS = "sharedLinks"  # below a workspace
KEY = "key"  # the secret's name
SIGNED_S = 300.0  # how long an address of a file that a guest was given is good: it cannot be taken back
_LONGEST = 400


@dataclass(frozen=True)
class Shared:
    """What a link shows: the page `page` of `resources` (ids as they are written)."""

    guest: Principal
    page: str
    resources: tuple[str, ...]
    expires_at: str


class SharedLinks:
    """`clock` gives seconds since the epoch."""

    def __init__(self, database: Database, secrets: Secrets, audit: Audit, clock: Callable[[], float]) -> None:
        self._database, self._secrets, self._audit, self._clock = database, secrets, audit, clock

    def open(self, workspace: ResourceId, given: str) -> Shared | None:
        """What `NAME.KEY` shows; None where it is no key of a link, or that is over or was taken back.

        Each coming is recorded, as is each refusal; reads the database.
        """
        name, _, key = given.partition(".")
        link = workspace.child(LINKS, name)
        with self._database.read() as connection:
            row = living(connection, link.key, self._clock()) if name and len(given) <= _LONGEST else None
            kept = self._secrets.of(connection, link.key).get(KEY, "") if row else ""
            shown = _shown(connection, row) if row else frozenset[str]()
        with author.on_behalf(str(uuid.uuid4())):
            if row is None or not kept or not hmac.compare_digest(kept.encode(), key.encode()):
                self._audit.sign_in_refused("", "shared link: unknown, over or taken back")
                return None
            guest = Principal(row.id, f"link {_title(row)}", GUEST, TENANT, scope=workspace.key, shared=shown)
            self._audit.came(guest.name, link)
        properties = row.properties
        return Shared(guest, properties["page"], tuple(properties["resources"]), properties["expiresAt"])


def living(connection: Connection, key: str, now: float) -> Row | None:
    """The link with this id, if it is not over."""
    row = resources.get(connection, key)
    return row if row is not None and not row.deleting and over_at(row.properties["expiresAt"]) > now else None


def signed_for(principal: Principal, usual_s: float) -> float:
    """For how long the address of a file is signed."""
    return SIGNED_S if principal.kind == GUEST else usual_s


def over_at(text: str) -> float:
    """Seconds since the epoch. Raises ValueError."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _shown(connection: Connection, row: Row) -> frozenset[str]:
    """Of what the link was made for, what there still is: not what was made under the same name since."""
    found = resources.get_many(connection, row.properties["resources"])
    return frozenset(key for key, one in found.items() if one.created_at <= row.created_at)


def _title(row: Row) -> str:
    return str(row.properties.get("displayName") or row.name)
