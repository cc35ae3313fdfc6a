"""Where the files of an asset or a datastore are, and the signature that opens them to whoever asks.

The API says both: a datastore's own route, `listSecrets` for what is elsewhere in the workspace's account, and
`getBlobReferenceSAS` of a registry. So who may not read the files is refused by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from smalt.arm.ids import ResourceId, workspace_id
from smalt.kinds.assets import addresses
from smalt.kinds.assets.addresses import Elsewhere, InAccount, InDatastore, NotAnAddress
from smalt.settings import STORAGE_SUFFIX
from smalt.studio.platform_api import Refused
from smalt.studio.visit import Visit

_UPLOADS = "workspaceblobstore"  # whose signature opens the whole account of its workspace
_HOST_AND_ACCOUNT = re.compile(r"(?:[^/]*/)?([a-z0-9]{3,24})")


@dataclass(frozen=True)
class Place:
    """A blob, or with `/` at its end (or empty) a folder: `root`. `sas`: a query without `?`."""

    account: str
    container: str
    root: str
    sas: str

    @property
    def url(self) -> str:
        """Of the container, on this origin."""
        return f"/{self.account}.blob.{STORAGE_SUFFIX}/{self.container}"

    @property
    def is_folder(self) -> bool:
        return not self.root or self.root.endswith("/")


async def in_datastore(visit: Visit, name: str, path: str = "", workspace: ResourceId | None = None) -> Place:
    """Raises Refused, also for storage outside of this platform."""
    found = await visit.api.get(f"/datastore/v1.0{workspace or visit.workspace}/datastores/{name}")
    section = found["azureStorageSection"]
    account = _HOST_AND_ACCOUNT.fullmatch(str(section["accountName"]))
    assert account is not None, "the API says it as HOST:PORT/ACCOUNT"
    return Place(account[1], str(section["containerName"]), path, str(section["credential"]))


async def of_version(visit: Visit, version: dict[str, Any], uri: str, folder: bool) -> Place:
    """Of a version of the workspace or of a registry, whose files are at `uri`. Raises Refused."""
    id_ = ResourceId.parse(str(version["id"])) if not str(version["id"]).startswith("azureml:") else None
    try:
        found = addresses.parse(uri, visit.http.url.netloc, lambda account: True, is_code=True)
    except NotAnAddress as error:
        raise Refused(404, "NoFilesHere", f"{error}.") from None
    if id_ is not None and id_.home.kind == "registries":
        return await _in_registry(visit, id_, found, folder)
    if isinstance(found, InDatastore):
        workspace = workspace_id(*found.workspace) if found.workspace else visit.workspace
        return await in_datastore(visit, found.store, _root(found.path, folder), workspace)
    if isinstance(found, InAccount):
        place = await in_datastore(visit, _UPLOADS)
        if place.account == found.account:
            secrets = await visit.api.read_secrets(f"{visit.workspace}/datastores/{_UPLOADS}/listSecrets")
            sas = str(secrets.get("sasToken") or "")
            return replace(place, container=found.container, root=_root(found.path, folder), sas=sas)
    where = found.url if isinstance(found, Elsewhere) else uri
    raise Refused(
        404, "NoFilesHere", f"The files are at {where[:300]}: no storage of this workspace, so no page has them."
    )


async def _in_registry(visit: Visit, id_: ResourceId, found: addresses.Address, folder: bool) -> Place:
    answer = await visit.api.read_secrets(f"{id_}/getBlobReferenceSAS")
    if not isinstance(found, InAccount):
        raise Refused(404, "NoFilesHere", "The files are not in the registry's storage, so no page has them.")
    sas = urlsplit(str(answer["blobReferenceForConsumption"]["credential"]["sasUri"])).query
    return Place(found.account, found.container, _root(found.path, folder), sas)


def _root(path: str, folder: bool) -> str:
    path = path.strip("/")
    return f"{path}/" if folder and path else path
