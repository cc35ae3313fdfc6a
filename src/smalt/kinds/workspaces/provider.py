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


def _one(request: Request) -> Document:
    """Raises ArmError(404)."""
    namespace = request.id.name.lower()
    kinds = [kind for kind in request.kinds.values() if kind.scopes and kind.provider.lower() == namespace]
    if not kinds:
        message = f"The resource namespace '{request.id.name}' is invalid: it is not known here."
        raise ArmError(404, "InvalidResourceNamespace", message, target=request.id.name)
    return _shown(request, kinds)


def _shown(request: Request, kinds: list[Kind]) -> Document:
    provider = kinds[0].provider
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
            for kind in sorted(kinds, key=lambda kind: kind.path)
        ],
    }


def _read(request: Request) -> tuple[int, Any]:
    return 200, _one(request)


def _list(request: Request) -> tuple[int, Any]:
    providers = sorted({kind.provider for kind in request.kinds.values() if kind.scopes})
    kinds = {
        one: [kind for kind in request.kinds.values() if kind.provider == one and kind.scopes] for one in providers
    }
    return 200, {"value": [_shown(request, kinds[one]) for one in providers]}


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
