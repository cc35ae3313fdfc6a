"""A full disk and a locked database: an error or a wait, no corruption, and everything works again afterwards."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from live.patience import ANSWER_S, PATIENCE_S
from live.platform import Platform, eventually
from live.tokens import container_sas
from smalt.settings import STORAGE_SUFFIX

pytestmark = pytest.mark.e2e
_LOCKED_S = 4.0


def intact(platform: Platform) -> bool:
    with contextlib.closing(sqlite3.connect(platform.root / "smalt.db", timeout=ANSWER_S)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("victim", ["sqlite"], indirect=True)  # its file is locked
def test_a_database_that_somebody_locks_makes_requests_wait_or_fail_cleanly(platform: Platform) -> None:
    ran = platform.shared() / "ran"
    platform.ensure_environment()
    answers: dict[str, int] = {}

    def submit(name: str) -> None:
        answers[name] = platform.submit(name, f"echo {name} >> {ran}").status_code

    with contextlib.closing(sqlite3.connect(platform.root / "smalt.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        locked = time.monotonic()
        threads = [threading.Thread(target=submit, args=(f"locked-{number}",)) for number in range(3)]
        for thread in threads:
            thread.start()
        assert (
            platform.call(
                "GET",
                "",
            ).status_code
            == 200
        )  # reading goes on
        eventually(lambda: time.monotonic() - locked > _LOCKED_S, "the time of the lock", _LOCKED_S + 5)
        other.execute("ROLLBACK")
    for thread in threads:
        thread.join(PATIENCE_S)
    assert set(answers.values()) <= {201, 503}, answers
    taken = [name for name, status in answers.items() if status == 201]
    for name in answers:
        if name not in taken:
            assert platform.call("GET", f"jobs/{name}").status_code == 404
    for name in taken:
        platform.wait_for(name, "Completed")
    assert sorted(ran.read_text().split() if ran.exists() else []) == sorted(taken)
    assert platform.submit("after-the-lock", "true").status_code == 201
    platform.wait_for("after-the-lock", "Completed")
    assert intact(platform)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400m", "none", str(folder)], capture_output=True, text=True
    )
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_nothing_breaks(small_disk: Path) -> None:
    with Platform(small_disk / "root").started() as platform:
        platform.submit("before", "true")
        platform.wait_for("before", "Completed")
        keys = platform.call("POST", "listKeys").json()
        account = keys["userStorageResourceId"].rpartition("/")[2]
        container = platform.get("datastores/workspaceblobstore")["properties"]["containerName"]
        sas = container_sas(account, keys["userStorageKey"], container)
        filler = small_disk / "filler"
        fill(filler)

        small = send(platform, account, container, "small.bin", sas, b"x" * 2**16)
        large = send(platform, account, container, "big.bin", sas, b"x" * 8 * 2**20)
        assert (small.status_code, large.status_code) == (422, 422)
        submitted = platform.submit("no-room", "true")
        assert submitted.status_code in (201, 422), submitted.text
        assert platform.call("GET", "").status_code == 200

        filler.unlink()
        platform.wait_until_it_answers()
        for name in ("small.bin", "big.bin"):
            url = f"{platform.url}/{account}.blob.{STORAGE_SUFFIX}/{container}/{name}?{sas}"
            got = requests.get(url, headers={"x-ms-version": "2021-12-02"}, verify=platform.ca, timeout=ANSWER_S)
            assert got.status_code == 404, (name, got.status_code)
        sent = send(platform, account, container, "big.bin", sas, b"y" * 8 * 2**20)
        assert sent.status_code == 201, sent.text
        if submitted.status_code == 201:
            eventually(lambda: platform.job("no-room")["status"] in ("Completed", "Failed"), "the end of no-room")
        else:
            assert platform.call("GET", "jobs/no-room").status_code == 404
        assert platform.submit("after", "echo fine > outputs/x").status_code == 201
        platform.wait_for("after", "Completed")
        assert intact(platform)


def fill(path: Path) -> None:
    """Until not a byte more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass
        os.fsync(file.fileno())


def send(platform: Platform, account: str, container: str, name: str, sas: str, data: bytes) -> requests.Response:
    return requests.put(
        f"{platform.url}/{account}.blob.{STORAGE_SUFFIX}/{container}/{name}?{sas}",
        data=data,
        verify=platform.ca,
        headers={"x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"},
        timeout=ANSWER_S,
    )
