"""Registries: assets that all workspaces share. As a workspace they have a storage account; they have nothing else.

Their assets are those of workspaces (`kinds/assets/versions.py`). Names are the server's, as on Azure they are the
world's: clients find a registry by its name alone (`web/registries.py`).
https://learn.microsoft.com/rest/api/azureml/registries
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import conflict, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Action, Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties
from smalt.kinds.assets import imports, registries
from smalt.kinds.workspaces import supporting
from smalt.settings import REGION
from smalt.store.database import exclusive
from smalt.store.document import part
from smalt.store.resources import Row

_REGIONS = "properties.regionDetails"
_SYSTEM_ACCOUNT = "systemCreatedStorageAccount"


class _Account(Properties):
    storage_account_type: str | None = None


class _StorageDetails(Properties):
    system_created_storage_account: _Account | None = None
    user_created_storage_account: dict[str, Any] | None = None


class _Region(Properties):
    location: str | None = None
    storage_account_details: list[_StorageDetails] | None = None
    acr_details: list[dict[str, Any]] | None = None


class RegistryProperties(Properties):
    description: str | None = None
    public_network_access: str | None = None
    intellectual_property_publisher: str | None = None
    region_details: list[_Region] | None = None


def discovery_url(platform: Platform, name: str) -> str:
    """Where clients ask for the rest, knowing a registry's name."""
    return f"{platform.settings.url}/registrymanagement/v1.0/registries/{name}/discovery"


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    spec, name = dict(request.body), request.id.name
    spec["location"] = spec.get("location") or REGION
    spec["identity"] = {"type": "SystemAssigned", **(spec.get("identity") or {})}
    properties = spec["properties"] = dict(spec["properties"])
    regions = properties.get("regionDetails") or (old.properties.get("regionDetails") if old is not None else None)
    properties["regionDetails"] = [
        _region(one, at) for at, one in enumerate(regions or [{"location": spec["location"]}])
    ]
    account = registries.account_of(name)
    if old is None:
        _check_free(request, connection, account)
    state = "Succeeded" if old is not None and old.state == "Succeeded" else "Creating"
    return Admitted(spec, state=state, due=True, lookup=account, status={"account": account} if old is None else None)


def _check_free(request: Request, connection: Connection, account: str) -> None:
    """Raises ArmError(409) where a registry of this name is, in whatever group."""
    name = request.id.name
    if name.lower() == registries.SHIPPED:
        raise conflict(f"'{name}' is the registry of the environments that are shipped; choose another name.", "name")
    exclusive(connection, f"{registries.PATH}/{name.lower()}")
    if registries.named(connection, name) is not None or request.platform.account_keys.of(account) is not None:
        raise conflict(f"A registry '{name}' exists already, and names are the server's; choose another name.", "name")


def _region(given: Document, at: int) -> Document:
    """One of the places where the registry is said to be: all of them are here. Raises ArmError(400)."""
    field = f"{_REGIONS}[{at}]"
    if not given.get("location"):
        raise invalid(f"{field}.location is missing.", f"{field}.location")
    for one in given.get("storageAccountDetails") or []:
        if one.get("userCreatedStorageAccount"):
            raise invalid(
                f"{field}.storageAccountDetails: a registry here has a storage account of its own; leave it out.",
                f"{field}.storageAccountDetails",
            )
    return given


def _reconcile(platform: Platform, row: Row) -> Step:
    account = registries.account_of(row.name)
    if row.deleting:
        platform.blobs.remove(account)
        return Step(row.state, row.status, gone=True)
    platform.blobs.ensure_account(account)

    def writes(connection: Connection) -> None:
        supporting.ensure_account(connection, row, account, platform.clock())

    return Step("Succeeded", {**row.status, "account": account}, done=True, writes=writes)


def _view(platform: Platform, row: Row) -> Document:
    account = registries.account_of(row.name)
    storage = supporting.SUPPORTS["storageAccount"].default(ResourceId.parse(row.written), account)
    return {
        "discoveryUrl": discovery_url(platform, row.name),
        "publicNetworkAccess": row.properties.get("publicNetworkAccess") or "Enabled",
        "regionDetails": [_shown(one, str(storage)) for one in row.properties.get("regionDetails") or ()],
        "registryPrivateEndpointConnections": [],
    }


def _shown(region: Document, storage: str) -> Document:
    """With the account that all of it is in."""
    wanted = region.get("storageAccountDetails") or [{}]
    details: list[Document] = []
    for one in wanted:
        made = part(one, _SYSTEM_ACCOUNT)
        account = {
            "storageAccountName": storage.rpartition("/")[2],
            "armResourceId": {"resourceId": storage},
            "storageAccountType": made.get("storageAccountType") or "Standard_LRS",
            "storageAccountHnsEnabled": False,
        }
        details.append({_SYSTEM_ACCOUNT: account})
    return {**region, "acrDetails": region.get("acrDetails") or [], "storageAccountDetails": details}


KIND = Kind(
    path=registries.PATH,
    title="registry",
    tracked=True,
    properties=RegistryProperties,
    admit=_admit,
    reconcile=_reconcile,
    view=_view,
    check_delete=supporting.check_delete,
    deleted=supporting.remove,
    actions={"import": Action(imports.begin)},
    long_running=True,
    put_status=202,
    name_pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_\-]{2,32}$",
)
