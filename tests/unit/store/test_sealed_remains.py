"""A database that an older version wrote: once it was started with this one, its files hold no secret any more."""

from __future__ import annotations

from pathlib import Path

from smalt.auth import rotation
from smalt.auth.keyring import Keyring
from smalt.settings import Settings
from smalt.store import tables
from smalt.store.database import Database
from smalt.store.migrate import migrate
from smalt.store.sealed import Secrets

PLAIN = "pl4nted-s3cret"


def held(root: Path) -> list[str]:
    return [one.name for one in root.glob("smalt.db*") if PLAIN.encode() in one.read_bytes()]


def test_the_first_start_leaves_no_plain_value_in_file_or_journal(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    database = Database(settings.database)
    migrate(database)
    for number in range(200):  # some were deleted long ago, and their pages are still there
        with database.write() as connection:
            row = {"resource_id": f"/w/{number}", "name": "key", "value": f"{PLAIN}-{number}" * 20}
            connection.execute(tables.secret.insert().values(row))
    with database.write() as connection:
        connection.execute(tables.secret.delete().where(tables.secret.c.resource_id > "/w/150"))
    assert held(tmp_path)
    rotation.settle(database, Keyring(settings))
    assert held(tmp_path) == []
    with database.read() as connection:
        assert Secrets(Keyring(settings)).of(connection, "/w/1") == {"key": f"{PLAIN}-1" * 20}
        assert connection.exec_driver_sql("PRAGMA user_version").scalar() == 1
    database.close()


def test_while_somebody_reads_the_old_pages_it_is_left_to_the_next_start(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    database = Database(settings.database)
    migrate(database)
    with database.write() as connection:
        connection.execute(tables.secret.insert().values(resource_id="/w/1", name="key", value=PLAIN))
    with database.read() as reader:
        reader.execute(tables.secret.select()).all()
        database.wipe_remains()
        assert Database(settings.database)._engine.raw_connection().execute("PRAGMA user_version").fetchone() == (0,)
    rotation.settle(database, Keyring(settings))
    assert held(tmp_path) == []
    database.close()
