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


def check_keys(settings: Settings) -> None:
    """Raises CliError where another root's server has sealed what is in the database: this one could not read it."""
    if not settings.postgresql:
        return
    from sqlalchemy.exc import SQLAlchemyError

    from smalt.auth.keyring import Keyring
    from smalt.auth.rotation import counts
    from smalt.store.database import Database

    database = Database(settings.database)
    try:
        sealing = {key for key in counts(database) if key is not None}
    except SQLAlchemyError:  # it has no tables yet, or those of an older version: the server's start says more
        return
    finally:
        database.close()
    if not sealing:
        return
    known = {one.id for one in Keyring(settings).entries()} if (settings.secrets / "keyring.json").exists() else set()
    if missing := sorted(sealing - known):
        raise CliError(
            f"another server works on {settings.shown_database}, and its secrets are sealed with keys that"
            f" {settings.root} does not have ({', '.join(missing)}): copy the folders secrets and tls from that"
            " server's root into this one, and start again. If that root is gone, restore them from its backup."
        )


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
