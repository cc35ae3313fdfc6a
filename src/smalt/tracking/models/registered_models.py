"""MLflow's registry tables, read and written directly: works while MLflow's process is down (`ports.MlflowModels`).

A deleted version keeps its row with the stage `Deleted_Internal`, as MLflow leaves it, so that its
number is not given out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Table, delete, func, select, update

from smalt.arm.ids import ResourceId
from smalt.arm.ports import ModelVersion
from smalt.settings import ARTIFACT_CONTAINER, Settings
from smalt.tracking.address import mlflow_name
from smalt.tracking.database import schema
from smalt.tracking.database.upsert import insert_into, wrote
from smalt.tracking.models.sources import place_name, source_of
from smalt.tracking.runs.runs import MlflowTracking

DELETED = "Deleted_Internal"
ARCHIVED = "Archived"
PROMPT = "mlflow.prompt.is_prompt"  # MLflow keeps prompts among its models; ARM has none
_NUMBER_MOST = 2**31 - 1
_BELOW = (
    schema.registered_model_aliases,
    schema.model_version_tags,
    schema.model_versions,
    schema.registered_model_tags,
    schema.registered_models,
)


@dataclass(frozen=True)
class Registered:
    """A model and its live versions (all, or the one asked for) as MLflow has them.

    `location` of a version is where its files are.
    """

    description: str | None
    tags: Mapping[str, str]
    versions: list[ModelVersion]  # `uri` is MLflow's source, not ARM's


class RegisteredModels:
    def __init__(self, tracking: MlflowTracking) -> None:
        self._tracking = tracking
        self._settings: Settings = tracking.settings
        self._database = tracking.database

    def ensure_model(self, workspace: str, name: str, description: str | None, tags: Mapping[str, str]) -> None:
        own = mlflow_name(workspace)
        self._tracking.ensure_workspace(workspace)
        with self._database.write() as connection:
            if _is_prompt(connection, own, name):
                return
            _ensure_model(connection, own, name, 0)
            table = schema.registered_models
            connection.execute(
                update(table).where(table.c.workspace == own, table.c.name == name).values(description=description)
            )
            _set_tags(connection, schema.registered_model_tags, {"workspace": own, "name": name}, tags)

    def ensure_version(self, version: ModelVersion) -> None:
        if not is_number(version.version):
            return
        own, number = mlflow_name(version.workspace), int(version.version)
        self._tracking.ensure_workspace(version.workspace)
        source = source_of(self._settings, ResourceId.parse(version.workspace), version)
        with self._database.write() as connection:
            if _is_prompt(connection, own, version.name):
                return
            _ensure_model(connection, own, version.name, version.created_at)
            self._write(connection, own, number, version, source)
            key = {"workspace": own, "name": version.name, "version": number}
            _set_tags(connection, schema.model_version_tags, key, version.tags)
            if version.path and version.container not in ("", ARTIFACT_CONTAINER):
                _set_place(connection, own, version)

    def remove_version(self, workspace: str, name: str, version: str) -> None:
        if not is_number(version):
            return
        own, number = mlflow_name(workspace), int(version)
        with self._database.write() as connection:
            aliases, versions = schema.registered_model_aliases, schema.model_versions
            connection.execute(
                delete(aliases).where(aliases.c.workspace == own, aliases.c.name == name, aliases.c.version == number)
            )
            connection.execute(
                update(versions)
                .where(versions.c.workspace == own, versions.c.name == name, versions.c.version == number)
                .values(
                    current_stage=DELETED,
                    description=None,
                    user_id=None,
                    source="REDACTED-SOURCE-PATH",
                    run_id="REDACTED-RUN-ID",
                    run_link="REDACTED-RUN-LINK",
                    status_message=None,
                )
            )
            _forget_place(connection, own, f"{name}.{number}")

    def remove_model(self, workspace: str, name: str) -> None:
        own = mlflow_name(workspace)
        with self._database.write() as connection:
            for table in _BELOW:
                connection.execute(delete(table).where(table.c.workspace == own, table.c.name == name))
            places = schema.model_places
            connection.execute(
                delete(places).where(places.c.workspace == own, places.c.place.startswith(f"{name}.", autoescape=True))
            )

    def read(self, workspace: str, name: str, version: str = "") -> Registered | None:
        """None where MLflow has no such model, or it is a prompt."""
        own, table = mlflow_name(workspace), schema.registered_models
        with self._database.read() as connection:
            model = connection.execute(select(table).where(table.c.workspace == own, table.c.name == name)).first()
            if model is None or _is_prompt(connection, own, name):
                return None
            tags = _tags(connection, schema.registered_model_tags, {"workspace": own, "name": name})
            return Registered(model.description or None, tags, _live(connection, workspace, name, version))

    def live(self, workspace: str) -> set[tuple[str, str]]:
        """(name, version) of all versions that MLflow shows."""
        own, table = mlflow_name(workspace), schema.model_versions
        with self._database.read() as connection:
            found = connection.execute(
                select(table.c.name, table.c.version).where(table.c.workspace == own, table.c.current_stage != DELETED)
            )
            return {(row.name, str(row.version)) for row in found}

    def move(self, workspace: str, name: str, version: str, source: str) -> None:
        """Give a version the source that clients can open."""
        table = schema.model_versions
        with self._database.write() as connection:
            connection.execute(
                update(table)
                .where(
                    table.c.workspace == mlflow_name(workspace), table.c.name == name, table.c.version == int(version)
                )
                .values(source=source, storage_location=source)
            )

    def _write(self, connection: Connection, own: str, number: int, version: ModelVersion, source: str) -> None:
        """What ARM says now.

        A source that is no better than the one that is there stays: it may name a logged model.
        """
        table = schema.model_versions
        key = (table.c.workspace == own) & (table.c.name == version.name) & (table.c.version == number)
        old = connection.execute(select(table).where(key)).first()
        changed = round(self._tracking.now() * 1000)
        values = {
            "description": version.description,
            "current_stage": ARCHIVED if version.archived else _stage(version, old.current_stage if old else ""),
            "last_updated_time": changed,
        }
        fixed = {
            "source": source,
            "storage_location": source,
            "user_id": version.user[:256],
            "run_id": self._run(connection, version),
            "run_link": "",
            "status": "READY",
            "status_message": None,
        }
        if old is None:
            new = {"workspace": own, "name": version.name, "version": number}
            new["creation_time"] = round(version.created_at * 1000) or changed
            statement = insert_into(connection, table).values(**new, **values, **fixed).on_conflict_do_nothing()
            if wrote(connection, statement):
                return
            old = connection.execute(select(table).where(key)).one()  # MLflow made it meanwhile
        known = (old.storage_location or old.source or "").lower() == source.lower() or not version.path
        if old.current_stage == DELETED or not known:
            values |= fixed
        connection.execute(update(table).where(key).values(values))

    def _run(self, connection: Connection, version: ModelVersion) -> str:
        run_id = self._tracking.run_id_in(connection, version.workspace, version.job) if version.job else ""
        found = connection.scalar(select(schema.runs.c.run_uuid).where(schema.runs.c.run_uuid == run_id))
        return found or ""


def is_number(version: str) -> bool:
    """Whether MLflow can have a version of this name: its numbers are whole."""
    return version.isascii() and version.isdigit() and str(int(version)) == version and 0 < int(version) <= _NUMBER_MOST


def _stage(version: ModelVersion, old: str) -> str:
    if version.stage:
        return version.stage[:20]
    return "None" if old in ("", ARCHIVED, DELETED) else old


def _ensure_model(connection: Connection, own: str, name: str, created_at: float) -> None:
    at = round(created_at * 1000) or None
    table = schema.registered_models
    connection.execute(
        insert_into(connection, table)
        .values(workspace=own, name=name, creation_time=at, last_updated_time=at)
        .on_conflict_do_update(
            index_elements=["workspace", "name"],
            set_={
                "creation_time": func.coalesce(table.c.creation_time, at),
                "last_updated_time": func.coalesce(at, table.c.last_updated_time),
            },
        )
    )


def _set_tags(connection: Connection, table: Table, key: Mapping[str, object], tags: Mapping[str, str]) -> None:
    connection.execute(delete(table).where(*(table.c[name] == value for name, value in key.items())))
    rows = [{**key, "key": name[:250], "value": value[:5000]} for name, value in tags.items()]
    if rows:
        connection.execute(insert_into(connection, table).on_conflict_do_nothing(), rows)


def _tags(connection: Connection, table: Table, key: Mapping[str, object]) -> dict[str, str]:
    found = connection.execute(select(table).where(*(table.c[name] == value for name, value in key.items())))
    return {row.key: row.value for row in found}


def _set_place(connection: Connection, own: str, version: ModelVersion) -> None:
    place = {"container": version.container, "path": version.path.strip("/")}
    connection.execute(
        insert_into(connection, schema.model_places)
        .values(workspace=own, place=place_name(version), **place)
        .on_conflict_do_update(index_elements=["workspace", "place"], set_=place)
    )


def _forget_place(connection: Connection, own: str, place: str) -> None:
    table = schema.model_places
    connection.execute(delete(table).where(table.c.workspace == own, table.c.place == place))


def _is_prompt(connection: Connection, own: str, name: str) -> bool:
    table = schema.registered_model_tags
    return (
        connection.execute(
            select(table.c.key).where(table.c.workspace == own, table.c.name == name, table.c.key == PROMPT)
        ).first()
        is not None
    )


def _live(connection: Connection, workspace: str, name: str, version: str) -> list[ModelVersion]:
    own, table = mlflow_name(workspace), schema.model_versions
    query = select(table).where(table.c.workspace == own, table.c.name == name, table.c.current_stage != DELETED)
    if version:
        query = query.where(table.c.version == int(version))
    return [
        ModelVersion(
            workspace=workspace,
            name=name,
            version=str(row.version),
            uri=row.storage_location or row.source or "",
            job=row.run_id or "",
            description=row.description or None,
            tags=_tags(connection, schema.model_version_tags, {"workspace": own, "name": name, "version": row.version}),
            stage="" if row.current_stage in (None, "None", ARCHIVED) else row.current_stage,
            archived=row.current_stage == ARCHIVED,
            user=row.user_id or "",
            created_at=(row.creation_time or 0) / 1000,
        )
        for row in connection.execute(query.order_by(table.c.version))
    ]
