"""The one place where it is decided who may do what.

Roles will be looked up here; today the kind of principal is the role.

- The owner and service principals may do everything (within their scope, where they have one).
- Jobs, the user-assigned identities that they name, and managed identities with a scope have what Azure calls *AzureML
  Data Scientist*, at and below it: all but the workspace itself, what other providers hang on it (role assignments,
  locks, …), its computes, and any keys that open more than the workspace. Unlike there, they do not choose how an
  endpoint that exists is opened: neither new keys, nor `authMode`, nor another endpoint in its place.
- Endpoints read what is in their scope.
- A guest, who came with a shared link, reads what it shows, by the actions in `SHOWN`, and nothing else.
- What is in a registry is there for everybody: whoever has a token reads it, wherever it is, and its files. To write
  there is to write, as anywhere else, and so is to read what was imported from where, and what happened when.
https://learn.microsoft.com/azure/machine-learning/how-to-assign-roles
"""

from __future__ import annotations

from collections.abc import Sequence

from smalt.arm.errors import ArmError, forbidden
from smalt.arm.ports import ASSIGNED_IDENTITY, GUEST, SIGN_IN, Principal
from smalt.arm.reach import covers, narrowed

UNLIMITED = frozenset(SIGN_IN)
WORKSPACES = "microsoft.machinelearningservices/workspaces"
WITHHELD = frozenset(
    f"{WORKSPACES}/{action}"
    for action in (
        "write",
        "delete",
        "listkeys/action",
        "resynckeys/action",
        "liststorageaccountkeys/action",
        "listnotebookkeys/action",
        "computes/write",
        "computes/delete",
        "computes/preempt/action",
        "computes/listkeys/action",
        "onlineendpoints/delete",
        "onlineendpoints/regeneratekeys/action",
        "sharedlinks/write",
        "sharedlinks/delete",
        "sharedlinks/getlink/action",
    )
)
# What a page that is shared asks of what it shows. All of these read; none of them gives a secret.
SHOWN = frozenset(
    (
        *(
            f"{WORKSPACES}/jobs/{action}"
            for action in (
                "read", "events/read", "changes/read", "lineage/action", "steps/action", "trials/action",
                "files/action", "file/action", "searchlog/action", "environment/action",
            )
        ),
        *(f"{WORKSPACES}/models/versions/{action}" for action in ("read", "changes/read", "lineage/action")),
        *(f"{WORKSPACES}/onlineendpoints/{action}" for action in ("read", "changes/read", "history/action")),
        f"{WORKSPACES}/onlineendpoints/deployments/read",
        "microsoft.insights/metrics/read",
    )
)  # fmt: skip
_REGISTRIES = "microsoft.machinelearningservices/registries"
_OF_ITS_KEEPERS = ("imports", "events", "changes")  # who wrote what, and from where
# Who asks which tenants and subscriptions there are is shown those that he may see something of.
ANYONE = frozenset({"microsoft.resources/tenants/read", "microsoft.resources/subscriptions/read"})


def authorize(principal: Principal, action: str, resource_id: str) -> None:
    """Return if `principal` may do `action` (ARM's: provider/type/verb) on `resource_id`; otherwise ArmError(403)."""
    if principal.kind == GUEST:
        if not _shown(principal, action.lower(), resource_id.lower()):
            raise _refusal(principal, action, resource_id)
        return
    if not resource_id and action.lower() in ANYONE:
        return
    if _reads_registry(action.lower(), resource_id.lower()):
        return
    if not _within(principal, resource_id.lower()) or not _granted(principal, action.lower()):
        raise _refusal(principal, action, resource_id)


class ScopeGrants:
    """`Grants` before there are roles: everything, within the principal's scope where it has one."""

    def check(self, principal: Principal, action: str, resource_id: str) -> None:
        authorize(principal, action, resource_id)

    def reach(self, principal: Principal, action: str) -> Sequence[str] | None:
        if principal.kind == GUEST:
            return tuple(sorted(principal.shared)) if action.lower() in SHOWN else ()
        shared = _is_for_all(action.lower()) and action.lower() != f"{_REGISTRIES}/read"
        return None if shared or principal.scope in ("", "/") else (principal.scope,)

    def partly(self, principal: Principal, action: str, scope: str) -> bool:
        """A token that is limited to something is refused elsewhere; a guest's page asks for its jobs by name."""
        return principal.kind == GUEST and bool(narrowed(self.reach(principal, action), scope.lower()))


def _shown(guest: Principal, action: str, resource_id: str) -> bool:
    return action in SHOWN and any(covers(one, resource_id) for one in guest.shared)


def _reads_registry(action: str, resource_id: str) -> bool:
    """A registry and what is in it, by its id: a list of all that are in a group is the group's."""
    return (
        _is_for_all(action)
        and f"/providers/{_REGISTRIES}/" in resource_id
        and action.endswith(("/read", "/getblobreferencesas/action"))
    )


def _is_for_all(action: str) -> bool:
    """What is done with a registry and its assets, not with what its keepers did there."""
    return action.startswith(f"{_REGISTRIES}/") and not set(action.split("/")) & set(_OF_ITS_KEEPERS)


def _within(principal: Principal, resource_id: str) -> bool:
    if principal.scope in ("", "/"):
        return principal.kind in UNLIMITED  # a job without a scope is a mistake of ours: it gets nothing
    scope = principal.scope.lower().rstrip("/")
    return bool(scope) and (resource_id == scope or resource_id.startswith(scope + "/"))


def _granted(principal: Principal, action: str) -> bool:
    if principal.kind in ("owner", "servicePrincipal") or (principal.kind == "managedIdentity" and not principal.scope):
        return True
    if principal.kind in ("job", "managedIdentity", ASSIGNED_IDENTITY):
        return action.endswith("/read") or (action.startswith(f"{WORKSPACES}/") and action not in WITHHELD)
    return principal.kind == "endpoint" and action.endswith("/read")


def _refusal(principal: Principal, action: str, resource_id: str) -> ArmError:
    return forbidden(
        f"The client '{principal.name or principal.client_id}' with object id '{principal.oid}' does not have "
        f"authorization to perform action '{action}' over scope '{resource_id}' or the scope is invalid. "
        "If access was recently granted, please refresh your credentials."
    )
