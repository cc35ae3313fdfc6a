"""Kinds that hang on other resources, for tests of addresses: as plain as can be."""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.arm.ids import Scope
from smalt.arm.kind import EXTENDS, Admitted, Kind, Request
from smalt.store.resources import Row

AUTHORIZATION = "Microsoft.Authorization"


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    return Admitted(request.body)


ASSIGNMENTS = Kind(
    path="roleAssignments", title="role assignment", provider=AUTHORIZATION, scopes=EXTENDS, admit=_admit
)
DEFINITIONS = Kind(
    path="roleDefinitions",
    title="role definition",
    provider=AUTHORIZATION,
    scopes=frozenset({Scope.TENANT, Scope.SUBSCRIPTION}),
    admit=_admit,
)
# two providers that have a type of one name
THEIR_FARMS = Kind(path="farms", title="farm", provider="Microsoft.Farming", admit=_admit)
ML_FARMS = Kind(path="farms", title="farm", admit=_admit)
KINDS = (ASSIGNMENTS, DEFINITIONS)
