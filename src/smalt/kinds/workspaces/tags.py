"""`{any id}/providers/Microsoft.Resources/tags/default`: the tags of a resource, a group or a subscription themselves.

https://learn.microsoft.com/rest/api/resources/tags
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from smalt.arm.envelope import etag
from smalt.arm.errors import ArmError, invalid, not_found
from smalt.arm.ids import RESOURCES
from smalt.arm.kind import EXTENDS, Document, Kind, Request
from smalt.store import resources
from smalt.store.resources import Row

Tags = dict[str, Any]
_TRIES = 4  # of a change that meets others


def _merged(old: Tags, given: Tags) -> Tags:
    """Names compare without case; one that is there keeps its spelling."""
    spelled = {name.lower(): name for name in old}
    return {**old, **{spelled.get(name.lower(), name): value for name, value in given.items()}}


def _without(old: Tags, given: Tags) -> Tags:
    """Those named are gone; a value that is not empty must be the tag's."""
    named = {name.lower(): value for name, value in given.items()}
    return {
        name: value
        for name, value in old.items()
        if name.lower() not in named or named[name.lower()] not in ("", None, value)
    }


def _replaced(_: Tags, given: Tags) -> Tags:
    return given


_OPERATIONS: Mapping[str, Callable[[Tags, Tags], Tags]] = {
    "merge": _merged,
    "replace": _replaced,
    "delete": _without,
}


def _read(request: Request) -> tuple[int, Any]:
    return 200, _shown(request, _tags(_holder(request)))


def _put(request: Request) -> tuple[int, Any]:
    return _changed(request, _replaced, _given(request))


def _patch(request: Request) -> tuple[int, Any]:
    operation = _OPERATIONS.get(str(request.body.get("operation")).lower())
    if operation is None:
        raise invalid("operation: this must be Merge, Replace or Delete.", "operation")
    return _changed(request, operation, _given(request))


def _delete(request: Request) -> tuple[int, Any]:
    _changed(request, _replaced, {})
    return 200, None


def _given(request: Request) -> Tags:
    properties = request.body.get("properties")
    tags = cast("Tags", properties).get("tags") if isinstance(properties, dict) else None
    if not isinstance(tags, dict):
        raise invalid("properties.tags: this must be an object of texts.", "properties.tags")
    return cast("Tags", tags)


def _changed(request: Request, change: Callable[[Tags, Tags], Tags], given: Tags) -> tuple[int, Any]:
    """The change, as a PATCH of the resource makes it. Raises ArmError as that does."""
    assert request.patch is not None
    for left in reversed(range(_TRIES)):
        row = _holder(request)
        tags = change(_tags(row), given)
        try:
            request.patch(replace(request, id=request.id.parent, body={"tags": tags}), etag(row))
        except ArmError as error:
            if error.status == 412 and left:
                continue
            raise
        break
    return 200, _shown(request, _tags(_holder(request)))


def _holder(request: Request) -> Row:
    """The resource whose tags are meant. Raises ArmError(400, 404)."""
    above = request.id.parent
    if request.id.name.lower() != "default":
        raise not_found("Tags", request.id.name)
    kind = request.kinds[above.kind]
    if not kind.tracked:
        message = f"A {kind.title} has no tags of Resource Manager; its own are in its document, where it has any."
        raise ArmError(400, "TagsNotSupported", message, target="id")
    with request.platform.database.read() as connection:
        row = resources.get(connection, above.key)
    if row is None:
        raise not_found(kind.title.capitalize(), above.name)
    return row


def _tags(row: Row) -> Tags:
    return dict(row.spec.get("tags") or {})


def _shown(request: Request, tags: Tags) -> Document:
    return {
        "id": str(request.id),
        "name": "default",
        "type": f"{RESOURCES}/tags",
        "properties": {"tags": tags},
    }


KIND = Kind(
    path="tags",
    title="set of tags",
    provider=RESOURCES,
    scopes=EXTENDS,
    verbs={"GET": _read, "PUT": _put, "PATCH": _patch, "DELETE": _delete},
)
