"""`arm.ports.Blobs`: what kinds do with blobs, by name alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from fakes.databases import with_schema
from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError
from smalt.auth.keyring import Keyring
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.store.folder import FolderStore
from smalt.blob.store.objects import ObjectStore
from smalt.blob.store.remote import ObstoreStore
from smalt.blob.store.staging import Staging
from smalt.settings import PLATFORM_ACCOUNT, Settings

ACCOUNT, CONTAINER = "acc", "con"
A = (ACCOUNT, CONTAINER, "folder/a.txt")


@pytest.fixture(params=["folder", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return FolderStore(tmp_path / "blobs") if request.param == "folder" else ObstoreStore(MemoryStore())


@pytest.fixture
def blobs(store: ObjectStore, tmp_path: Path) -> BlobAccounts:
    made = BlobAccounts(Accounts(with_schema(tmp_path / "smalt.db"), Keyring(Settings(tmp_path))), store)
    made.ensure_container(ACCOUNT, CONTAINER)
    staged = Staging(tmp_path / "blobs").write(b"0123456789")
    store.put(f"{ACCOUNT}/{CONTAINER}", A[2], staged)
    return made


def test_a_blob_is_read_from_its_beginning_or_its_end(blobs: BlobAccounts) -> None:
    assert blobs.size(*A) == 10
    assert blobs.read(*A, 4) == b"0123"
    assert blobs.read(*A, 4, from_end=True) == b"6789"
    assert blobs.read(*A, 100, from_end=True) == blobs.read(*A, 100) == b"0123456789"


def test_what_is_not_there_is_neither_read_nor_measured(blobs: BlobAccounts) -> None:
    for name in ("none", "folder", "folder/../folder/a.txt"):
        assert blobs.read(ACCOUNT, CONTAINER, name, 9) is None and blobs.size(ACCOUNT, CONTAINER, name) is None


def test_a_copy_stays_what_the_blob_was(blobs: BlobAccounts) -> None:
    blobs.ensure_container("registry", "models-1")
    target = Ref("registry", "models-1", "a")
    blobs.copy(Ref(*A), target)
    blobs.write(Ref(*A), b"other")
    assert blobs.read(*target, 99) == b"0123456789"
    with pytest.raises(ArmError) as refused:
        blobs.copy(Ref(ACCOUNT, CONTAINER, "none"), target)
    assert refused.value.status == 404


def test_no_link_that_a_job_made_is_copied(blobs: BlobAccounts, store: ObjectStore, tmp_path: Path) -> None:
    if not isinstance(store, FolderStore):
        pytest.skip("no links there")
    (secret := tmp_path / "secret").write_text("secret")
    store.path(f"{ACCOUNT}/{CONTAINER}", "folder/").joinpath("link").symlink_to(secret)
    with pytest.raises(ArmError):
        blobs.copy(Ref(ACCOUNT, CONTAINER, "folder/link"), Ref(ACCOUNT, CONTAINER, "copy"))
    assert blobs.read(ACCOUNT, CONTAINER, "copy", 99) is None


@pytest.mark.parametrize(
    ("name", "there"), [("folder/a.txt", True), ("folder", True), ("folder/", True), ("fold", False), ("", True)]
)
def test_a_folder_exists_where_there_is_a_blob_in_it(blobs: BlobAccounts, name: str, there: bool) -> None:
    assert blobs.exists(ACCOUNT, CONTAINER, name) is there
    assert blobs.has_container(ACCOUNT, CONTAINER) and not blobs.has_container(ACCOUNT, "other")


@pytest.mark.parametrize(
    ("account", "container", "name"),
    [("A!", "con", ""), ("acc", "Con!", ""), ("acc", "con", "a/../b"), ("acc", "con", "x" * 2000)],
)
def test_names_that_can_be_stored_nowhere(blobs: BlobAccounts, account: str, container: str, name: str) -> None:
    with pytest.raises(ArmError) as caught:
        blobs.check(account, container, name)
    assert caught.value.status == 400
    blobs.check(ACCOUNT, CONTAINER, "folder/")


class TestFiles:
    """What only a store of files does."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return FolderStore(tmp_path / "blobs")

    def test_a_linked_blob_grows_with_its_source(self, blobs: BlobAccounts) -> None:
        source, target = Ref(PLATFORM_ACCOUNT, "logs", "k.log"), Ref(ACCOUNT, CONTAINER, "job/logs/20.txt")
        blobs.link(source, target)
        assert blobs.size(*target) == 0
        with blobs.path(*source).open("a") as log:
            log.write("one\n")
        blobs.link(source, target)
        assert blobs.read(*target, 100) == b"one\n"

    def test_a_link_takes_the_place_of_what_was_there(self, blobs: BlobAccounts) -> None:
        blobs.link(Ref(PLATFORM_ACCOUNT, "logs", "k.log"), Ref(*A))
        assert blobs.size(*A) == 0

    def test_only_the_end_is_kept(self, blobs: BlobAccounts) -> None:
        blobs.keep_end(*A, 3)
        assert blobs.read(*A, 100) == b"789"
        blobs.keep_end(*A, 100)
        blobs.keep_end(ACCOUNT, CONTAINER, "none", 3)
        assert blobs.read(*A, 100) == b"789" and not blobs.exists(ACCOUNT, CONTAINER, "none")

    def test_nothing_is_written_through_a_link_that_a_job_swaps_in(self, blobs: BlobAccounts, tmp_path: Path) -> None:
        """A folder of the store is a link to somewhere else at moments of the job's choice."""
        outside, folder = tmp_path / "outside", blobs.path(ACCOUNT, CONTAINER, "swapped/")
        for one in (outside, folder):
            one.mkdir(parents=True)
            (one / "log").write_bytes(b"0123456789")
        bait = folder.with_name("bait")
        bait.symlink_to(outside)
        over, libc = threading.Event(), ctypes.CDLL(None, use_errno=True)

        def swap() -> None:
            while not over.is_set():
                assert libc.renameat2(-100, os.fsencode(folder), -100, os.fsencode(bait), 2) == 0

        swapping = threading.Thread(target=swap)
        swapping.start()
        log = Ref(ACCOUNT, CONTAINER, "swapped/log")
        try:
            for _ in range(200):
                with contextlib.suppress(ArmError, OSError):
                    blobs.write(log, b"x", at=3)
                with contextlib.suppress(ArmError, OSError):
                    blobs.keep_end(*log, 3)
        finally:
            over.set()
            swapping.join()
        assert (outside / "log").read_bytes() == b"0123456789"

    def test_what_is_written_ends_the_blob(self, blobs: BlobAccounts) -> None:
        log = Ref(ACCOUNT, CONTAINER, "logs/of/a/job")
        blobs.write(log, b"one\n")
        blobs.write(log, b"two\n", at=4)
        blobs.write(log, b"2\n", at=4)
        assert blobs.read(*log, 100) == b"one\n2\n"

    def test_room_is_measured(self, blobs: BlobAccounts) -> None:
        assert (blobs.free_bytes() or 0) > 0


def test_a_remote_store_says_that_it_has_no_files(tmp_path: Path) -> None:
    accounts = Accounts(with_schema(tmp_path / "smalt.db"), Keyring(Settings(tmp_path)))
    blobs = BlobAccounts(accounts, ObstoreStore(MemoryStore()))
    with pytest.raises(ArmError, match="not files of this machine"):
        blobs.path(*A)
    assert blobs.free_bytes() is None
