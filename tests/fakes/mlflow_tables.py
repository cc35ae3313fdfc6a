"""MLflow's tables as we declare them, ready in milliseconds: without MLflow, whose import takes seconds."""

from __future__ import annotations

from sqlalchemy import create_engine, text

from smalt.settings import Settings
from smalt.store.database import Database
from smalt.tracking.database import schema
from smalt.tracking.database.own_tables import complete, set_ready
from smalt.tracking.database.place import SCHEMA, tables_url


def make(settings: Settings) -> None:
    """With our own tables and triggers, for the settings' database. Does nothing where they are."""
    if settings.postgresql:
        engine = create_engine(tables_url(settings))
        with engine.begin() as connection:
            there = connection.scalar(text("SELECT to_regclass('smalt_ready')"))
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        engine.dispose()
        if there:
            return
    database = Database(tables_url(settings).render_as_string(hide_password=False))
    with database.write() as connection:
        schema.metadata.create_all(connection)
        complete(connection)
        set_ready(connection, "declared")
    database.close()


def drop(settings: Settings) -> None:
    """On PostgreSQL: as it is before the first start."""
    engine = create_engine(tables_url(settings))
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
    engine.dispose()
