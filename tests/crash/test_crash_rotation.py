"""A rotation of the sealing key, killed at every line: nothing is lost, and the next start or rotation ends it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from smalt.auth import rotation
from smalt.auth.keyring import Keyring
from smalt.blob.accounts.account_keys import AccountKeys
from smalt.settings import Settings
from smalt.store.database import Database
from smalt.store.migrate import migrate
from smalt.store.sealed import Secrets

FILES = ("rotation.py", "keyring.py", "secret_files.py", "sealed.py")
SECRETS = {f"k{number}": f"value-{number}" for number in range(3)}


def open_all(settings: Settings) -> tuple[Database, Keyring]:
    return Database(settings.database), Keyring(settings)


def rotate_until(settings: Settings, line: int) -> bool:
    """A process that rotates, and is gone at its `line`-th line; whether it came to the end before."""
    child = os.fork()
    if child == 0:
        left = line

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith(FILES):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os._exit(9)
            return trace

        rotation.CHUNK = 2
        sys.settrace(trace)
        rotation.rotate(*open_all(settings))
        sys.settrace(None)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def check(settings: Settings) -> None:
    database, keyring = open_all(settings)
    with database.read() as connection:
        assert Secrets(keyring).of(connection, "/w/a") == SECRETS
    assert AccountKeys(database, keyring).of("acct") is not None
    database.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_rotation_may_be_killed_at_any_line(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    database, keyring = open_all(settings)
    migrate(database)
    with database.write() as connection:
        for name, value in SECRETS.items():
            Secrets(keyring).set(connection, "/w/a", name, value)
    AccountKeys(database, keyring).ensure("acct")
    database.close()
    line, most = 1, 0
    while not rotate_until(settings, line):
        check(settings)
        most = max(most, len(Keyring(settings).entries()))
        line += 7 if line > 60 else 3
        if line % 2:  # every other time the next rotation meets what was left, else a start
            database, keyring = open_all(settings)
            rotation.settle(database, keyring)
            database.close()
            assert len(Keyring(settings).entries()) == 1
    check(settings)
    assert line > 100 and most > 1, "it was not killed in the middle"
    assert len(Keyring(settings).entries()) == 1
    assert {one.name for one in settings.secrets.iterdir()} >= {"keyring.json", "keyring.lock"}
    assert all(one.stat().st_mode & 0o077 == 0 for one in settings.secrets.iterdir())
