"""Who a token speaks for, as the database knows it.

Whether that still lives, and which workspaces and storage accounts it may use.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from smalt.arm import instances
from smalt.arm.errors import ArmError, unauthorized
from smalt.arm.ids import ML, NotAnId, ResourceId
from smalt.arm.ports import GUEST, IN_TABLE, Grants, Principal
from smalt.auth.identity_headers import HeaderGrant, IdentityHeaders
from smalt.auth.living import FRESH_S, LivingIdentities, concerns
from smalt.auth.shared_links import living
from smalt.blob.names import Target
from smalt.kinds.jobs.identity import HOLDER
from smalt.kinds.jobs.launch import job_oid
from smalt.kinds.jobs.model import TERMINAL
from smalt.kinds.serving import replicas
from smalt.settings import Settings
from smalt.store import resources
from smalt.store.database import Database

_REMEMBERED = 10_000


class Workspaces:
    """Questions of other parts about workspaces, answered from the database."""

    def __init__(
        self,
        database: Database,
        grants: Grants,
        identities: LivingIdentities | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._clock = clock
        self._grants = grants
        self._identities = identities or LivingIdentities(database)

    def exists(self, workspace: str) -> bool:
        with self._database.read() as connection:
            row = resources.get(connection, workspace)
        return row is not None and not row.deleting

    def account(self, workspace: str) -> str:
        with self._database.read() as connection:
            row = resources.get(connection, workspace)
        return str(row.status.get("account", "")) if row else ""

    def authorize(self, principal: Principal, action: str, scope: str) -> None:
        """As `Grants.check`; and the token of what has ended, or was deleted, opens nothing."""
        if not self.lives(principal):
            raise unauthorized(
                f"The token belongs to {principal.name}, which has ended or was deleted.", "ExpiredAuthenticationToken"
            )
        self._grants.check(principal, action, scope)

    def lives(self, principal: Principal) -> bool:
        """Whether there still is what `principal` stands for: the job, running; the deployment; the identity's row."""
        if principal.holder and not self.runs(principal.holder):
            return False
        if principal.kind in IN_TABLE:
            return self._identities.lives(principal.oid)
        if principal.kind == GUEST:
            with self._database.read() as connection:
                return living(connection, principal.oid, self._clock()) is not None
        if principal.kind not in ("job", "endpoint") or not principal.scope:
            return True
        workspace = _workspace(principal.scope)
        if workspace is None:
            return False  # jobs and endpoints are in workspaces
        job = workspace.child("jobs", principal.name.removeprefix("job:"))
        with self._database.read() as connection:
            if principal.kind == "endpoint":
                return replicas.deployment_of(connection, principal) is not None
        return self._job_runs(principal.oid, job.key)

    def runs(self, holder: str) -> bool:
        """Whether this task of a compute instance is still the one that it has, or this job has not ended."""
        if holder.startswith(HOLDER):
            return self._job_runs(*holder.removeprefix(HOLDER).partition(":")[::2])
        with self._database.read() as connection:
            row = instances.of_task(connection, holder)
        return row is not None and not row.deleting and row.status.get("task") == holder

    def _job_runs(self, oid: str, key: str) -> bool:
        with self._database.read() as connection:
            row = resources.get(connection, key)
        return row is not None and row.state not in TERMINAL and job_oid(row) == oid

    def permits(self, principal: Principal, target: Target, method: str) -> bool:
        """Bearer tokens on blobs: what has a scope may use the accounts of the workspaces in it, and no other."""
        scope, verb = f"/storageaccounts/{target.account}", "read" if method in ("GET", "HEAD") else "write"
        if principal.scope:
            workspace = _workspace(principal.scope)
            scope = workspace.key if workspace else self._owner_within(principal.scope, target.account)
            if not scope or (workspace and self.account(scope) != target.account):
                return False
        try:
            self.authorize(principal, f"{ML}/workspaces/datastores/{verb}", scope)
        except ArmError:
            return False
        return True

    def _owner_within(self, scope: str, account: str) -> str:
        """The key of the workspace below a subscription or group whose account this is, '' where there is none."""
        below = scope.lower().rstrip("/") + "/"
        with self._database.read() as connection:
            keys = [one for one in resources.keys_of_kind(connection, "workspaces") if one.startswith(below)]
            rows = resources.get_many(connection, keys)
        return next((key for key, row in rows.items() if row.status.get("account") == account), "")


def _workspace(scope: str) -> ResourceId | None:
    """The workspace that a scope is, or is in; None for one above all workspaces, and for what is no id."""
    try:
        return ResourceId.parse(scope).workspace
    except NotAnId:
        return None


class RecentPermits:
    """`Workspaces.permits`, remembered for a moment: a blob is read in less time than it takes to ask the database.

    What ends in this process is forgotten at once (`ended`), what ends in another after `fresh_s`.
    """

    def __init__(
        self,
        permits: Callable[[Principal, Target, str], bool],
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._permits = permits
        self._fresh_s = fresh_s
        self._clock = clock
        self._known: dict[tuple[Principal, str, bool], tuple[float, bool]] = {}
        self._changes = 0
        self._lock = Lock()

    def recent(self, principal: Principal, target: Target, method: str) -> bool | None:
        """What was found within the last moment, or None. Never waits."""
        known = self._known.get(_question(principal, target, method))
        return known[1] if known is not None and self._clock() - known[0] < self._fresh_s else None

    def __call__(self, principal: Principal, target: Target, method: str) -> bool:
        """Reads the database."""
        asked_at, changes = self._clock(), self._changes
        answer = self._permits(principal, target, method)
        with self._lock:
            if changes == self._changes:  # else something ended while we asked
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[_question(principal, target, method)] = (asked_at, answer)
        return answer

    def ended(self, key: str) -> None:
        """The resource `key` changed.

        What was remembered of principals that stand for it, or are in it, counts no longer.
        """
        with self._lock:
            self._changes += 1
            for one in [one for one in self._known if concerns(one[0], key)]:
                del self._known[one]


def _question(principal: Principal, target: Target, method: str) -> tuple[Principal, str, bool]:
    return principal, target.account, method in ("GET", "HEAD")


class LivingHeaders(IdentityHeaders):
    """The header of a job, replica or instance that has ended gives no tokens any more, whatever they would be for."""

    def __init__(
        self,
        settings: Settings,
        lives: Callable[[Principal], bool],
        runs: Callable[[str], bool] = lambda holder: False,
    ) -> None:
        super().__init__(settings)
        self._lives, self._runs = lives, runs

    def read(self, header: str) -> HeaderGrant | None:
        grant = super().read(header)
        if grant is None or (grant.holder and not self._runs(grant.holder)):
            return None
        return grant if self._lives(grant.principal) else None
