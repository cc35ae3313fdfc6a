"""At zero bytes free: the platform starts, reads and deletes go on, and clients are told at once what is wrong."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient

from live.platform import HOME, Platform, eventually
from smalt.settings import STORAGE_SUFFIX

IMAGE_MIB = 1400
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


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """A disk on which the kernel counts what each process writes, as it does not in memory."""
    file, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with file.open("wb") as made:
        made.truncate(IMAGE_MIB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", file], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", file, folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no image can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free_mib(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize >> 20


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


def log_until_refused(platform: Platform, run: str) -> requests.Response:
    """Metrics, as MLflow's client logs them; SQLite's log has some room of its own that is written first."""
    path = f"/mlflow/v1.0{HOME}/api/2.0/mlflow/runs/log-batch"
    for step in range(200):
        metrics = [{"key": f"m{at}", "value": 1.0, "timestamp": step, "step": step} for at in range(1000)]
        answer = platform.call("POST", path, {"run_id": run, "metrics": metrics})
        if answer.status_code != 200:
            return answer
    raise AssertionError("MLflow writes on although the disk is full")


def test_a_full_disk_lets_the_platform_start_read_and_delete(disk: Path) -> None:
    with Platform(disk / "root").started() as platform:
        eventually(lambda: (platform.root / "reserve").exists(), "the reserve")
        platform.submit("old", "true")
        platform.wait_for("old", "Completed")
        stored = blob(platform, "stored.bin")
        stored.upload_blob(b"x" * 2**16)
        fill(disk)

        answers: list[object] = []
        with pytest.raises(HttpResponseError, match="no space left on the platform's disk"):
            blob(platform, "new.bin").upload_blob(b"x" * 2**20, raw_response_hook=answers.append)
        assert len(answers) == 1, "the client tried again, which takes minutes"
        refused = log_until_refused(platform, "old")
        assert (refused.status_code, refused.json()["error_code"]) == (422, "RESOURCE_EXHAUSTED")
        assert "no space left" in refused.json()["message"]

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
        failed = platform.smalt("up", "--port", str(platform.port), "--detach")
        assert failed.returncode == 1
        assert failed.stderr.startswith("smalt: 0 MiB are free on the disk of ")
        assert failed.stderr.count("\n") == 1
        (disk / "filler").unlink()
        platform.up()
        eventually(lambda: (platform.root / "reserve").exists(), "the reserve, made again")


def test_a_delete_on_a_full_disk_works_with_the_reserve(disk: Path) -> None:
    with Platform(disk / "root").started() as platform:
        eventually(lambda: (platform.root / "reserve").exists(), "the reserve")
        platform.submit("old", "true")
        platform.wait_for("old", "Completed")
        stored = blob(platform, "stored.bin")
        stored.upload_blob(b"x" * 2**16)
        fill(disk)
        stored.delete_blob()
        assert not stored.exists()
        assert not (platform.root / "reserve").exists()
        answer = platform.call("DELETE", "jobs/old")
        assert answer.status_code in (200, 202, 204), answer.text
        eventually(lambda: platform.call("GET", "jobs/old").status_code == 404, "the end of the job's row")


def test_a_job_that_fills_the_disk_ends_and_nothing_else_fails(image: Path) -> None:
    with Platform(image / "root").started() as platform:
        platform.submit("modest", "for i in $(seq 6000); do echo $i; sleep 0.1; done")
        platform.wait_for("modest", "Running")
        platform.submit("greedy", "while head -c 4M /dev/zero >> fill; do sleep 0.01; done; sleep 300")
        least, uploads = free_mib(image), 0
        while platform.job("greedy")["status"] not in ("Failed", "Completed"):
            blob(platform, f"{uploads}.bin").upload_blob(b"x" * 2**16)
            least, uploads = min(least, free_mib(image)), uploads + 1
        assert platform.job("greedy")["status"] == "Failed"
        assert "The disk of this machine is almost full" in platform.job_error("greedy")
        assert uploads > 0 and least > 64
        eventually(lambda: free_mib(image) > least + 256, "the job's files, removed")
        assert platform.job("modest")["status"] == "Running"
        platform.call("POST", "jobs/modest/cancel")
