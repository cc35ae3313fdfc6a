"""Who asks, what proves it, and what they may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

SIGN_IN = ("owner", "servicePrincipal", "managedIdentity")  # kinds of who comes of his own accord
ASSIGNED_IDENTITY = "assignedIdentity"  # a user-assigned one: what a job that names it is
IN_TABLE = ("servicePrincipal", "managedIdentity", ASSIGNED_IDENTITY)  # kinds that live as long as their row
GUEST = "guest"  # who comes with a shared link


@dataclass(frozen=True)
class Principal:
    """Who is asking. `scope` limits it to a resource (lowered ARM id) and what is below; empty: everything.

    `shared`: of a guest, the resources (lowered ids) that his link shows. `holder`: the job that was given this
    identity, with which its tokens end (`Workspaces.runs`).
    """

    oid: str
    name: str
    kind: str  # owner, servicePrincipal, managedIdentity, assignedIdentity, job, endpoint, guest
    tenant: str
    client_id: str = ""
    scope: str = ""
    shared: frozenset[str] = frozenset()
    holder: str = ""

    @property
    def acts_for_what_runs(self) -> bool:
        """A job or a deployment asks, whatever identity it was given; any kind that is not known to be another."""
        return self.kind not in (*SIGN_IN, GUEST)


class Grants(Protocol):
    """What principals may do where. Nobody else decides that: neither for one resource, nor for a list."""

    def check(self, principal: Principal, action: str, resource_id: str) -> None:
        """Raises ArmError(403) if `principal` may not do `action` (ARM's: provider/type/verb) on the resource."""
        ...

    def reach(self, principal: Principal, action: str) -> Sequence[str] | None:
        """Ids at and below which `principal` may do `action`, of which a list then shows what is there.

        None: everywhere.
        """
        ...

    def partly(self, principal: Principal, action: str, scope: str) -> bool:
        """Whether who may not do `action` at `scope` is shown what of a list there is in reach, and not refused."""
        ...


class Tokens(Protocol):
    def issue(self, principal: Principal, audience: str, lifetime_s: float) -> str: ...

    def verify(self, token: str, audiences: Sequence[str]) -> Principal:
        """Raises ArmError(401): signature, algorithm, issuer, audience, expiry, not-before."""
        ...


class IdentityHeaders(Protocol):
    def mint(self, principal: Principal, lifetime_s: float, holder: str = "") -> str:
        """What a process sends to the managed-identity endpoint as `X-IDENTITY-HEADER` to be `principal` there.

        `holder`: the task of a compute instance, or the job, with which it ends (`Workspaces.runs`).
        """
        ...
