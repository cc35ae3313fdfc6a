"""As whom a job may act: `identity` of its document.

- `AMLToken`, or none: as itself, which is all that its token and its managed identity are.
- `Managed`: the same. It is what the compute's own identity is on Azure. One that is named is a user-assigned identity
  of the job's cluster: `ManagedIdentityCredential` gets its tokens, for the workspace and while the job runs.
- `UserIdentity`: also as whoever submitted it, with `AzureMLOnBehalfOfCredential`, which asks at `OBO_ENDPOINT`.

Only who signed in can lend a job an identity: not a job that submits another, and not a component, which others write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.arm.assigned import assigned
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document
from smalt.arm.platform import Platform
from smalt.arm.ports import ASSIGNED_IDENTITY, SIGN_IN, Principal
from smalt.kinds.jobs.model import AUTHOR, IDENTITIES
from smalt.kinds.jobs.pipelines.graph import Step
from smalt.settings import TENANT
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

USER, _MANAGED = "UserIdentity", "Managed"
HOLDER = "job:"  # what the names of jobs begin with that were given another's identity
_FIELD = "properties.identity"
_SIGNED_IN = "signed_in"  # in a spec's own part, of the author: he submitted it himself
_NAMES = ("clientId", "objectId", "resourceId")
_ASSIGNED = "identity"  # in a spec's own part: the identity that the job named


def author(one: Principal) -> Document:
    """What is kept of who submits a job himself."""
    said: Document = {"oid": one.oid, "name": one.name, "kind": one.kind, "scope": one.scope}
    return said | ({_SIGNED_IN: True, "client_id": one.client_id} if one.kind in SIGN_IN else {})


def handed_on(kept: Mapping[str, Any]) -> Document:
    """The author of what a job submits: the same, whose identity it has not."""
    return {key: one for key, one in kept.items() if key != _SIGNED_IN}


def type_of(properties: Mapping[str, Any]) -> str:
    said = str(part(properties, "identity").get("identityType") or "").lower()
    return next((one for one in IDENTITIES if one.lower() == said), "")


def check(connection: Connection, properties: Document, ours: Document) -> Document:
    """What is kept of the identity that the job names. Raises ArmError(400).

    Of what a parent or a schedule submits the author is not known yet: they were checked. A pipeline or sweep has no
    compute of its own: what it submits is checked, when it is taken.
    """
    type_ = type_of(properties)
    if type_ == USER and AUTHOR in ours and not ours[AUTHOR].get(_SIGNED_IN):
        raise invalid(
            f"{_FIELD}.identityType: {USER} is for jobs that somebody submits who signed in; this one is submitted"
            " by another job or a deployment, which have no identity but their own to give. Leave identity out.",
            f"{_FIELD}.identityType",
        )
    given = {name: str(one) for name in _NAMES if (one := part(properties, "identity").get(name))}
    if type_ != _MANAGED or not given or not ours.get("compute"):
        return {}
    compute = resources.get(connection, ours["compute"])
    for one in assigned(connection, compute) if compute is not None else ():
        called = {"clientId": one.client_id, "objectId": one.oid, "resourceId": one.key}
        if all(called[name] == _plain(said) for name, said in given.items()):
            return {_ASSIGNED: {"oid": one.oid, "name": one.name, "client_id": one.client_id}}
    name, said = next(iter(given.items()))
    raise invalid(
        f"{_FIELD}.{name}: the job's compute has no managed identity '{said[:200]}'. Make one (az identity"
        " create), give it to a cluster (identity.userAssignedIdentities) and run the job there; or leave it out, and"
        f" ManagedIdentityCredential() is the job's own; or have the job act as whoever submits it: {USER}.",
        f"{_FIELD}.{name}",
    )


def _plain(said: str) -> str:
    return said.strip().lower().rstrip("/")


def check_steps(steps: Iterable[Step], pipeline: Document, field: str) -> None:
    """Of a pipeline whose steps a component says. Raises ArmError(400)."""
    for step in steps:
        if type_of(step.settings) == USER and type_of({"identity": pipeline}) != USER:
            where = f"{field}.{step.name}.identity"
            raise invalid(
                f"{where}: the pipeline component wants this step to act as whoever submits it. If that is wanted, say"
                f" so of the pipeline that uses the component: its own identity is then {USER}.",
                where,
            )


def lent(platform: Platform, row: Row, oid: str, lifetime_s: float) -> dict[str, str]:
    """Variables with which the job can act as its author, if it may, or as what it named. `oid`: the job's own.

    Raises ArmError(403): its compute has no longer what it named.
    """
    holder = f"{HOLDER}{oid}:{row.id}"
    if named := part(row.spec[OURS], _ASSIGNED):
        workspace = ResourceId.parse(row.written).workspace
        _check_still_given(platform, row, named)
        one = Principal(named["oid"], named["name"], ASSIGNED_IDENTITY, TENANT, named["client_id"], workspace.key)
        header = platform.identity_headers.mint(one, lifetime_s, holder)
        return {"IDENTITY_HEADER": header, "DEFAULT_IDENTITY_CLIENT_ID": one.client_id}
    kept = part(row.spec[OURS], AUTHOR)
    if type_of(row.properties) != USER or not kept.get(_SIGNED_IN):
        return {}
    one = Principal(kept["oid"], kept["name"], kept["kind"], TENANT, kept["client_id"], kept["scope"])
    key = platform.identity_headers.mint(one, lifetime_s, holder)
    return {"OBO_ENDPOINT": f"{platform.settings.url}/obo/token?key={key}"}


def _check_still_given(platform: Platform, row: Row, named: Mapping[str, Any]) -> None:
    """The job was taken when it was given; who takes it away means the jobs that wait, too. Raises ArmError(403)."""
    with platform.database.read() as connection:
        compute = resources.get(connection, row.spec[OURS]["compute"])
        given = assigned(connection, compute) if compute is not None else []
    if named["oid"] not in [one.oid for one in given]:
        raise ArmError(
            403,
            "IdentityNotAssigned",
            f"{_FIELD}: the job's compute has the managed identity '{named['name']}' ({named['client_id']}) no longer:"
            " it was deleted, or taken from the compute, after the job was submitted. Give it to the compute again"
            " (identity.userAssignedIdentities) and submit the job anew.",
            _FIELD,
        )


def check_visitor(row: Row, principal: Principal) -> None:
    """Raises ArmError(403): who is in a job that acts as somebody could do so, too."""
    if type_of(row.properties) != USER or principal.kind == "owner":
        return
    if principal.oid != part(row.spec[OURS], AUTHOR).get("oid"):
        raise ArmError(
            403,
            "AuthorizationFailed",
            f"Job '{row.name}' has the identity of whoever submitted it: nobody else connects to it.",
        )
