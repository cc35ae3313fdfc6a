"""How a row becomes the document that clients read, and what of a request's document is kept.

Shape: https://github.com/cloud-and-ai-microsoft/resource-provider-contract/blob/master/v1.0/common-api-details.md
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from smalt.arm.bounds import check_size, check_tags
from smalt.arm.errors import invalid
from smalt.arm.kind import OURS, Kind
from smalt.arm.platform import Platform
from smalt.store.document import Document
from smalt.store.resources import Row

_READ_ONLY = {"id", "name", "type", "systemData", "etag", OURS}
_IDENTITIES = ("None", "SystemAssigned", "UserAssigned", "SystemAssigned,UserAssigned")


def timestamp(seconds: float) -> str:
    """ISO 8601 with a Z, in UTC, as the service writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def etag(row: Row) -> str:
    """Changes with the spec, not with what the reconciler finds: an update is not refused for a heartbeat."""
    return f'"{int(row.created_at * 1000):x}-{row.generation:x}-{int(row.changed_at * 1000) & 0xFFFFFFFF:x}"'


def document(platform: Platform, kind: Kind, row: Row, alone: bool = False) -> Document:
    """The resource as clients see it; `alone`, with what lists leave out."""
    body: Document = {key: value for key, value in row.spec.items() if key != OURS and value is not None}
    properties: Document = dict(row.properties)
    properties.setdefault("provisioningState", row.state)
    properties.update(row.status.get("properties") or {})
    if kind.view is not None:
        properties.update(kind.view(platform, row))
    if alone and kind.detail is not None:
        properties.update(kind.detail(platform, row))
    body["properties"] = properties
    body.update(
        id=row.written,
        name=row.name,
        type=kind.qualified,
        etag=etag(row),
        systemData={
            "createdAt": timestamp(row.created_at),
            "createdBy": row.created_by,
            "createdByType": "User",
            "lastModifiedAt": timestamp(row.changed_at),
            "lastModifiedBy": row.changed_by,
            "lastModifiedByType": "User",
        },
    )
    return body if kind.shape is None else kind.shape(platform, row, body)


def accepted(kind: Kind, body: Mapping[str, Any], old: Row | None, api_version: str) -> Document:
    """The spec that a PUT asks for: unknown fields are kept, read-only ones dropped.

    A property that this client's api-version does not know yet (`Kind.since`) keeps its stored value.
    """
    spec: Document = {key: value for key, value in body.items() if key not in _READ_ONLY}
    if isinstance(identity := spec.get("identity"), dict):
        spec["identity"] = spelled_identity(identity)  # pyright: ignore[reportUnknownArgumentType]
    given = spec.get("properties")
    if given is not None and not isinstance(given, dict):
        raise invalid("'properties' must be an object.", "properties")
    properties: Document = dict(given or {})  # pyright: ignore[reportUnknownArgumentType]
    properties.pop("provisioningState", None)
    if old is not None:
        for name, since in kind.since.items():
            if name not in properties and name in old.properties and api_version and api_version < since:
                properties[name] = old.properties[name]
    spec["properties"] = properties
    check_tags(spec, old.spec if old else None)
    return spec


def spelled_identity(identity: Mapping[str, Any]) -> Document:
    """An identity with its type as the service writes it: clients send `Userassigned`, and read `UserAssigned`."""
    known = {one.lower(): one for one in _IDENTITIES}
    given = identity.get("type")
    spelled = known.get(str(given).replace(" ", "").lower(), given)
    found: Document = {key: spelled if key == "type" else value for key, value in identity.items()}
    if isinstance(found.get("userAssignedIdentities"), dict):  # clients read no list with one that is null
        named = cast("Document", found["userAssignedIdentities"])
        found["userAssignedIdentities"] = {id_: {} if one is None else one for id_, one in named.items()}
    return found


def patched(kind: Kind, old: Mapping[str, Any], patch: Mapping[str, Any]) -> Document:
    """What a PATCH makes of `old`: a merge, but for `tags` and `Kind.whole`.

    Those given are all that stay, or none could be taken away.
    """
    body = merged(old, patch)
    if isinstance(tags := patch.get("tags"), Mapping):
        body["tags"] = merged({}, tags)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(given := patch.get("properties"), dict):
        asked: Document = given  # pyright: ignore[reportUnknownVariableType]
        body["properties"] |= {name: asked[name] for name in kind.whole if isinstance(asked.get(name), Mapping)}
    check_size(body)
    return body


def merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> Document:
    """JSON merge patch (RFC 7396): null removes, objects merge, all else replaces."""
    result: Document = dict(old)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)  # pyright: ignore[reportUnknownArgumentType]
        else:
            result[key] = value
    return result
