"""Triggers on MLflow's tables, so that nothing that happens to a run is missed, whoever writes it.

They note the runs that are made or changed (`smalt_changed_runs`), and take the mark of a creation (`smalt_creations`),
in the transaction that does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smalt.tracking.database import schema


@dataclass(frozen=True)
class _Trigger:
    name: str
    after: str
    when: str  # a condition as SQLite has it; '' for always
    runs: str = ""  # a query for the runs to note
    does: str = ""  # statements instead


_ONE, _GONE = "SELECT NEW.run_uuid", "SELECT OLD.run_uuid"
_TRIGGERS = (
    _Trigger("smalt_run_made", "INSERT ON runs", "", _ONE),
    _Trigger(
        "smalt_run_changed",
        "UPDATE ON runs",
        "OLD.name IS NOT NEW.name OR OLD.status IS NOT NEW.status OR OLD.lifecycle_stage IS NOT NEW.lifecycle_stage",
        _ONE,
    ),
    _Trigger("smalt_run_tagged", "INSERT ON tags", "", _ONE),
    _Trigger("smalt_run_tag_changed", "UPDATE ON tags", "OLD.value IS NOT NEW.value", _ONE),
    _Trigger("smalt_run_tag_gone", "DELETE ON tags", "", _GONE),
    _Trigger(
        "smalt_run_created",
        "INSERT ON tags",
        f"NEW.key = '{schema.ATTEMPT}'",
        does="INSERT INTO smalt_creations (attempt, request, run_uuid, at) "
        "VALUES (NEW.value, substr(NEW.value, 1, 64), NEW.run_uuid, {now}); "
        "DELETE FROM tags WHERE run_uuid = NEW.run_uuid AND key = NEW.key;",
    ),
    _Trigger(
        "smalt_experiment_renamed",
        "UPDATE ON experiments",
        "OLD.name IS NOT NEW.name",
        "SELECT run_uuid FROM runs WHERE experiment_id = NEW.experiment_id",
    ),
)
ALL_RUNS_CHANGED = "INSERT INTO smalt_changed_runs (run_uuid) SELECT run_uuid FROM runs ORDER BY start_time"


def statements(dialect: str) -> Sequence[str]:
    """What makes them all (again), on `sqlite` or on `postgresql`."""
    of_one = _sqlite if dialect == "sqlite" else _postgresql
    return [statement for one in _TRIGGERS for statement in of_one(one)]


def drops() -> Sequence[str]:
    """What removes them, on PostgreSQL."""
    return [_postgresql(one)[0] for one in _TRIGGERS]


def _sqlite(one: _Trigger) -> Sequence[str]:
    note = (
        f"DELETE FROM smalt_changed_runs WHERE run_uuid IN ({one.runs}); "
        f"INSERT INTO smalt_changed_runs (run_uuid) {one.runs};"
    )
    does = one.does.format(now="CAST(strftime('%s', 'now') AS REAL)") or note
    when = f"WHEN {one.when} " if one.when else ""
    return (
        f"DROP TRIGGER IF EXISTS {one.name}",
        f"CREATE TRIGGER {one.name} AFTER {one.after} {when}BEGIN {does} END",
    )


def _postgresql(one: _Trigger) -> Sequence[str]:
    """Two transactions that note one run wait for each other: the later one's number is the row's."""
    note = (
        f"INSERT INTO smalt_changed_runs (run_uuid) {one.runs} ON CONFLICT (run_uuid) DO UPDATE SET seq = excluded.seq;"
    )
    does = one.does.format(now="extract(epoch FROM clock_timestamp())") or note
    when = f"WHEN ({one.when.replace(' IS NOT ', ' IS DISTINCT FROM ')}) " if one.when else ""
    event, _, table = one.after.partition(" ON ")
    return (
        f"DROP TRIGGER IF EXISTS {one.name} ON {table}",
        f"CREATE OR REPLACE FUNCTION {one.name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT "
        f"AS $$ BEGIN {does} RETURN NULL; END $$",
        f"CREATE TRIGGER {one.name} AFTER {event} ON {table} FOR EACH ROW {when}EXECUTE FUNCTION {one.name}()",
    )
