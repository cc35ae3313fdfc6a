"""Code snapshots: uploaded once for each content hash, found again by it, immutable.

A client asks by hash over all names, then for a place to upload to, then registers the snapshot.
"""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.kind import Action, Admitted, Kind, Request
from smalt.kinds.references import locate
from smalt.kinds.uploads import pending_upload
from smalt.kinds.versions import NAME, VersionProperties, admit_version, container, fixed_files, version_removed
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
    if not locate(request.platform, connection, request.id.workspace, uri, field).account:
        raise invalid(f"{field}: code must be in a datastore of this workspace, not at {uri[:200]}; upload it.", field)


KINDS = [
    container("workspaces/codes", "code"),
    Kind(
        path="workspaces/codes/versions",
        title="code version",
        properties=CodeProperties,
        admit=_admit,
        creates_parent=True,
        actions={"startPendingUpload": Action(pending_upload, needs_row=False)},
        list_lookup="hash",
        lookup_across=True,
        deleted=version_removed,
        name_pattern=NAME,
    ),
]
