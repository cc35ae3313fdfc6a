"""Code snapshots: uploaded once for each content hash, found again by it, immutable.

A client asks by hash over all names, then for a place to upload to, then registers the snapshot.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.kind import Action, Admitted, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.kinds.assets.addresses import InAccount, NotAnAddress, parse
from smalt.kinds.assets.references import locate
from smalt.kinds.assets.uploads import pending_upload
from smalt.kinds.assets.versions import (
    NAME,
    VersionProperties,
    admit_version,
    container,
    fixed_files,
    in_both_homes,
    version_removed,
)
from smalt.settings import AZURE_SUFFIX
from smalt.store.resources import Row


class CodeProperties(VersionProperties):
    code_uri: str


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    request = _with_place(request)
    own = request.body["properties"].get("properties") or {}
    if old is None:
        _check_place(request, connection, request.body["properties"]["codeUri"])
    fixed = fixed_files(request, connection, "codeUri")
    return admit_version(request, connection, old, fixed=fixed, spec=request.body, lookup=own.get("hash_sha256"))


def _with_place(request: Request) -> Request:
    """With the place's one spelling that every server reads: a client may send what another server has shown it."""
    settings, properties = request.platform.settings, request.body["properties"]
    place = _place(request.platform, properties["codeUri"])
    if place is None:
        return request
    uri = f"{settings.account_url(place.account)}/{quote(f'{place.container}/{place.path}')}"
    return replace(request, body={**request.body, "properties": {**properties, "codeUri": uri}})


def _place(platform: Platform, uri: str) -> InAccount | None:
    """None: it is written in another form, or is no address at all."""
    here = f"{platform.settings.host}:{platform.settings.port}"
    try:
        found = parse(uri, here, lambda account: True, is_code=True)  # that it is one of ours is checked with the PUT
    except NotAnAddress:
        return None
    return found if isinstance(found, InAccount) else None


def _check_place(request: Request, connection: Connection, uri: str) -> None:
    """Raises ArmError(400): processes here start in a copy of the folder, so it must be one of ours."""
    field = "properties.codeUri"
    if not locate(request.platform, connection, request.id.home, uri, field).account:
        raise invalid(f"{field}: code must be in storage of this platform, not at {uri[:200]}; upload it.", field)


def _view(platform: Platform, row: Row) -> Document:
    """Clients download code only from a URL with Azure's own suffix in it."""
    place = _place(platform, str(row.properties["codeUri"]))
    if place is None:
        return {}
    path = quote(place.path.rstrip("/"))
    return {"codeUri": f"{platform.settings.url}/{place.account}.blob.{AZURE_SUFFIX}/{place.container}/{path}"}


KINDS = in_both_homes(
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
)
