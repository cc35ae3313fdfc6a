"""Leases on blobs and containers: who holds one may write and delete, all others have to wait until it ends.

https://learn.microsoft.com/rest/api/storageservices/lease-blob. They are few and looked at by every write, so that all
are in memory as well as in the `blob_lease` table. A lease outlives what it is on being replaced, and ends with its
deletion. A job that writes to a mounted folder writes files and asks nobody.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import select

from smalt.blob.errors import BlobError
from smalt.blob.names import Target
from smalt.store import tables
from smalt.store.database import Database

INFINITE = -1
AVAILABLE, LEASED, EXPIRED, BREAKING, BROKEN = "available", "leased", "expired", "breaking", "broken"
_NEVER = 0.0


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease as it is at `now`.

    `duration_s` is -1 without an end; `expires_at` and `breaks_at` are 0 where not set.
    """

    id: str = ""
    duration_s: int = 0
    expires_at: float = _NEVER
    breaks_at: float = _NEVER
    now: float = 0.0

    @property
    def state(self) -> str:
        if not self.id:
            return AVAILABLE
        if self.breaks_at:
            return BREAKING if self.now < self.breaks_at else BROKEN
        return EXPIRED if self.expires_at and self.now >= self.expires_at else LEASED

    @property
    def locked(self) -> bool:
        return self.state in (LEASED, BREAKING)

    def headers(self) -> dict[str, str]:
        if not self.id:
            return {"x-ms-lease-status": "unlocked", "x-ms-lease-state": AVAILABLE}
        shown = {"x-ms-lease-status": "locked" if self.locked else "unlocked", "x-ms-lease-state": self.state}
        return shown | ({"x-ms-lease-duration": self._duration} if self.state == LEASED else {})

    def xml(self) -> str:
        if not self.id:
            return "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>"
        shown = (
            f"<LeaseStatus>{'locked' if self.locked else 'unlocked'}</LeaseStatus><LeaseState>{self.state}</LeaseState>"
        )
        return shown + (f"<LeaseDuration>{self._duration}</LeaseDuration>" if self.state == LEASED else "")

    def check_write(self, given: str, what: str = "blob") -> None:
        """BlobError(412) unless `given` is the id of the lease that locks, or there is none and none was given."""
        if self.locked and not given:
            message = f"There is currently a lease on the {what} and no lease ID was specified in the request."
            raise BlobError(412, "LeaseIdMissing", message)
        if given:
            self.check_named(given, what)

    def check_named(self, given: str, what: str = "blob") -> None:
        """BlobError(412) unless `given` is the id of the lease that locks: a request that names one counts on it."""
        if not self.id:
            message = f"There is currently no lease on the {what}."
            raise BlobError(412, f"LeaseNotPresentWith{what.capitalize()}Operation", message)
        if not self.locked:
            message = f"A lease ID was specified, but the lease for the {what} has expired."
            raise BlobError(412, "LeaseLost", message)
        if given.lower() != self.id:
            message = f"The lease ID specified did not match the lease ID for the {what}."
            raise BlobError(412, f"LeaseIdMismatchWith{what.capitalize()}Operation", message)

    def acquired(self, proposed: str, duration_s: int) -> Lease:
        """The next lease. `proposed` may be empty. BlobError(409) while another is in force."""
        if self.state == LEASED and proposed != self.id:
            raise BlobError(409, "LeaseAlreadyPresent", "There is already a lease present.")
        if self.state == BREAKING:
            code = "LeaseIsBreakingAndCannotBeAcquired" if proposed == self.id else "LeaseAlreadyPresent"
            raise BlobError(409, code, "There is already a lease present, which is being broken.")
        return self._running(proposed or str(uuid.uuid4()), duration_s)

    def renewed(self, given: str) -> Lease:
        """The same for its whole duration again, also where it expired and nothing was written since."""
        self._check_holder(given)
        if self.breaks_at:
            message = "The lease ID matched, but the lease has been broken explicitly and cannot be renewed."
            raise BlobError(409, "LeaseIsBrokenAndCannotBeRenewed", message)
        return self._running(self.id, self.duration_s)

    def changed(self, given: str, proposed: str) -> Lease:
        if self.state in (AVAILABLE, EXPIRED, BROKEN):
            raise _not_present()
        if self.state == BREAKING:
            self._check_holder(given)
            message = "The lease ID matched, but the lease is currently in breaking state and cannot be changed."
            raise BlobError(409, "LeaseIsBreakingAndCannotBeChanged", message)
        if self.id not in (given, proposed):
            raise _mismatch()
        return replace(self, id=proposed)

    def released(self, given: str) -> None:
        self._check_holder(given)

    def broken(self, period_s: int | None) -> Lease:
        """Ends after `period_s`, or when it would have; at once where neither is set. `remaining_s` says when."""
        if not self.id:
            raise _not_present()
        if self.state in (EXPIRED, BROKEN):
            return replace(self, breaks_at=self.breaks_at or self.now)
        ends = [at for at in (self.breaks_at, self.expires_at) if at]
        if period_s is not None:
            ends.append(self.now + period_s)
        return replace(self, breaks_at=min(ends, default=self.now))

    @property
    def remaining_s(self) -> int:
        return max(0, round(self.breaks_at - self.now))

    @property
    def _duration(self) -> str:
        return "infinite" if self.duration_s == INFINITE else "fixed"

    def _running(self, lease_id: str, duration_s: int) -> Lease:
        expires_at = _NEVER if duration_s == INFINITE else self.now + duration_s
        return Lease(lease_id, duration_s, expires_at, _NEVER, self.now)

    def _check_holder(self, given: str) -> None:
        if not self.id:
            raise _not_present() if not given else _mismatch()
        if given != self.id:
            raise _mismatch()


NONE = Lease()


class Leases:
    """All leases of the platform. Changes belong under the lock of what they are on; `put` and `drop` may block."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._all: dict[Target, Lease] | None = None
        self._reading = threading.Lock()

    def get(self, target: Target) -> Lease:
        """As it is now; `NONE` where there is none. A container's has no blob in its target."""
        all_ = self._known()
        known = all_.get(target) if all_ else None
        return replace(known, now=self._clock()) if known else NONE

    def fresh(self, target: Target) -> Lease:
        """The same, for a change: `now` is set also where there is none."""
        return replace(self.get(target), now=self._clock())

    def put(self, target: Target, lease: Lease) -> None:
        table = tables.blob_lease
        key = {"account": target.account, "container": target.container, "name": target.blob}
        values = {
            "id": lease.id,
            "duration_s": lease.duration_s,
            "expires_at": lease.expires_at,
            "breaks_at": lease.breaks_at,
        }
        with self._database.write() as connection:
            connection.execute(table.delete().filter_by(**key))
            connection.execute(table.insert().values(**key, **values))
        self._known()[target] = lease

    def drop(self, target: Target) -> None:
        if self._known().pop(target, None) is None:
            return
        with self._database.write() as connection:
            connection.execute(
                tables.blob_lease.delete().filter_by(
                    account=target.account, container=target.container, name=target.blob
                )
            )

    def ended(self, target: Target) -> bool:
        """Whether a write leaves nothing of the lease on `target`: it expired or was broken."""
        return self.has(target) and not self.get(target).locked

    def any(self) -> bool:
        return bool(self._known())

    def has(self, target: Target) -> bool:
        all_ = self._known()
        return bool(all_) and target in all_

    def drop_below(self, account: str, container: str, prefix: str = "") -> None:
        """Those of the blobs whose names begin with `prefix`; without one the container's own too."""
        for target in list(self._known()):
            if (target.account, target.container) == (account, container) and target.blob.startswith(prefix):
                self.drop(target)

    def _known(self) -> dict[Target, Lease]:
        if self._all is None:
            with self._reading:  # once: what another thread has put there since must not be lost
                self._all = self._read() if self._all is None else self._all
        return self._all

    def _read(self) -> dict[Target, Lease]:
        with self._database.read() as connection:
            return {
                Target(row.account, row.container, row.name): Lease(
                    row.id, row.duration_s, row.expires_at, row.breaks_at
                )
                for row in connection.execute(select(tables.blob_lease))
            }


def _not_present() -> BlobError:
    return BlobError(409, "LeaseNotPresentWithLeaseOperation", "There is currently no lease on the blob or container.")


def _mismatch() -> BlobError:
    message = "The lease ID specified did not match the lease ID for the blob or container."
    return BlobError(409, "LeaseIdMismatchWithLeaseOperation", message)
