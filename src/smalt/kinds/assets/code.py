"""Code snapshots: uploaded once for each content hash, found again by it, immutable.

A client asks by hash over all names, then for a place to upload to, then registers the snapshot.
"""

from __future__ import annotations

from urllib.parse import quote

from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.kind import Action, Admitted, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.kinds.assets.addresses import InAccount, NotAnAddress, parse
from smalt.kinds.assets.references import locate
from smalt.kinds.assets.uploads import pending_upload
from smalt.kinds.assets.versions import NAME, VersionProperties, admit_version, container, fixed_files, version_removed
from smalt.settings import AZURE_SUFFIX
from smalt.store.resources import Row


class CodeProperties(VersionProperties):
    code_uri: str


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    own = request.body["properties"].get("properties") or {}
    if old is None:
        _check_place(request, connection, request.body["properties"]["codeUri"])
    fixed = fixed_files(request, connection, "codeUri")
    return admit_version(request, connection, old, fixed=fixed, spec=request.body, lookup=own.get("hash_sha256"))


def _check_place(request: Request, connection: Connection, uri: str) -> None:
    """Raises ArmError(400): processes here start in a copy of the folder, so it must be one of ours."""
    field = "properties.codeUri"
    if not locate(request.platform, connection, request.id.home, uri, field).account:
        raise invalid(f"{field}: code must be in a datastore of this workspace, not at {uri[:200]}; upload it.", field)


def _view(platform: Platform, row: Row) -> Document:
    """Clients download code only from a URL with Azure's own suffix in it."""
    try:
        here = f"{platform.settings.host}:{platform.settings.port}"
        place = parse(str(row.properties["codeUri"]), here, lambda account: True)  # it is in one of ours
    except NotAnAddress:
        return {}
    if not isinstance(place, InAccount):
        return {}
    path = quote(place.path.rstrip("/"))
    return {"codeUri": f"{platform.settings.url}/{place.account}.blob.{AZURE_SUFFIX}/{place.container}/{path}"}


KINDS = [
    container("workspaces/codes", "code"),
    Kind(
        path="workspaces/codes/versions",
        title="code version",
        properties=CodeProperties,
        admit=_admit,
        view=_view,
        creates_parent=True,
        actions={"startPendingUpload": Action(pending_upload, needs_row=False)},
        list_lookup="hash",
        lookup_across=True,
        deleted=version_removed,
        name_pattern=NAME,
    ),
]
