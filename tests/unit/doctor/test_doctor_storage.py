"""The root's disk: what is said of good and bad ones, and that nothing is left there."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fakes.machines import as_nobody, everything_below, machine
from smalt.doctor import database, storage, stores
from smalt.doctor.finding import Finding, NotTried, State
from smalt.doctor.machine import Machine

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone becomes another user")
TRIED = (storage.root, storage.hard_links, storage.clones, stores.store, database.commits, database.database)


def mounts(*lines: tuple[str, str]) -> dict[str, str]:
    text = "".join(f"{at} 1 8:1 / {place} rw,relatime - {kind} dev rw\n" for at, (place, kind) in enumerate(lines))
    return {"proc/self/mountinfo": text}


def with_folders(tmp_path: Path) -> Machine:
    examined = machine(tmp_path)
    for one in (examined.settings.envs, examined.settings.blobs):
        one.mkdir(parents=True)
    return examined


@pytest.mark.parametrize("there", [False, True], ids=["missing", "there"])
def test_nothing_is_left(tmp_path: Path, there: bool) -> None:
    examined = with_folders(tmp_path) if there else machine(tmp_path)
    before = everything_below(tmp_path)
    for look in TRIED:
        assert look(examined).state in (State.OK, State.NONE), look
    assert everything_below(tmp_path) == before


def test_a_root_far_below_what_exists(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    examined = machine(tmp_path / "a", {})
    far = Machine(type(examined.settings)(tmp_path / "a/b/c/root"), examined.variables, examined.base)
    assert far.ground == tmp_path / "a"
    assert storage.root(far).state is State.OK
    assert not (tmp_path / "a/b").exists()


def test_what_is_no_root(tmp_path: Path) -> None:
    examined = machine(tmp_path)
    examined.settings.root.write_text("a file")
    found = storage.root(examined)
    assert found.state is State.NO and "is not a folder" in found.fact and found.means and found.remedy
    examined.settings.root.unlink()
    examined.settings.root.mkdir()
    examined.settings.root.chmod(0o1777)
    assert "for other things too" in storage.root(examined).fact


@needs_root
def test_a_root_that_a_plain_user_cannot_write(public: Path) -> None:
    examined = machine(public)

    def look() -> list[str]:
        told = [storage.root(examined).state, storage.root(examined).fact]
        try:
            storage.hard_links(examined)
        except NotTried as error:
            told.append(str(error))
        return told

    state, fact, not_tried = as_nobody(look)
    assert state == State.NO
    assert fact == not_tried == f"{public} cannot be written (Permission denied)"


@needs_root
def test_a_root_that_a_plain_user_cannot_even_look_at(public: Path) -> None:
    public.chmod(0o700)
    examined = machine(public)
    state, fact, *_ = as_nobody(lambda: list(vars(storage.root(examined)).values()))
    assert (state, fact) == (State.NO, f"{public}/root cannot be used: Permission denied")


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("ext4", State.OK), ("xfs", State.OK), ("virtiofs", State.OK), ("fuse.gocryptfs", State.OK),
        ("nfs4", State.WARN), ("cifs", State.WARN), ("9p", State.WARN), ("fuse.sshfs", State.WARN),
        ("tmpfs", State.WARN), ("overlay", State.WARN),
    ],
)  # fmt: skip
def test_the_file_system(tmp_path: Path, kind: str, state: State) -> None:
    found = storage.kind_of_file_system(machine(tmp_path, mounts(("/", "ext4"), (str(tmp_path), kind))))
    assert (found.state, found.fact) == (state, f"{kind}, mounted at {tmp_path}")


def test_the_nearest_mount_counts_and_later_ones_hide_earlier(tmp_path: Path) -> None:
    strange = tmp_path / "with space"
    strange.mkdir()
    place = str(strange).replace(" ", "\\040")
    listed = mounts(("/", "ext4"), (place, "nfs"), (place, "xfs"), (f"{tmp_path}/with", "tmpfs"), ("/proc", "proc"))
    assert storage.file_system(machine(strange, listed)) == storage.FileSystem("xfs", str(strange))


def free(mib: float, inodes: int = 10**7) -> os.statvfs_result:
    told = SimpleNamespace(f_bavail=int(mib * 256), f_frsize=4096, f_blocks=10**9, f_files=2 * 10**7, f_favail=inodes)
    return cast("Any", told)


@pytest.mark.parametrize(
    ("told", "state", "text"),
    [
        (free(50_000), State.OK, "52.4 GB of 4096 GB are free"),
        (free(9_000), State.WARN, "9.4 GB of"),
        (free(10), State.NO, "10 MiB are free"),
        (free(50_000, 5000), State.WARN, "only 5000 files can be made"),
    ],
)
def test_the_disk(tmp_path: Path, told: os.statvfs_result, state: State, text: str) -> None:
    found = storage.disk_found(machine(tmp_path), told)
    assert found.state is state and text in found.fact


def test_links_that_the_file_system_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    found = storage.hard_links(machine(tmp_path))
    assert (found.state, found.fact) == (State.NO, "not on this file system (Operation not permitted)")


def test_folders_on_two_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examined, link = with_folders(tmp_path), os.link
    assert storage.hard_links(examined).fact == "work, also from envs/ to blobs/"

    def within(source: Path, target: Path) -> None:
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link(source, target)

    monkeypatch.setattr(os, "link", within)
    found = storage.hard_links(examined)
    assert found.state is State.WARN and "not from envs/ to blobs/" in found.fact
    assert everything_below(examined.settings.root) == {"envs", "blobs"}


@pytest.mark.parametrize("number", [0, errno.EOPNOTSUPP, errno.EPERM])
def test_reflinks(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def ioctl(*_: object) -> int:
        if number:
            raise OSError(number, os.strerror(number))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    found = storage.clones(machine(tmp_path, mounts(("/", "ext4"))))
    facts = {0: "work", errno.EOPNOTSUPP: "not on ext4", errno.EPERM: "refused (Operation not permitted)"}
    assert (found.state, found.fact) == (State.NONE if number else State.OK, facts[number])


def test_the_store(tmp_path: Path) -> None:
    examined = with_folders(tmp_path)
    assert stores.store(examined).state is State.OK
    examined.settings.blobs.rmdir()
    examined.settings.blobs.write_text("")
    assert stores.store(examined).state is State.NO


@needs_root
def test_a_store_that_a_plain_user_cannot_write(public: Path) -> None:
    examined = with_folders(public)
    found = Finding(*as_nobody(lambda: list(vars(stores.store(examined)).values())))
    assert (found.state, found.fact) == (State.NO, f"{examined.settings.blobs} cannot be written (Permission denied)")
