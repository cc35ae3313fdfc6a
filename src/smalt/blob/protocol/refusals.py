"""Who was refused a blob, for the feed of changes: the account, the method and the code, never what was asked or sent.

The signature of a key says which account's it is, not who holds it; whoever has none that is right is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.audit import UNKNOWN, Audit
from smalt.arm.errors import ArmError
from smalt.arm.ids import STORAGE, ResourceId, kind_key
from smalt.blob.accounts.accounts import Recent
from smalt.blob.protocol.message import Request
from smalt.settings import SUBSCRIPTION
from smalt.store.database import Collision, Database
from smalt.store.tables import resource

_METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "DELETE"))
_PLATFORM = ResourceId(SUBSCRIPTION)
_KIND = kind_key(STORAGE, "storageAccounts")


class Refusals:
    """Thread-safe."""

    def __init__(self, audit: Audit, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._audit = audit
        self._database = database
        self._accounts: Recent[str, ResourceId] = Recent(clock)

    def record(self, error: ArmError, request: Request, request_id: str) -> None:
        """Reads the database, and writes it where this is the first of its sort for a while. Never fails."""
        account = request.target.account
        method = request.method if request.method in _METHODS else "other"
        by = request.known or (f"a signature of {account}" if hasattr(request, "grant") else UNKNOWN)
        try:
            about = self._accounts.get(account) or self._accounts.keep(account, self._resource(account))
        except (SQLAlchemyError, Collision):
            about = _PLATFORM
        self._audit.refused_beside(error, f"blob {method}", about, by, request_id)

    def _resource(self, account: str) -> ResourceId:
        """The storage account; the subscription where this is one of a datastore's own, or none at all."""
        query = select(resource.c.written).where(resource.c.kind == _KIND, resource.c.name == account).limit(1)
        with self._database.read() as connection:
            written = connection.execute(query).scalar()
        return ResourceId.parse(written) if written else _PLATFORM
