"""`smalt keys`: the keys that seal secrets at rest, straight on the root. Works whether or not the platform runs."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError

from smalt.auth import rotation
from smalt.auth.keyring import Keyring, Unreadable
from smalt.cli.root import CliError, no_platform, resolve
from smalt.config import read_settings
from smalt.store.database import Database
from smalt.store.migrate import NewerDatabase, migrate


def rotate(root: Path | None, as_json: bool) -> int:
    with opened(root) as (database, keyring):
        count = rotation.rotate(database, keyring)
        key = keyring.entries()[-1]
    if as_json:
        print(json.dumps({"key": key.id, "made": _time(key.made_at), "sealed": count}))
    else:
        print(f"Sealed {count} values under the new key {key.id}; the old key is gone.")
    return 0


def list_all(root: Path | None, as_json: bool) -> int:
    with opened(root) as (database, keyring):
        counts, keys = rotation.counts(database), keyring.entries()
    documents = [{"key": one.id, "made": _time(one.made_at), "seals": counts.get(one.id, 0)} for one in keys]
    if as_json:
        print(json.dumps(documents))
        return 0
    table = Table(box=None)
    for heading in ("key", "made", "seals"):
        table.add_column(heading)
    for one in documents:
        table.add_row(*(str(value) for value in one.values()))
    Console(highlight=False).print(table)
    return 0


@contextmanager
def opened(root: Path | None) -> Generator[tuple[Database, Keyring]]:
    """The root's database and keyring, both as this version has them. Raises CliError."""
    settings = read_settings(resolve(root))
    if not (settings.root / "config.json").exists():
        raise no_platform(settings.root)
    database = Database(settings.database)
    try:
        migrate(database)
        yield database, Keyring(settings)
    except OperationalError as error:
        raise CliError(f"the database of {settings.root} does not answer ({error.orig})") from error
    except (NewerDatabase, Unreadable) as error:
        raise CliError(str(error)) from error
    finally:
        database.close()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
