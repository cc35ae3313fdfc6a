"""A locked database and a full disk are told to the client as such, at the resource edge; nothing is half-written."""

from __future__ import annotations

import errno
import sqlite3
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from smalt.arm.outage import outage
from smalt.store import database

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/outage"


def test_a_locked_database_is_503_with_a_time_to_come_again(harness: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    harness.database.close()  # new connections wait as long as the patch says
    other = sqlite3.connect(harness.settings.root / "smalt.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refused = harness.put(GROUP, {"location": "local"})
    other.execute("ROLLBACK")
    other.close()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ServerBusy")
    assert refused.headers["retry-after"] == "1"
    assert harness.get(GROUP).status_code == 404
    assert harness.put(GROUP, {"location": "local"}).status_code == 201


def test_a_full_disk_is_422_and_the_same_works_when_there_is_room(harness: Any) -> None:
    harness.database.close()
    with (
        harness.database.read() as connection
    ):  # the pool's one connection: a database that may not grow is a full disk
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    refused = harness.put(GROUP, {"location": "local", "managedBy": "x" * 200_000})
    with harness.database.read() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "InsufficientStorage")
    assert harness.get(GROUP).status_code == 404
    assert harness.put(GROUP, {"location": "local"}).status_code == 201


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 422),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 422),
        (OSError(errno.EACCES, "Permission denied"), None),
        (OperationalError("", {}, sqlite3.OperationalError("database is locked")), 503),
        (OperationalError("", {}, sqlite3.OperationalError("database or disk is full")), 422),
        (OperationalError("", {}, sqlite3.OperationalError("disk I/O error")), 422),
        (OperationalError("", {}, sqlite3.OperationalError("no such column: x")), None),
        (OperationalError("", {}, sqlite3.OperationalError("no such column: full")), None),
        (OperationalError("", {}, Exception("connection refused")), 503),
        (ValueError("locked"), None),
    ],
)
def test_only_what_passes_is_an_outage(error: Exception, status: int | None) -> None:
    found = outage(error)
    assert (found.status if found else None) == status
