"""The tables that we declare are MLflow's own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, create_engine, inspect
from sqlalchemy.types import TypeEngine

from smalt.tracking.database import schema
from smalt.tracking.database.place import tables_url


def test_declared_tables_are_as_mlflows_migrations_make_them(site: Any) -> None:
    engine = create_engine(tables_url(site.settings))
    real = inspect(engine)
    for table in schema.metadata.sorted_tables:
        columns = {column["name"]: column for column in real.get_columns(table.name)}
        assert set(real.get_pk_constraint(table.name)["constrained_columns"]) == {c.name for c in table.primary_key}
        for column in table.columns:
            found = columns[column.name]
            there, declared = (_type(engine, one) for one in (found["type"], column.type))
            assert there == declared, (table.name, column.name)
            assert found["nullable"] == column.nullable, (table.name, column.name)
        undeclared = set(columns) - {column.name for column in table.columns}
        for name in undeclared if table.name in ("runs", "experiments", "workspaces", "tags") else ():
            assert columns[name]["nullable"] or columns[name]["default"] is not None, (table.name, name)
    engine.dispose()


def _type(engine: Engine, one: TypeEngine[Any]) -> str:
    """As the database has it: PostgreSQL's texts lose their lengths (`own_tables.py`)."""
    said = one.compile(engine.dialect)
    if engine.dialect.name == "postgresql" and said.startswith("VARCHAR"):
        return "TEXT"
    return "FLOAT" if said == "DOUBLE" else said


def test_what_refers_to_runs_is_what_a_new_job_of_an_old_name_forgets(site: Any) -> None:
    engine = create_engine(tables_url(site.settings))
    real = inspect(engine)
    holding = {
        table
        for table in real.get_table_names()
        for key in real.get_foreign_keys(table)
        if key["referred_table"] == "runs" and not key["options"].get("ondelete")
    }
    assert holding == {table.name for table in schema.LOGGED}
    assert "CASCADE" in {
        key["options"].get("ondelete")
        for key in real.get_foreign_keys("logged_model_tags")
        if key["referred_table"] == "logged_models"
    }
    engine.dispose()
