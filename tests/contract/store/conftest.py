"""Databases for the store's contract: SQLite in a file, and a PostgreSQL server started for the session."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from live.ports import free_port
from smalt.store.database import Database
from smalt.store.migrate import migrate


def _binaries() -> Path | None:
    """Where initdb and pg_ctl are: on PATH, or in Debian's folder."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return folders[0] if folders else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a fresh server. PostgreSQL refuses to run as root, so root starts it as `nobody`.

    Its folder is not below pytest's own, which every session of pytest closes to other users again.
    """
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="smalt-postgres-"))
    as_user = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
    port = free_port()
    data = folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **as_user}
    subprocess.run([binaries / "initdb", "-D", data, "-A", "trust", "-U", "smalt", "--no-sync"], **quiet)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    subprocess.run([binaries / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start"], **quiet)
    yield f"postgresql+psycopg://smalt@127.0.0.1:{port}/postgres"
    subprocess.run([binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with the schema."""
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'smalt.db'}")
    else:
        url = request.getfixturevalue("postgres")
        name = f"t{abs(hash(str(tmp_path))):x}"
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        made = Database(url.rsplit("/", 1)[0] + "/" + name)
    migrate(made)
    yield made
    made.close()
