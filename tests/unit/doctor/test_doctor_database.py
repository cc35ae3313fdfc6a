"""The databases: how fast, whether they can be used, and that no password shows."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from fakes.machines import machine
from live.ports import free_port
from smalt.doctor import database
from smalt.doctor.finding import State

PASSWORD = "s3cr/et word"
IN_URL = "s3cr%2Fet%20word"


def test_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = database.commits(machine(tmp_path))
    assert found.state in (State.OK, State.WARN) and found.fact.endswith(" ms for a commit, by the median")
    monkeypatch.setattr(database, "SLOW_MS", 0.0)
    found = database.commits(machine(tmp_path))
    assert found.state is State.WARN and found.means and found.remedy


def test_the_median_of_what_is_slow_is_not_waited_for() -> None:
    calls: list[float] = []

    def slow() -> None:
        calls.append(time.perf_counter())
        time.sleep(0.02)

    assert 20 <= database.median_ms(slow, 50, most_s=0.05) < 1000
    assert 1 <= len(calls) <= 4


def test_sqlite(tmp_path: Path) -> None:
    examined = machine(tmp_path)
    assert database.database(examined).fact.endswith("made at the first start")
    examined.settings.root.mkdir()
    path = examined.settings.root / "smalt.db"
    path.touch()  # as Database leaves it before the first table
    assert database.database(examined).state is State.OK
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE a (b)")
    assert database.database(examined).state is State.OK
    path.write_bytes(b"this is no database at all")
    found = database.database(examined)
    assert found.state is State.NO and found.fact == f"{path} is no database of SQLite"


def test_a_database_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("nonsense, longer than a head")
    found = database.database(machine(tmp_path, database_url=f"sqlite:///{tmp_path}/other.db"))
    assert found.state is State.NO and str(tmp_path / "other.db") in found.fact


def test_a_postgresql_that_is_not_there(tmp_path: Path) -> None:
    url = f"postgresql://ada:{IN_URL}@127.0.0.1:{free_port()}/smalt"
    found = database.database(machine(tmp_path, database_url=url))
    assert found.state is State.NO and found.fact.startswith("PostgreSQL at 127.0.0.1, database smalt: ")
    assert "refused" in found.fact and found.means and found.remedy
    assert PASSWORD not in str(found) and IN_URL not in str(found)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{IN_URL}@127.0.0.1:1/smalt?sslmode=nonsense",
        f"postgresql://ada:{IN_URL}@127.0.0.1:1/smalt?nonsense=1",
        f"postgresql://ada:{IN_URL}@127.0.0.1:port/smalt",
        f"postgresql://127.0.0.1:1/smalt?user=ada&password={IN_URL}&nonsense=1",
        f"postgresql+asyncpg://ada:{IN_URL}@[::1/smalt",
    ],
)
def test_a_url_that_is_wrong_shows_no_password(tmp_path: Path, url: str) -> None:
    found = database.database(machine(tmp_path, database_url=url))
    assert found.state is State.NO
    for secret in (PASSWORD, IN_URL, "s3cr"):
        assert secret not in str(found), found


def test_passwords_are_taken_out_of_errors() -> None:
    url = database.make_url(f"postgresql://ada:{IN_URL}@host/smalt?sslpassword=other&sslpassword=third")
    told = f"no: {PASSWORD}, {IN_URL}, s3cr/et%20word, other and third"
    assert database.without_secrets(told, url) == "no: ***, ***, ***, *** and ***"
