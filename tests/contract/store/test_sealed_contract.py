"""Sealed values on SQLite and on PostgreSQL: what is read back, what lies in the table, and what a rotation leaves."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from smalt.auth import rotation
from smalt.auth.keyring import Keyring, Unreadable
from smalt.blob.accounts.account_keys import AccountKeys
from smalt.settings import Settings
from smalt.store import tables
from smalt.store.database import Database
from smalt.store.migrate import migrate
from smalt.store.sealed import Secrets

PLAIN = "pl41n-and-secret"


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(Settings(tmp_path / "root"))


def write(database: Database, keyring: Keyring, **values: str) -> None:
    with database.write() as connection:
        for name, value in values.items():
            Secrets(keyring).set(connection, "/w/a", name, value)


def read(database: Database, keyring: Keyring) -> dict[str, str]:
    with database.read() as connection:
        return Secrets(keyring).of(connection, "/w/a")


def stored(database: Database) -> str:
    with database.read() as connection:
        rows = [*connection.execute(select(tables.secret)).all(), *connection.execute(select(tables.account)).all()]
    return repr(rows)


def insert_plain(database: Database, count: int) -> None:
    """As an older version has left it."""
    with database.write() as connection:
        for number in range(count):
            row = {"resource_id": "/w/a", "name": f"n{number:03}", "value": f"{PLAIN}-{number}"}
            connection.execute(tables.secret.insert().values(row))
        keys = {"name": "acct", "key1": "a2V5MQ==", "key2": "a2V5Mg==", "created_at": 1.0}
        connection.execute(tables.account.insert().values(keys))


def test_a_value_is_sealed_in_the_table_and_plain_when_read(database: Database, keyring: Keyring) -> None:
    write(database, keyring, key=PLAIN, other="ü\ud800")
    assert read(database, keyring) == {"key": PLAIN, "other": "ü\ud800"}
    assert PLAIN not in stored(database) and rotation.counts(database) == {keyring.current: 2}


def test_two_of_the_same_value_look_different(database: Database, keyring: Keyring) -> None:
    write(database, keyring, one=PLAIN, two=PLAIN)
    with database.read() as connection:
        values = set(connection.execute(select(tables.secret.c.value)).scalars())
    assert len(values) == 2


def test_a_value_that_is_moved_or_changed_does_not_open(database: Database, keyring: Keyring) -> None:
    write(database, keyring, mine="mine", theirs="theirs")
    with database.write() as connection:
        taken = select(tables.secret.c.value).where(tables.secret.c.name == "theirs").scalar_subquery()
        connection.execute(update(tables.secret).where(tables.secret.c.name == "mine").values(value=taken))
    with pytest.raises(Unreadable, match="changed, or belongs to another place"):
        read(database, keyring)
    with database.write() as connection:
        connection.execute(update(tables.secret).values(value="no base64!"))
    with pytest.raises(Unreadable):
        read(database, keyring)


def test_without_its_key_it_says_what_to_restore(database: Database, keyring: Keyring, tmp_path: Path) -> None:
    write(database, keyring, key=PLAIN)
    with pytest.raises(Unreadable, match=rf"{keyring.current}.*keyring\.json does not have: restore the file"):
        read(database, Keyring(Settings(tmp_path / "another")))


def test_what_an_older_version_left_is_read_and_then_sealed(database: Database, keyring: Keyring) -> None:
    insert_plain(database, 3)
    assert read(database, keyring)["n001"] == f"{PLAIN}-1"
    assert rotation.settle(database, keyring) == 4
    assert PLAIN not in stored(database) and "a2V5" not in stored(database)
    assert read(database, keyring) == {f"n{number:03}": f"{PLAIN}-{number}" for number in range(3)}
    found = AccountKeys(database, keyring).of("acct")
    assert found is not None and [one.value for one in found] == ["a2V5MQ==", "a2V5Mg=="]
    assert rotation.settle(database, keyring) == 0


def test_a_rotation_seals_all_chunks_and_drops_the_old_key(
    database: Database, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "CHUNK", 4)
    for number in range(9):
        write(database, keyring, **{f"k{number}": PLAIN})
    AccountKeys(database, keyring).ensure("acct")
    before, old = stored(database), keyring.current
    chunks: list[int] = []
    assert rotation.rotate(database, keyring, chunks.append) == 10
    assert max(chunks) == 4 and keyring.current != old
    assert [one.id for one in keyring.entries()] == [keyring.current]
    assert rotation.counts(database) == {keyring.current: 10} and stored(database) != before
    assert read(database, keyring) == {f"k{number}": PLAIN for number in range(9)}


def test_another_process_seals_with_the_new_key_at_once(database: Database, keyring: Keyring, tmp_path: Path) -> None:
    server = Keyring(Settings(tmp_path / "root"))  # opened before the rotation
    write(database, server, old=PLAIN)
    rotation.rotate(database, keyring)
    write(database, server, new=PLAIN)
    assert rotation.counts(database) == {keyring.current: 2}
    assert (
        read(database, server) == read(database, Keyring(Settings(tmp_path / "root"))) == {"old": PLAIN, "new": PLAIN}
    )


def test_a_key_is_not_dropped_while_something_is_sealed_with_it(
    database: Database, keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer who sealed before the new key came, and commits while values are sealed again."""
    server = Keyring(Settings(tmp_path / "root"))
    sealed, written, rotating = threading.Event(), threading.Event(), threading.Event()

    def late() -> None:
        with database.write() as connection:
            Secrets(server).set(connection, "/w/late", "key", PLAIN)
            sealed.set()
            assert rotating.wait(20)
        written.set()

    writer = threading.Thread(target=late)
    writer.start()
    assert sealed.wait(20)
    add = keyring.add

    def added() -> object:
        made = add()
        rotating.set()
        return made

    monkeypatch.setattr(keyring, "add", added)
    rotation.rotate(database, keyring)
    writer.join(20)
    assert written.is_set()
    rotation.settle(database, keyring)  # what was committed behind its back is sealed again by the next start
    fresh = Keyring(Settings(tmp_path / "root"))
    with database.read() as connection:
        assert Secrets(fresh).of(connection, "/w/late") == {"key": PLAIN}
    assert [one.id for one in fresh.entries()] == [fresh.current]


def test_an_older_schema_gets_its_columns_and_keeps_used_links(database: Database, keyring: Keyring) -> None:
    insert_plain(database, 2)
    with database.write() as connection:
        link = {"resource_id": "login/used", "name": "nonce", "value": f"{1_800_000_600.5:020.3f}"}
        connection.execute(tables.secret.insert().values(link))
        for column in ("key_id", "key1_at", "key2_at"):
            connection.execute(text(f"ALTER TABLE account DROP COLUMN {column}"))
        connection.execute(text("ALTER TABLE secret DROP COLUMN key_id"))
        connection.execute(text("DROP TABLE used_link"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    migrate(database)
    with database.read() as connection:
        assert connection.execute(select(tables.used_link)).all() == [("nonce", 1_800_000_600.5)]
        assert connection.execute(select(tables.account.c.key1_at, tables.account.c.key2_at)).all() == [(1.0, 1.0)]
    assert rotation.settle(database, keyring) == 3 and read(database, keyring)["n000"] == f"{PLAIN}-0"
