"""The providers that there are here, with their types, as clients look them up before they use one.

https://learn.microsoft.com/rest/api/resources/providers
"""

from __future__ import annotations

from typing import Any

from smalt.arm.errors import ArmError
from smalt.arm.ids import RESOURCES, Scope
from smalt.arm.kind import Action, Document, Kind, Request
from smalt.settings import REGION
from smalt.store.resources import Row

API_VERSIONS = ("2025-04-01", "2024-10-01")  # any is taken; clients choose one of those that they are told


def _kinds(request: Request) -> dict[str, list[Kind]]:
    """Those with an address, by their provider."""
    found: dict[str, list[Kind]] = {}
    for kind in sorted(request.kinds.values(), key=lambda kind: (kind.provider, kind.path)):
        if kind.scopes:
            found.setdefault(kind.provider, []).append(kind)
    return found


def _one(request: Request) -> Document:
    """Raises ArmError(404)."""
    for provider, kinds in _kinds(request).items():
        if provider.lower() == request.id.name.lower():
            return _shown(request, provider, kinds)
    message = f"The resource namespace '{request.id.name}' is invalid: it is not known here."
    raise ArmError(404, "InvalidResourceNamespace", message, target=request.id.name)


def _shown(request: Request, provider: str, kinds: list[Kind]) -> Document:
    return {
        "id": f"{request.id.holder}/providers/{provider}",
        "namespace": provider,
        "registrationPolicy": "RegistrationFree",
        "registrationState": "Registered",
        "resourceTypes": [
            {
                "resourceType": kind.path,
                "locations": [REGION],
                "apiVersions": list(API_VERSIONS),
                "defaultApiVersion": API_VERSIONS[0],
                "capabilities": "SupportsTags, SupportsLocation" if kind.tracked else "None",
            }
            for kind in kinds
        ],
    }


def _read(request: Request) -> tuple[int, Any]:
    return 200, _one(request)


def _list(request: Request) -> tuple[int, Any]:
    return 200, {"value": [_shown(request, provider, kinds) for provider, kinds in _kinds(request).items()]}


def _register(request: Request, _: Row | None) -> tuple[int, Any]:
    """All that is here is registered."""
    return 200, _one(request)


KIND = Kind(
    path="providers",
    title="provider",
    provider=RESOURCES,
    scopes=frozenset({Scope.TENANT, Scope.SUBSCRIPTION}),
    verbs={"GET": _read, "LIST": _list},
    actions={"register": Action(_register, needs_row=False)},
)
