"""Names, locks and removal of task folders."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smalt.engines.local.capacity import machine_capacity
from smalt.engines.local.folders import TRASH, Folders, delete_tree, folder_name, take_lock

NAMES = ["", ".", "..", "a/b", "a b", "ü", "x" * 300, ".trash", "a+b", "-rf", "a\nb"]


def test_plain_names_are_their_own_folder() -> None:
    assert folder_name("job_1-0.3") == "job_1-0.3"


@pytest.mark.parametrize("name", NAMES)
def test_other_names_stay_below_the_root(tmp_path: Path, name: str) -> None:
    folder = Folders(tmp_path).of(name)
    assert folder.parent == tmp_path
    assert len(folder.name) < 128
    folder.mkdir()
    assert folder in Folders(tmp_path).all()


def test_different_names_have_different_folders() -> None:
    assert len({folder_name(name) for name in NAMES}) == len(NAMES)
    assert folder_name(folder_name("a b")) != folder_name("a b")


def test_a_task_is_attended_while_its_lock_is_held(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folder = folders.of("t")
    assert not folders.attended(folder)
    folder.mkdir()
    lock = take_lock(folder)
    assert lock is not None
    assert take_lock(folder) is None
    assert folders.attended(folder)
    assert folders.attended(folder)
    os.close(lock)
    assert not folders.attended(folder)


def test_discarded_folders_are_out_of_sight(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.of("t").mkdir()
    first = folders.discard(folders.of("t"))
    assert folders.discard(folders.of("t")) is None
    folders.of("t").mkdir()
    second = folders.discard(folders.of("t"))
    assert first != second
    assert folders.all() == []
    assert len(list((tmp_path / TRASH).iterdir())) == 2


def test_delete_tree_opens_what_was_closed(tmp_path: Path) -> None:
    closed = tmp_path / "t" / "inputs" / "d"
    closed.mkdir(parents=True)
    (closed / "f").touch()
    closed.chmod(0o500)
    closed.parent.chmod(0o500)
    delete_tree(tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_delete_tree_bears_another_that_deletes_too(tmp_path: Path) -> None:
    """As an agent does, with the temporary files of a task that has ended."""
    for number in range(2000):
        (tmp_path / "t" / f"{number % 50}" / f"{number}").mkdir(parents=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(delete_tree, [tmp_path / "t"] * 4))
    assert not (tmp_path / "t").exists()


def test_capacity_does_not_exceed_the_machine() -> None:
    capacity = machine_capacity()
    assert 1 <= capacity.cpus <= (os.cpu_count() or 1)
    assert 0 < capacity.memory_bytes <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
