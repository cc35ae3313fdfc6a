"""A task's disk: what its folder holds, and what it has to leave free, on disks that are numbers."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from smalt.agent import disk
from smalt.agent.disk import KEEP_FREE_BYTES, MAY_STILL_WRITE_BYTES, DiskBound, allocated, written_bytes
from smalt.agent.wire import Limits, Outcome
from smalt.reserve import Reserve

MIB = 2**20
PLENTY = 1 << 40


class Disk:
    """`free` and `wrote` are what the test says; `look` is always due."""

    def __init__(self, folder: Path, limits: Limits | None = None, free: int = PLENTY) -> None:
        self.free, self.wrote = free, 0
        self.bound = DiskBound(limits or Limits(), folder, [folder], self._count, lambda _: self.free)
        self.counted = 0

    def _count(self) -> int:
        self.counted += 1
        return self.wrote

    def look(self) -> str:
        self.bound.due = 0.0
        ending = self.bound.look()
        assert ending is None or ending.outcome is Outcome.OUT_OF_DISK
        return ending.reason if ending else ""

    @property
    def pause_s(self) -> float:
        return self.bound.due - time.monotonic()


def total(*folders: Path) -> int | None:
    return [*allocated(folders)][-1]


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_what_is_left_is_enough_for_the_platforms_reserve(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    assert KEEP_FREE_BYTES >= 4 * reserve.size_bytes >= reserve.needed_bytes


def test_who_goes_on_writing_below_the_reserve_ends(tmp_path: Path) -> None:
    found = Disk(tmp_path, free=KEEP_FREE_BYTES + MIB)
    assert not found.look()
    found.free = KEEP_FREE_BYTES - MIB
    found.wrote = MAY_STILL_WRITE_BYTES
    assert not found.look()
    found.wrote += 1
    said = found.look()
    assert "(255 MiB are free, and the platform keeps 256 MiB for itself)" in said and "Free space" in said


def test_who_writes_nothing_goes_on(tmp_path: Path) -> None:
    found = Disk(tmp_path, free=MIB)
    found.wrote = PLENTY  # all of it before
    assert not any(found.look() for _ in range(5))


def test_what_was_written_while_there_was_room_does_not_count(tmp_path: Path) -> None:
    found = Disk(tmp_path, free=MIB)
    found.look()
    found.free, found.wrote = PLENTY, PLENTY
    assert not found.look()
    found.free = MIB
    assert not found.look()


def test_it_looks_sooner_the_less_there_is_and_counts_nothing_while_there_is_room(tmp_path: Path) -> None:
    found = Disk(tmp_path)
    found.look()
    assert 1.9 < found.pause_s <= 2 and found.counted == 0
    found.free = KEEP_FREE_BYTES + (4 << 30)
    found.look()
    assert 0.5 < found.pause_s <= 1 and found.counted == 1
    found.free = KEEP_FREE_BYTES
    found.look()
    assert found.pause_s <= 0.05


def test_a_folder_over_the_nodes_disk_ends_its_task(tmp_path: Path) -> None:
    found = Disk(tmp_path, Limits(disk_bytes=3 * MIB, more="Its VM size is S; a larger one has more."))
    write(tmp_path / "a" / "one", MIB)
    assert not found.look()
    write(tmp_path / "b" / "two", 3 * MIB)
    assert not found.look(), "nothing of the disk went, so nobody looked"
    found.free -= 2 * MIB
    assert not found.look()
    found.free -= 2 * MIB
    said = found.look()
    assert "holds 4 MiB, more than its node's disk (3 MiB)" in said and said.endswith("a larger one has more.")


def test_what_others_write_ends_nobody(tmp_path: Path) -> None:
    found = Disk(tmp_path, Limits(disk_bytes=2 * MIB))
    write(tmp_path / "one", MIB)
    for _ in range(3):
        found.free -= 100 * MIB
        assert not found.look()


def test_a_walk_goes_on_where_its_slice_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_SLICE_S", 0.0)
    for at in range(1000):
        write(tmp_path / f"{at % 7}" / f"{at}", 4096)
    found = Disk(tmp_path, Limits(disk_bytes=3 * MIB))
    found.free -= 4 * MIB
    looks = 1
    while not found.look():
        looks += 1
        assert looks < 10
    assert looks > 3, "1000 files and 7 folders, 256 at a time"


def test_files_count_once_and_links_not_at_all(tmp_path: Path) -> None:
    own, outside = tmp_path / "own", tmp_path / "outside"
    write(own / "a", MIB)
    write(outside / "b", MIB)
    before = total(own)
    os.link(own / "a", own / "again")
    (own / "link").symlink_to(outside)
    with (own / "sparse").open("wb") as file:
        file.truncate(PLENTY)
    after = total(own, tmp_path / "none")
    assert before and after and MIB <= before <= after < before + 64 * 1024


def test_what_processes_wrote(tmp_path: Path) -> None:
    for pid, size in ((1, 5), (2, 7)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "io").write_text(f"rchar: 1\nwchar: 900\nread_bytes: 0\nwrite_bytes: {size}\n")
    assert written_bytes([1, 2, 3], tmp_path) == 12


def test_a_task_that_is_removed_meanwhile_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    bound = DiskBound(Limits(disk_bytes=1), tmp_path / "work", [tmp_path / "work"], lambda: 0)
    (tmp_path / "work").rmdir()
    bound.due = 0.0
    assert bound.look() is None
