"""At zero bytes free: the platform starts, reads and deletes go on, and clients are told at once what is wrong."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient

from live.platform import Platform, eventually
from smalt.settings import STORAGE_SUFFIX

SIZE_MIB = 600  # more than four times the reserve, with an environment built


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "none", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Until not a byte more fits."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass
    assert os.statvfs(disk).f_bavail == 0


def blob(platform: Platform, name: str) -> BlobClient:
    keys = platform.call("POST", "listKeys").json()
    account = keys["userStorageResourceId"].rpartition("/")[2]
    container = platform.get("datastores/workspaceblobstore")["properties"]["containerName"]
    url = f"{platform.url}/{account}.blob.{STORAGE_SUFFIX}"
    return BlobClient(url, container, name, credential=keys["userStorageKey"], connection_verify=platform.ca)


def test_a_full_disk_lets_the_platform_start_read_and_delete(disk: Path) -> None:
    with Platform(disk / "root").started() as platform:
        eventually(lambda: (platform.root / "reserve").exists(), "the reserve")
        platform.submit("old", "true")
        platform.wait_for("old", "Completed", timeout_s=120)
        stored = blob(platform, "stored.bin")
        stored.upload_blob(b"x" * 2**16)
        fill(disk)

        began = time.monotonic()
        with pytest.raises(HttpResponseError, match="no space left on the platform's disk"):
            blob(platform, "new.bin").upload_blob(b"x" * 2**20)
        assert time.monotonic() - began < 10  # the client did not try again for minutes

        os.kill(platform.pid("supervisor"), 9)
        again = platform.smalt("up", "--port", str(platform.port), "--detach")
        assert again.returncode == 0, again.stdout + again.stderr
        assert "its reserve was given up" in again.stderr
        assert not (platform.root / "reserve").exists()
        platform.wait_until_it_answers()
        assert platform.job("old")["status"] == "Completed"
        assert stored.download_blob().readall() == b"x" * 2**16

        fill(disk)
        platform.down()
        refused = platform.smalt("up", "--port", str(platform.port), "--detach")
        assert refused.returncode == 1
        assert refused.stderr.startswith("smalt: 0 MiB are free on the disk of ")
        assert refused.stderr.count("\n") == 1
        (disk / "filler").unlink()
        platform.up()
        eventually(lambda: (platform.root / "reserve").exists(), "the reserve, made again")


def test_a_delete_on_a_full_disk_works_with_the_reserve(disk: Path) -> None:
    with Platform(disk / "root").started() as platform:
        eventually(lambda: (platform.root / "reserve").exists(), "the reserve")
        platform.submit("old", "true")
        platform.wait_for("old", "Completed", timeout_s=120)
        stored = blob(platform, "stored.bin")
        stored.upload_blob(b"x" * 2**16)
        fill(disk)
        stored.delete_blob()
        assert not stored.exists()
        assert not (platform.root / "reserve").exists()
        answer = platform.call("DELETE", "jobs/old")
        assert answer.status_code in (200, 202, 204), answer.text
        eventually(lambda: platform.call("GET", "jobs/old").status_code == 404, "the end of the job's row")
