"""Databases for the store's contract: SQLite in a file, and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.databases import quick
from smalt.store.database import Database
from smalt.store.migrate import migrate


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """An empty database with the schema."""
    made = Database(database_url or f"sqlite:///{tmp_path / 'smalt.db'}")
    quick(made)
    migrate(made)
    yield made
    made.close()
