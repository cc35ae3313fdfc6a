"""The database: SQLite below the root, or PostgreSQL where the settings name one."""

from __future__ import annotations

import os
import shlex
import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psycopg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from smalt.doctor.finding import Finding, no, ok, warn
from smalt.doctor.machine import ANSWER_S, Machine

SLOW_MS = 20.0
_COMMITS, _ROUND_TRIPS, _MOST_S = 15, 10, 0.8
_HEAD = b"SQLite format 3\0"
_MAY_MAKE = (
    "SELECT has_schema_privilege(current_schema(), 'CREATE') AND "
    "(has_database_privilege(current_database(), 'CREATE') OR to_regnamespace('mlflow') IS NOT NULL)"
)
_HIDDEN = ("password", "sslpassword", "passfile", "sslkey")


def commits(machine: Machine) -> Finding:
    """How long the disk takes to keep a commit for sure: the median."""
    with machine.scratch() as folder, closing(sqlite3.connect(folder / "try.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE a (b TEXT)")
        median = median_ms(lambda: connection.execute("INSERT INTO a VALUES ('smalt')"), _COMMITS)
    fact = f"{median:.1f} ms for a commit, by the median"
    if median > SLOW_MS:
        return warn(fact, "every change waits so long for the disk", "smalt up --root DIR, on a faster disk")
    return ok(fact)


def database(machine: Machine) -> Finding:
    settings = machine.settings
    try:
        url = make_url(settings.database)
    except (ArgumentError, ValueError):
        means, remedy = "Smalt cannot start", f"edit database_url in {settings.root / 'config.json'}"
        return no("database_url is not the URL of a database", means, remedy)
    return _sqlite(machine, url) if url.get_backend_name() == "sqlite" else _postgresql(machine, url)


def _sqlite(machine: Machine, url: URL) -> Finding:
    """Looks at the file alone: who opens a database may have to repair it."""
    path = Path(url.database or "")
    means = "Smalt cannot start"
    if not path.exists():
        return ok(f"SQLite {sqlite3.sqlite_version}, made at the first start")
    remedy = f"ls -l {shlex.quote(str(path))}*"
    if not os.access(path, os.R_OK | os.W_OK):
        return no(f"{path} cannot be read and written", means, remedy)
    with path.open("rb") as file:
        head = file.read(len(_HEAD))
    if head and head != _HEAD:
        return no(f"{path} is no database of SQLite", means, f"mv {shlex.quote(str(path))} elsewhere, and restore it")
    return ok(f"SQLite {sqlite3.sqlite_version}, {path.stat().st_size / 2**20:.1f} MiB")


def _postgresql(machine: Machine, url: URL) -> Finding:
    """Connects, asks for the version, and measures round trips."""
    place = f"PostgreSQL at {url.host or 'its socket'}, database {url.database or ''}".rstrip(", ")
    dialect = url.set(drivername="postgresql+psycopg").get_dialect()()
    _, arguments = dialect.create_connect_args(url)  # as the engine does: libpq repeats a URL that it does not like
    arguments = {**arguments, "connect_timeout": max(2, int(ANSWER_S)), "autocommit": True}
    try:
        with psycopg.connect(**arguments) as connection:
            version = connection.execute("SHOW server_version").fetchone() or ("?",)
            may = connection.execute(_MAY_MAKE).fetchone() or (False,)
            median = median_ms(lambda: connection.execute("SELECT 1").fetchone(), _ROUND_TRIPS)
    except (psycopg.Error, ValueError, TypeError) as error:
        lines = str(error).strip().splitlines() if isinstance(error, psycopg.OperationalError) else []
        said = without_secrets(lines[0], url) if lines else f"its address is not good ({type(error).__name__})"
        remedy = f"edit database_url in {machine.settings.root / 'config.json'}, or start the server"
        return no(f"{place}: {said}", "Smalt cannot start", remedy)
    if not may[0]:
        remedy = "GRANT CREATE, on the database and its schema public, to the role"
        return no(f"{place}: the role may not make tables and the schema mlflow there", "Smalt cannot start", remedy)
    fact = f"{place}, {str(version[0]).split()[0]}, {median:.1f} ms for a round trip"
    if median > SLOW_MS:
        return warn(fact, "a request makes several, and waits for each", "a database that is nearer to this machine")
    return ok(fact)


def median_ms(act: Callable[[], object], times: int, most_s: float = _MOST_S) -> float:
    """What `act` takes, in ms; at most `times` of them, fewer where that would take longer than `most_s`."""
    took: list[float] = []
    ends = time.perf_counter() + most_s
    while len(took) < times and (not took or time.perf_counter() < ends):
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def without_secrets(text: str, url: URL) -> str:
    """`text` without the password of `url`, as it is or as it is written in URLs, and without what else opens it."""
    values = [url.password, *(url.query.get(name) for name in _HIDDEN)]
    for value in values:
        for one in (value,) if isinstance(value, str) else value or ():
            for written in {one, quote(one, safe=""), quote(one)} - {""}:
                text = text.replace(written, "***")
    return text
