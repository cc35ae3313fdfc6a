"""What is shared with a registry: a version of a model, of data or of an environment, copied from where it is.

`import` of a registry writes a row of `registries/imports`: what the version will be, and from where and to which new
container its files go. Its steps copy them, some at a time, and the last one makes the version: it is there with all of
its files, or not at all. The row stays and says from where the version came.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from smalt.agent.wire import Ref
from smalt.arm.above import check_above
from smalt.arm.assets import insert_version
from smalt.arm.crud import Answer
from smalt.arm.errors import ArmError, conflict, invalid
from smalt.arm.ids import HOMES, ML, NotAnId, ResourceId
from smalt.arm.kind import OURS, Document, Kind, Request, Step
from smalt.arm.models import note_content
from smalt.arm.platform import Platform
from smalt.arm.validation import ASSET_NAME, Properties, checked, name_fault
from smalt.kinds.assets import references, registries
from smalt.kinds.assets.references import TITLES, Place
from smalt.store import lineage, operations, resources
from smalt.store.document import part
from smalt.store.lineage import Link
from smalt.store.resources import Row
from smalt.store.tables import resource

PATH = "registries/imports"
FILES_AT_ONCE, BYTES_AT_ONCE = 200, 256 << 20  # of one step
_URIS = {"models": "modelUri", "data": "dataUri", "environments": ""}
_IN_WORKSPACE = re.compile(r"azureml://locations/[^/]+/workspaces/([^/]+)/([^/]+)/([^/]+)/versions/([^/]+)", re.I)
_IN_REGISTRY = re.compile(r"azureml://registries/([^/]+)/([^/]+)/([^/]+)/versions/([^/]+)", re.I)
_FIRST = 1  # the generation of an import: nobody writes it again
_FIELD = "properties.sourceAssetId"
_OF_ITS_HOME = ("jobName", "stage", "provisioningState")  # and of no other


class _Wanted(Properties):
    source_asset_id: str | None = None
    destination_name: str | None = None
    destination_version: str | None = None


class _Asked(Properties):
    properties: _Wanted


@dataclass(frozen=True)
class _Copy:
    """From where to where the files go; the path's last part stays, and is what they are called."""

    source: Place
    target: Ref

    @property
    def path(self) -> str:
        return self.source.path.rstrip("/")

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def renamed(self, blob: str) -> str:
        return self.name + blob.removeprefix(self.path) if self.name else blob


def begin(request: Request, row: Row | None) -> tuple[int, Any]:
    """`import` of a registry. 202 and an operation. Raises ArmError(400, 403, 404, 409)."""
    registry, given = request.id, checked(_Asked, request.body, "", "import")["properties"]
    id_ = registry.child("imports", str(uuid.uuid4()))
    with request.platform.database.write() as connection:
        check_above(connection, request.kinds, id_, KIND)
        source = _source(request, connection, str(given.get("sourceAssetId") or ""))
        type_ = source.path[1][0].lower()
        name = _named(given.get("destinationName") or source.parent.name, "destinationName")
        version = _named(given.get("destinationVersion") or source.name, "destinationVersion")
        target = registry.child(type_, name).child("versions", version)
        found = resources.get(connection, source.key)
        assert found is not None
        if resources.get(connection, target.key) is not None:
            raise _exists(target)
        place = _place(request.platform, connection, source.home, found, type_)
        spec = {
            "properties": {"sourceAssetId": str(source), "assetId": registries.shown_id(str(target))},
            OURS: {
                "target": str(target),
                "version": _kept(found, type_),
                "source": vars(place) if place else None,
                "container": f"{type_}-{uuid.uuid4()}",
            },
        }
        resources.insert(
            connection,
            key=id_.key,
            written=str(id_),
            kind=PATH,
            parent=registry.key,
            name=id_.name,
            spec=spec,
            status={},
            state="Creating",
            now=request.now,
            by=request.principal.name,
            due_at=request.now,
        )
        operation = operations.begin(connection, id_.key, "import", _FIRST, request.now)
    return 202, Answer(202, None, {}, operation)


def _named(given: Any, field: str) -> str:
    if not re.fullmatch(ASSET_NAME, str(given)):
        raise invalid(f"properties.{field}: {name_fault(str(given), 'an asset')}", f"properties.{field}")
    return str(given)


def _exists(target: ResourceId) -> ArmError:
    return conflict(
        f"{registries.shown_id(str(target))} exists already, and versions do not change; give another version.",
        "properties.destinationVersion",
    )


def _source(request: Request, connection: Connection, text: str) -> ResourceId:
    """The version that is shared. Raises ArmError: 400 where it cannot be, 403, 404 where it is not there."""
    id_ = _parsed(connection, text)
    type_ = id_.path[1][0].lower() if _is_version(id_) else ""
    if type_ == "components":
        raise invalid(f"{_FIELD}: a component is created in a registry, from its YAML; it cannot be shared.", _FIELD)
    if type_ not in _URIS:
        known = ", ".join(_URIS)
        raise invalid(f"{_FIELD}: '{text[:200]}' is no version of one of: {known}.", _FIELD)
    request.platform.grants.check(request.principal, f"{ML}/{id_.kind}/read", id_.key)
    if resources.get(connection, id_.key) is None:
        message = f"{_FIELD}: there is no {TITLES[type_]} '{id_.parent.name}', version '{id_.name}'."
        raise ArmError(404, "ResourceNotFound", message, _FIELD)
    return id_


def _is_version(id_: ResourceId) -> bool:
    """Of whatever type, in a workspace or a registry."""
    types = [type_.lower() for type_, _ in id_.path]
    is_ours = len(id_.segments) == 1 and id_.provider == ML and types[:1] in ([one] for one in HOMES)
    return is_ours and types[2:] == ["versions"]


def _parsed(connection: Connection, text: str) -> ResourceId:
    if found := _IN_WORKSPACE.fullmatch(text):
        guid, type_, name, version = found.groups()
        home = _workspace(connection, guid)
    elif found := _IN_REGISTRY.fullmatch(text):
        registry, type_, name, version = found.groups()
        home = registries.named(connection, registry)
    else:
        try:
            return ResourceId.parse(text)
        except NotAnId:
            raise invalid(f"{_FIELD}: '{text[:200]}' is not the id of an asset.", _FIELD) from None
    if home is None:
        raise ArmError(404, "ResourceNotFound", f"{_FIELD}: nothing here is '{text[:200]}'.", _FIELD)
    return ResourceId.parse(home.written).child(type_, name).child("versions", version)


def _workspace(connection: Connection, guid: str) -> Row | None:
    """The workspace of the key that clients call `workspaceId`."""
    query = select(resource.c.id).where(
        resource.c.kind == "workspaces", resource.c.status.contains(f'"{guid.lower()}"', autoescape=True)
    )
    found = resources.get_many(connection, connection.execute(query).scalars())
    return next((row for row in found.values() if row.status.get("workspaceId") == guid.lower()), None)


def _place(platform: Platform, connection: Connection, home: ResourceId, row: Row, type_: str) -> Place | None:
    """Where the files are that are copied; None: there are none, or they are on the web and stay there."""
    uri = row.properties.get(_URIS[type_]) or part(row.properties, "build").get("contextUri")
    if not uri:
        return None
    place = references.locate(platform, connection, home, str(uri), _FIELD)
    return place if place.account else None


def _kept(row: Row, type_: str) -> Document:
    said = {key: one for key, one in row.properties.items() if key not in _OF_ITS_HOME and one is not None}
    said |= {"isArchived": False, "isAnonymous": False}
    return {**said, "environmentType": "UserCreated"} if type_ == "environments" else said


def _step(platform: Platform, row: Row) -> Step:
    ours, target = row.spec[OURS], ResourceId.parse(row.spec[OURS]["target"])
    account = registries.account_of(target.home.name)
    if row.deleting:
        if not row.status.get("made") and not row.status.get("abandoned"):
            return _abandoned(platform, row)
        if not row.status.get("made"):  # else its files are the version's
            platform.blobs.remove(account, ours["container"])
        return Step(row.state, row.status, gone=True)
    if row.state == "Succeeded":  # it is what it says, whatever wakes it
        return Step(row.state, row.status, done=True)
    with platform.database.read() as connection:
        if resources.get(connection, target.key) is not None:
            raise _exists(target)
    version, status = dict(ours["version"]), dict(row.status)
    if ours["source"]:
        copy = _Copy(Place(**ours["source"]), Ref(account, ours["container"], ""))
        if not _copied(platform, copy, status):
            return Step(row.state, status, after=0)
        _moved(version, target, registries.files_uri(account, ours["container"], copy.name))
    type_ = version.get("modelType") or version.get("dataType")

    def writes(connection: Connection) -> None:
        now = platform.clock()
        insert_version(connection, target, version, type_=str(type_ or ""), now=now, by=row.created_by)
        if target.ancestor("models"):
            note_content(connection, str(target), now, now)
        source = ResourceId.parse(row.properties["sourceAssetId"])
        if source.kind in lineage.TRACED:
            lineage.link(connection, [Link((source.key,), target.key, lineage.FILES)], now)

    return Step("Succeeded", {**status, "made": True}, done=True, writes=writes)


def _abandoned(platform: Platform, row: Row) -> Step:
    """Who waits for an import that a delete interrupts is told so, before its row has gone."""
    asset = row.properties["assetId"]
    error = ArmError(409, "Canceled", f"The import was deleted before it had ended; {asset} was not made.")

    def writes(connection: Connection) -> None:
        operations.finish(connection, row.id, _FIRST, error.body(), platform.clock())

    return Step(row.state, {**row.status, "abandoned": True}, after=0, writes=writes)


def _copied(platform: Platform, copy: _Copy, status: Document) -> bool:
    """Copy what one step may, from where the last one stopped. True: nothing is left. Raises ArmError(404)."""
    blobs, source = platform.blobs, copy.source
    blobs.ensure_container(copy.target.account, copy.target.container)
    size = count = 0
    for blob, its_size in _files(platform, source, copy.path, str(status.get("after") or "")):
        if count == FILES_AT_ONCE or size >= BYTES_AT_ONCE:
            return False
        blobs.copy(Ref(source.account, source.container, blob), Ref(*copy.target[:2], copy.renamed(blob)))
        count, size = count + 1, size + its_size
        status |= {
            "after": blob,
            "files": int(status.get("files", 0)) + 1,
            "bytes": int(status.get("bytes", 0)) + its_size,
        }
    if not status.get("files"):
        raise ArmError(404, "ResourceNotFound", f"There are no files at {source.uri[:200]}.", _FIELD)
    return True


def _files(platform: Platform, source: Place, path: str, after: str) -> Iterator[tuple[str, int]]:
    """Names and sizes behind `after`: of the blob `path`, and of what is below it. `model-2` is not below `model`."""
    blobs = platform.blobs
    if path and not after and (size := blobs.size(source.account, source.container, path)) is not None:
        yield path, size
    for one in blobs.list(source.account, source.container, f"{path}/" if path else "", after):
        yield one.name, one.size


def _moved(version: Document, target: ResourceId, uri: str) -> None:
    """The version says where its files are now."""
    name = _URIS[target.kind.split("/")[1]]
    if name:
        version[name] = uri
    else:
        version["build"] = {**part(version, "build"), "contextUri": f"{uri}/"}


def _view(platform: Platform, row: Row) -> Document:
    said = {key: row.status.get(key) for key in ("files", "bytes") if key in row.status}
    return said | ({"error": row.status["error"]} if row.state == "Failed" and row.status.get("error") else {})


KIND = Kind(path=PATH, title="import", reconcile=_step, view=_view)
