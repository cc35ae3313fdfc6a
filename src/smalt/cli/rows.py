"""The rows of a platform, for commands that read and write them themselves, whether it runs or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import OperationalError, ProgrammingError

from smalt.cli.root import CliError, no_platform, resolve
from smalt.config import read_settings
from smalt.settings import Settings
from smalt.store.database import Database


@contextmanager
def opened(root: Path | None) -> Iterator[tuple[Settings, Database]]:
    """Raises CliError where there is no platform, or its database does not answer."""
    settings = read_settings(resolve(root))
    if not (settings.root / "config.json").exists():
        raise no_platform(settings.root)
    database = Database(settings.database)
    try:
        yield settings, database
    except (OperationalError, ProgrammingError) as error:  # no such table is the one on SQLite, the other on PostgreSQL
        raise CliError(
            f"the database of {settings.root} does not answer ({error.orig}); has the platform ever run, as of this"
            " version? smalt up brings its tables up to date."
        ) from error
    finally:
        database.close()
