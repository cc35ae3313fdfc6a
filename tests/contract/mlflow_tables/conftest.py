"""Tests of what reads and writes MLflow's tables run on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import mlflow_tables
from live.postgres import Postgres
from smalt.settings import Settings


@pytest.fixture(scope="session")
def migrated(migrated: str, postgres: Postgres) -> str:
    """With MLflow's tables beside ours."""
    mlflow_tables.make(Settings(Path(), database_url=f"{postgres.server}/{migrated}"))
    return migrated


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """With MLflow's tables."""
    made = Settings(tmp_path, database_url=database_url)
    mlflow_tables.make(made)
    return made
