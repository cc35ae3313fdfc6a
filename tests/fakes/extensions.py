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
CONTAINER_REGISTRY = Kind(  # ML has a type of this name too
    path="registries", title="container registry", provider="Microsoft.ContainerRegistry", admit=_admit
)
ML_REGISTRY = Kind(path="registries", title="registry", admit=_admit)
KINDS = (ASSIGNMENTS, DEFINITIONS)
