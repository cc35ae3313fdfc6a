"""Code snapshots: uploaded once for each content hash, found again by it, immutable.

A client asks by hash over all names, then for a place to upload to, then registers the snapshot.
"""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.arm.kind import Action, Admitted, Kind, Request
from smalt.kinds.uploads import pending_upload
from smalt.kinds.versions import NAME, VersionProperties, admit_version, container, version_removed
from smalt.store.resources import Row


class CodeProperties(VersionProperties):
    code_uri: str


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    own = request.body["properties"].get("properties") or {}
    return admit_version(request, connection, old, fixed=("codeUri",), spec=request.body, lookup=own.get("hash_sha256"))


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
