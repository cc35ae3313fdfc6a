"""Brings a database to the schema of this version; refuses one of a newer version.

A new database is made at once from `tables.py` and marked as current; an older one is taken through the
numbered steps of `migrations/` with Alembic, each in its transaction. `tests/contract/store` checks that
both ways give the same schema.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect, text

from smalt.store.database import Database, exclusive
from smalt.store.node_environments import metadata  # with this one it has all

HEAD = "0026"
_LOCK = "schema"
_SCRIPTS = Path(__file__).parent / "migrations"


class NewerDatabase(Exception):
    """The database was written by a newer version of Smalt."""


def migrate(database: Database) -> None:
    """Idempotent; one server at a time. Raises NewerDatabase."""
    with database.write() as connection:
        exclusive(connection, _LOCK)
        tables = set(inspect(connection).get_table_names())
        if "alembic_version" not in tables:
            metadata.create_all(connection)
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
            connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})
            return
        current = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    if current == HEAD:
        return
    _upgrade(database, current)


def _upgrade(database: Database, current: str) -> None:
    from alembic import command  # half a second to import, and needed once in a version's life
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    if current not in known:
        raise NewerDatabase(
            f"The database has schema {current}, this version knows up to {HEAD}. Install a newer Smalt."
        )
    with database.write() as connection:
        exclusive(connection, _LOCK)  # whoever had it has upgraded it: then nothing is left to do
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
