"""Databases of SQLite for unit tests, ready in a millisecond; and what makes those of PostgreSQL ready sooner."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import event

from smalt.store.database import Database
from smalt.store.migrate import migrate

_compiled: dict[str, tuple[Any, Any]] = {}  # by SQLAlchemy, statement by statement; for each dialect


def with_schema(path: Path) -> Database:
    """A database there, made where it is missing."""
    if not path.exists():
        path.write_bytes(_empty())
    database = Database(f"sqlite:///{path}")
    quick(database)
    return database


def quick(database: Database) -> None:
    """Nobody cuts the power here, and what was compiled for one database serves all of the process."""
    engine = database._engine
    if database.sqlite:
        event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
    shared = _compiled.setdefault(engine.dialect.name, (engine.dialect, engine._compiled_cache))
    engine.dialect, engine._compiled_cache = shared


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "smalt.db")
        database = Database(f"sqlite:///{path}")
        quick(database)
        migrate(database)
        database.close()
        return path.read_bytes()
