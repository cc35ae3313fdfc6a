"""Artifact locations hold our own address: they follow the platform to the host and port that it has now."""

from __future__ import annotations

from sqlalchemy import Connection, text

from smalt.settings import Settings

_LOCATIONS = (
    ("workspaces", "default_artifact_root"),
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_FEW = _LOCATIONS[:2]  # all are changed in one transaction, so these tell whether any has to be
_ELSEWHERE = "{column} LIKE 'https://%/mlflow/v1.0/subscriptions/%' AND {column} NOT LIKE :base || '%'"


def relocate(connection: Connection, settings: Settings) -> None:
    """In one transaction."""
    told = {"base": f"{settings.url}/mlflow/"}
    if any(_is_elsewhere(connection, table, column, told) for table, column in _FEW):
        found = "strpos" if settings.postgresql else "instr"
        for table, column in _LOCATIONS:
            moved = f":base || substr({column}, {found}({column}, '/mlflow/v1.0/') + 8)"
            where = _ELSEWHERE.format(column=column)
            connection.execute(text(f"UPDATE {table} SET {column} = {moved} WHERE {where}"), told)


def _is_elsewhere(connection: Connection, table: str, column: str, told: dict[str, str]) -> bool:
    query = f"SELECT 1 FROM {table} WHERE {_ELSEWHERE.format(column=column)} LIMIT 1"
    return connection.execute(text(query), told).first() is not None
