"""The database that `smalt up` is told: it answers, and it is the one that has this root's rows.

Imports SQLAlchemy and the driver where they are needed: `smalt up` on SQLite does not wait for them.
"""

from __future__ import annotations

from pathlib import Path

from smalt.cli.root import CliError
from smalt.settings import Settings


def check_kept(remembered: Settings, wanted: Settings) -> None:
    """Raises CliError where the rows of this root are in another database: in this one they would not be found."""
    if remembered.shown_database == wanted.shown_database or not has_rows(remembered):
        return
    raise CliError(
        f"the rows of {wanted.root} are in {remembered.shown_database}; in {wanted.shown_database} they would not be"
        " found. Leave --database out, or give the other database a root of its own (--root DIR). To move the rows of"
        f" a PostgreSQL database, copy it with pg_dump and write database_url into {wanted.root / 'config.json'}."
    )


def check_answers(settings: Settings) -> None:
    """Raises CliError where it is PostgreSQL and does not."""
    if not settings.postgresql:
        return
    from smalt.doctor.database import database
    from smalt.doctor.finding import State
    from smalt.doctor.machine import Machine

    found = database(Machine(settings))
    if found.state is State.NO:
        raise CliError(f"the database does not answer: {found.fact}; start it, or say where it is with --database URL.")


def has_rows(settings: Settings) -> bool:
    """Whether something was written to a root's database; also where that cannot be found out."""
    if not settings.postgresql:
        path = Path(settings.database.partition("///")[2])
        return path.exists() and path.stat().st_size > 0
    from sqlalchemy import text
    from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

    from smalt.store.database import Database

    database = Database(settings.database)
    try:
        with database.read() as connection:
            return connection.scalar(text("SELECT 1 FROM resource LIMIT 1")) is not None
    except ProgrammingError:  # it has no tables
        return False
    except SQLAlchemyError:
        return True
    finally:
        database.close()
