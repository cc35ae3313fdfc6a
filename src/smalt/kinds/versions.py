"""What data, models, environments, components and codes have in common: a container of immutable versions.

The container's status holds the newest version and the next number, kept in the transaction that writes a version, so that
`latest` and `nextVersion` cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from smalt.arm.assets import note_version
from smalt.arm.errors import ArmError
from smalt.arm.kind import Admitted, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties
from smalt.store import resources
from smalt.store.resources import Lock, Row

CHANGED_PATH = "Asset paths cannot be updated."  # with the code UserError: clients know this text


class ContainerProperties(Properties):
    description: str | None = None
    is_archived: bool | None = None
    tags: dict[str, str | None] | None = None


class VersionProperties(Properties):
    description: str | None = None
    is_archived: bool | None = None
    is_anonymous: bool | None = None
    tags: dict[str, str | None] | None = None
    properties: dict[str, str | None] | None = None


def container(path: str, title: str) -> Kind:
    """The kind of a container: archived as a whole, made by its first version."""
    return Kind(
        path=path, title=title, properties=ContainerProperties, admit=_admit_container, view=_view_container,
        put_status=201, name_pattern=NAME, list_filter=_is_named,
    )  # fmt: skip


NAME = r"^[a-zA-Z0-9_][a-zA-Z0-9_.\-]{0,254}$"


def _is_named(row: Row, query: Mapping[str, str]) -> bool:
    """Lists leave out what clients made on the way, without a name of the user's."""
    return not row.status.get("anonymous")


def _admit_container(request: Request, connection: Connection, old: Row | None) -> Admitted:
    return Admitted(request.body, archived=bool(request.body["properties"].get("isArchived")))


def _view_container(platform: Platform, row: Row) -> Document:
    shown: Document = {
        "latestVersion": row.status.get("latest"),
        "nextVersion": str(row.status.get("next", 1)),
        "isArchived": row.archived,
        "description": row.properties.get("description"),
        "tags": row.properties.get("tags") or {},
        "properties": row.properties.get("properties") or {},
    }
    if row.kind.endswith("/components") and row.status.get("latest"):  # the first is 1, those after it are times
        now = datetime.fromtimestamp(platform.clock(), UTC)
        shown["nextVersion"] = now.strftime("%Y-%m-%d-%H-%M-%S-%f0")
    if row.kind.endswith("/data"):
        shown["dataType"] = row.properties.get("dataType") or row.status.get("type")
    return shown


def admit_version(
    request: Request,
    connection: Connection,
    old: Row | None,
    *,
    fixed: Sequence[str],
    spec: Mapping[str, Any],
    lookup: str | None = None,
    type_: str | None = None,
    message: str = CHANGED_PATH,
) -> Admitted:
    """A version: `fixed` properties cannot change once it exists; tags, description and archiving can."""
    properties = spec["properties"]
    unnamed = old is not None and bool(properties.get("isAnonymous") and old.properties.get("isAnonymous"))
    if old is not None and unnamed and message == CHANGED_PATH:
        # its name is the hash of what it holds, so the same again from elsewhere is the version that is there already
        properties = {**properties, **{name: old.properties[name] for name in fixed if name in old.properties}}
        spec = {**spec, "properties": properties}
    if old is not None:
        for name in fixed:
            if _same(properties.get(name)) != _same(old.properties.get(name)):
                raise ArmError(
                    400 if message == CHANGED_PATH else 409,
                    "UserError",
                    message,
                    target=f"properties.{name}",
                    details=[
                        ArmError(
                            400,
                            "ImmutableField",
                            f"properties.{name} of version {old.name} is fixed; make a new version.",
                        )
                    ],
                )
    archived = bool(properties.get("isArchived"))

    def writes(connection: Connection) -> None:
        above = resources.get(connection, request.id.parent.key, Lock.WRITE)
        if above is not None:
            note_version(connection, above, request.id.name, type_, new=old is None)
            if bool(properties.get("isAnonymous")) and old is None and above.status.get("latest") is None:
                resources.merge_status(connection, above.id, {"anonymous": True})

    return Admitted(spec, lookup=lookup, archived=archived, writes=writes)


def _same(value: Any) -> Any:
    return value.rstrip("/") if isinstance(value, str) else value


def version_removed(connection: Connection, row: Row, now: float) -> None:
    above = resources.get(connection, row.parent, Lock.WRITE)
    if above is not None:
        note_version(connection, above, row.name, None, new=False)
