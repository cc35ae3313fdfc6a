"""What data, models, environments, components and codes have in common: a container of immutable versions.

They are in a workspace or in a registry, their *home* (`ResourceId.home`); their kinds are declared once, for both.

The container's status holds the newest version and the next number, kept in the transaction that writes a version, so
that `latest` and `nextVersion` cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from smalt.arm.assets import note_version
from smalt.arm.errors import ArmError
from smalt.arm.kind import Action, Admit, Admitted, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.arm.validation import ASSET_NAME, Properties, Texts
from smalt.kinds.assets import registries
from smalt.kinds.assets.references import asset, check_folder, is_asset, locate, place_key
from smalt.kinds.assets.uploads import blob_reference, pending_upload
from smalt.store import resources
from smalt.store.resources import Lock, Row

CHANGED_PATH = "Asset paths cannot be updated."  # with the code UserError: clients know this text


class ContainerProperties(Properties):
    description: str | None = None
    is_archived: bool | None = None
    tags: Texts | None = None


class VersionProperties(Properties):
    description: str | None = None
    is_archived: bool | None = None
    is_anonymous: bool | None = None
    tags: Texts | None = None
    properties: Texts | None = None


def container(path: str, title: str) -> Kind:
    """The kind of a container: archived as a whole, made by its first version."""
    return Kind(
        path=path,
        title=title,
        properties=ContainerProperties,
        admit=_admit_container,
        view=_view_container,
        put_status=201,
        name_pattern=NAME,
        list_filter=_is_named,
    )


NAME = ASSET_NAME


def in_both_homes(container_: Kind, version: Kind) -> list[Kind]:
    """The two kinds of a type of asset, which are a workspace's, with those of a registry.

    There they have no jobs and no MLflow beside them, so nothing to reconcile, and their files go through the registry.
    """
    there = [one.path.replace("workspaces", registries.PATH, 1) for one in (container_, version)]
    in_registry = replace(
        version,
        path=there[1],
        admit=_stored(version),
        reconcile=None,
        fail=None,
        derived=None,
        detail=None,
        newest_for=None,
        deleted=version_removed,
        delete_at_once=False,
        actions={
            **{name: one for name, one in version.actions.items() if name == "lineage"},
            "startPendingUpload": Action(pending_upload, needs_row=False),
            "getBlobReferenceSAS": Action(blob_reference, gives_secrets=True),
        },
    )
    return [container_, version, container(there[0], container_.title), in_registry]


def _stored(version: Kind) -> Admit:
    """As the workspace's kind admits it, and then it is there: nothing is to be done."""

    def admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
        assert version.admit is not None
        return replace(version.admit(request, connection, old), due=False)

    return admit


def _is_named(row: Row, query: Mapping[str, str]) -> bool:
    """Lists leave out what clients made on the way, without a name of the user's."""
    if row.status.get("anonymous") or query.get("dataType") not in (None, "", row.status.get("type")):
        return False
    if (shipped := query.get("shipped")) and (shipped == "true") != (row.created_by == "smalt"):
        return False
    return query.get("searchText", "").lower() in row.name.lower()


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


def meaning(value: Any) -> Any:
    """Without what says nothing (null, empty), at any depth: clients write back what they read, with or without it."""
    if isinstance(value, Mapping):
        kept = {key: meaning(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
        return {key: one for key, one in kept.items() if one is not None} or None
    if isinstance(value, list):
        return [meaning(one) for one in value] or None  # pyright: ignore[reportUnknownVariableType]
    return None if value == "" else value


@dataclass(frozen=True)
class Fixed:
    """What of a version cannot change: properties, each with a form in which two spellings of one value are equal.

    `status` and `message` refuse a change. `named_by_content`: two versions that are both anonymous have one name
    because they hold the same, so the one that is there stays, wherever the other lies.
    """

    forms: Mapping[str, Callable[[Any], Any]]
    message: str
    status: int = 409
    named_by_content: bool = False


def fixed_files(request: Request, connection: Connection, uri: str, *others: str) -> Fixed:
    """Of a version with files: their place, however the property `uri` writes it, and the properties `others`."""

    def place(given: Any) -> Any:
        return place_key(request.platform, connection, request.id.home, str(given))

    return Fixed({uri: place, **dict.fromkeys(others, meaning)}, CHANGED_PATH, 400, named_by_content=True)


def check_files(
    request: Request, connection: Connection, uri: str, field: str, type_: str = "data", input_type: str = "uri_file"
) -> str:
    """The address of a new version's files. Raises ArmError(400) for what nothing here can read.

    What other resources say, which may be deleted, is resolved now: a version of `type_`, the output of a job.
    """
    home = request.id.home
    if is_asset(uri):
        row = asset(connection, home, uri, type_, field)
        uri = str(row.properties["modelUri" if type_ == "models" else "dataUri"])
    place = locate(request.platform, connection, home, uri, field)
    check_folder(place, input_type, field)
    if home.kind == registries.PATH and place.account:
        return registries.files_uri(place.account, place.container, place.path)
    return place.uri


def admit_version(
    request: Request,
    connection: Connection,
    old: Row | None,
    *,
    spec: Mapping[str, Any],
    fixed: Fixed | None = None,
    lookup: str | None = None,
    type_: str | None = None,
) -> Admitted:
    """A version: what is `fixed` stays as it was written first; tags, description and archiving can change."""
    properties = spec["properties"]
    if old is not None and fixed is not None:
        properties = {**properties, **_kept(old, properties, fixed)}
        spec = {**spec, "properties": properties}
    archived = bool(properties.get("isArchived"))

    def writes(connection: Connection) -> None:
        above = resources.get(connection, request.id.parent.key, Lock.WRITE)
        if above is not None:
            note_version(connection, above, request.id.name, type_, new=old is None)
            if bool(properties.get("isAnonymous")) and old is None and above.status.get("latest") is None:
                resources.merge_status(connection, above.id, {"anonymous": True})

    return Admitted(spec, lookup=lookup, archived=archived, writes=writes)


def _kept(old: Row, properties: Mapping[str, Any], fixed: Fixed) -> Document:
    """The fixed properties as they are. Raises ArmError where another value is meant."""
    unnamed = fixed.named_by_content and properties.get("isAnonymous") and old.properties.get("isAnonymous")
    for name, form in fixed.forms.items():
        given, known = properties.get(name), old.properties.get(name)
        if not unnamed and given != known and form(given) != form(known):
            raise changed(old, name, fixed)
    return {name: old.properties[name] for name in fixed.forms if name in old.properties}


def changed(old: Row, name: str, fixed: Fixed) -> ArmError:
    field = f"properties.{name}"
    detail = ArmError(400, "ImmutableField", f"{field} of version {old.name} is fixed; make a new version.")
    return ArmError(fixed.status, "UserError", fixed.message, field, [detail])


def version_removed(connection: Connection, row: Row, now: float) -> None:
    above = resources.get(connection, row.parent, Lock.WRITE)
    if above is not None:
        note_version(connection, above, row.name, None, new=False)
