"""ARM's side of the one model registry: rows of `workspaces/models` as MLflow's clients write them.

It is `ports.ModelRegistry`. A row that was written for MLflow, or that MLflow was told of, has `mlflow` in its status;
what has not is shown to MLflow by the kind's reconciler. A row that is deleted, and a change of a model as a whole,
leaves a row of the internal kind `modelNews` until MLflow has been told. A version that is new leaves one of the kind
`modelContent` until what is in its files is noted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence, Set

from sqlalchemy import Connection, select

from smalt.arm.assets import ensure_container, insert_version, note_version
from smalt.arm.hub import Hub
from smalt.arm.ids import ResourceId
from smalt.arm.ports import ModelVersion
from smalt.arm.written import writer
from smalt.store import lineage, resources
from smalt.store.database import Database
from smalt.store.document import Document
from smalt.store.lineage import Link
from smalt.store.resources import Row
from smalt.store.tables import resource

MODELS = "workspaces/models"
VERSIONS = "workspaces/models/versions"
NEWS = "modelNews"
CONTENT = "modelContent"
SHOWN = "mlflow"  # the key of a status that says that MLflow knows the row


class ModelRows:
    """`hub` hears of what the control loop has to look at."""

    def __init__(self, database: Database, hub: Hub, clock: Callable[[], float]) -> None:
        self._database = database
        self._hub = hub
        self._clock = clock

    def register(self, version: ModelVersion, by: str) -> bool:
        with self._database.write() as connection:
            id_ = _id(connection, version.workspace, version.name).child("versions", version.version)
            row = resources.get(connection, id_.key)
            if row is None:
                now = self._clock()
                insert_version(
                    connection,
                    id_,
                    _made(version),
                    type_="mlflow_model",
                    now=now,
                    by=by,
                    status={SHOWN: True},
                )
                _link(connection, id_, version, self._clock())
                due, known = note_content(connection, str(id_), now, now), True
            elif not row.deleting and _same_place(row, version):
                self._change(connection, row, _changeable(version), version.archived, by)
                return True
            else:
                resources.poke(connection, [row.id], self._clock())
                due, known = row.id, False
        self._hub.notify(due)
        return known

    def describe(self, workspace: str, name: str, description: str | None, tags: Mapping[str, str], by: str) -> None:
        with self._database.write() as connection:
            row = ensure_container(connection, _id(connection, workspace, name), self._clock(), by)
            self._change(connection, row, {"description": description, "tags": dict(tags)}, row.archived, by)

    def remove(self, workspace: str, name: str, version: str = "") -> None:
        with self._database.write() as connection:
            container, now = _id(connection, workspace, name), self._clock()
            above = resources.get(connection, container.key)
            if above is None:
                return
            for key in (
                [container.child("versions", version).key] if version else resources.children(connection, above.id)
            ):
                if resources.get(connection, key) is not None:
                    resources.remove_with_all_below(connection, key, now)
            if version:
                note_version(connection, above, version, None, new=False)
            else:
                resources.remove(connection, above.id, now)

    def pending(self, workspace: str, name: str) -> Sequence[ModelVersion]:
        with self._database.read() as connection:
            container = _id(connection, workspace, name)
            query = select(resource.c.id).where(
                resource.c.parent == container.key, resource.c.kind == VERSIONS, resource.c.due_at.is_not(None)
            )
            rows = resources.get_many(connection, connection.execute(query).scalars())
        live = [row for row in rows.values() if not row.deleting]
        return [version_of(row) for row in sorted(live, key=lambda row: row.created_at)]

    def spelled(self, workspace: str, name: str) -> str:
        with self._database.read() as connection:
            row = resources.get(connection, _id(connection, workspace, name).key)
        return row.name if row else ""

    def known(self, workspace: str) -> Set[tuple[str, str]]:
        below = ResourceId.parse(workspace).key + "/models/"
        with self._database.read() as connection:
            kept = select(resource.c.id).where(
                resource.c.kind == VERSIONS, resource.c.id.startswith(below, autoescape=True)
            )
            keys = list(connection.execute(kept).scalars())
            going = select(resource.c.name).where(resource.c.kind == NEWS.lower())
            keys += [key for key in connection.execute(going).scalars() if key.startswith(below)]
        return {_name_and_version(key[len(below) :]) for key in keys}

    def _change(self, connection: Connection, row: Row, changes: Document, archived: bool, by: str) -> None:
        properties: Document = {**row.properties, **changes, "isArchived": archived}
        if all(properties.get(key) == row.properties.get(key) for key in changes) and archived == row.archived:
            return
        resources.replace_spec(
            connection,
            row,
            {**row.spec, "properties": properties},
            state=row.state,
            now=self._clock(),
            by=by,
            due=False,
            archived=archived,
        )


def _link(connection: Connection, id_: ResourceId, version: ModelVersion, now: float) -> None:
    """What MLflow's clients register is of a run, which is a job."""
    _, _, path = version.uri.partition("/paths/")
    known = writer(path)
    keys = [id_.home.child("jobs", one).key for one in (known[0] if known else "", version.job) if one]
    link = Link(keys, id_.key, lineage.OUTPUT, known[1] if known else "")
    lineage.link(connection, [link] if keys else [], now)


def version_of(row: Row, container: str = "", path: str = "") -> ModelVersion:
    """A version's row as `ModelVersion`; the two arguments say where its files were found."""
    id_, properties = ResourceId.parse(row.written), row.properties
    return ModelVersion(
        workspace=id_.home.key,
        name=id_.ancestor("models"),
        version=row.name,
        uri=str(properties.get("modelUri") or ""),
        container=container,
        path=path,
        job=str(properties.get("jobName") or ""),
        description=properties.get("description"),
        tags=tags_of(row),
        stage=str(properties.get("stage") or ""),
        archived=row.archived,
        user=row.created_by,
        created_at=row.created_at,
    )


def tags_of(row: Row) -> dict[str, str]:
    tags: Document = row.properties.get("tags") or {}
    return {key: str(value) for key, value in tags.items() if value is not None}


def tell(connection: Connection, about: str, now: float) -> None:
    """In the transaction that deletes a model or version, or changes a model.

    MLflow is told, however often it takes.
    """
    _leave(connection, NEWS, about, now, now)


def note_content(connection: Connection, about: str, created_at: float, now: float) -> str:
    """In the transaction that makes a version, or after it: its files are hashed. The key of the row that is due.

    Asked for again it is the same row; a version that is made anew has another.
    """
    return _leave(connection, CONTENT, about, created_at, now)


def _leave(connection: Connection, kind: str, about: str, at: float, now: float) -> str:
    key = f"/smalt/{kind.lower()}/{hashlib.sha256(f'{about.lower()}|{at!r}'.encode()).hexdigest()[:32]}"
    if resources.get(connection, key) is None:
        resources.insert_own(connection, key, kind.lower(), about.lower(), now, spec={"about": about})
    return key


def show_to_mlflow(connection: Connection, now: float) -> None:
    """Versions of the time before there was one registry are shown to MLflow too."""
    unknown = select(resource.c.id).where(resource.c.kind == VERSIONS, ~resource.c.status.contains(f'"{SHOWN}"'))
    for key in connection.execute(unknown).scalars().all():
        resources.poke(connection, [key], now)


def _id(connection: Connection, workspace: str, name: str) -> ResourceId:
    """As ARM writes it, where the model or at least the workspace is there."""
    home = resources.get(connection, workspace)
    id_ = ResourceId.parse(home.written if home else workspace).child("models", name)
    row = resources.get(connection, id_.key)
    return ResourceId.parse(row.written) if row else id_


def _same_place(row: Row, version: ModelVersion) -> bool:
    return str(row.properties.get("modelUri")).rstrip("/") == version.uri.rstrip("/")


def _made(version: ModelVersion) -> Document:
    properties: Document = {
        "modelType": "mlflow_model",
        "modelUri": version.uri,
        "properties": {},
        "isAnonymous": False,
        "isArchived": version.archived,
        **_changeable(version),
    }
    if version.job:
        properties["jobName"] = version.job
    if version.flavors:
        properties["flavors"] = dict(version.flavors)
    return properties


def _changeable(version: ModelVersion) -> Document:
    return {"description": version.description, "tags": dict(version.tags), "stage": version.stage or None}


def _name_and_version(below: str) -> tuple[str, str]:
    name, _, rest = below.partition("/")
    return name, rest.rpartition("/")[2]
