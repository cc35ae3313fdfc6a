"""The race between the check of a path and its use (openat2): another job swaps a folder with a link meanwhile."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fakes.refs import ref
from smalt.agent.artifacts import collect_artifacts, link_artifacts
from smalt.agent.beneath import held, made
from smalt.agent.copying import copy_tree
from smalt.agent.failures import SetupError
from smalt.agent.inputs import prepare_inputs
from smalt.agent.journal import Journal, open_log
from smalt.agent.mounts import Namespace
from smalt.agent.outputs import finish_outputs, settle_links
from smalt.agent.wire import InputSpec, OutputSpec, Places

ROUNDS = 200
_EXCHANGE = 2


class Store:
    """`data/deep` of the store is a folder, or, in the moments of an attacker's choice, a link to `secrets`."""

    def __init__(self, root: Path) -> None:
        self.root = root / "blobs"
        self.secrets = root / "secrets"
        self.data = self.root / "acc" / "con" / "data"
        for folder in (self.data / "deep", self.secrets / "sub"):
            folder.mkdir(parents=True)
        (self.data / "deep" / "file").write_text("data")
        (self.data / "deep" / "sub").mkdir()
        (self.data / "deep" / "sub" / "file").write_text("data")
        (self.secrets / "file").write_text("SECRET")
        (self.secrets / "sub" / "file").write_text("SECRET")
        self.bait = self.root / "acc" / "con" / "bait"
        self.bait.symlink_to(self.secrets)

    @contextmanager
    def swapping(self) -> Iterator[None]:
        over = threading.Event()
        libc = ctypes.CDLL(None, use_errno=True)

        def swap() -> None:
            here, there = os.fsencode(self.data / "deep"), os.fsencode(self.bait)
            while not over.is_set():
                assert libc.renameat2(-100, here, -100, there, _EXCHANGE) == 0

        thread = threading.Thread(target=swap)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "system.log")


def rounds(enough: Callable[[], object]) -> Iterator[int]:
    """At least `ROUNDS`, and on a busy machine as many more as it takes to win once."""
    for number in range(50 * ROUNDS):
        if number >= ROUNDS and enough():
            return
        yield number


def all_text(folder: Path) -> str:
    return "".join(one.read_text() for one in folder.rglob("*") if one.is_file() and not one.is_symlink())


def test_the_race_is_lost_by_who_goes_by_names(store: Store, tmp_path: Path) -> None:
    """Else the tests below could not fail."""
    with store.swapping():
        for _ in range(20 * ROUNDS):
            with suppress(OSError):
                if (store.data / "deep").is_dir() and "SECRET" in (store.data / "deep" / "file").read_text():
                    return
    pytest.fail("never lost")


@pytest.mark.parametrize("mode", ["download", "ro_mount"])
def test_an_input_never_shows_what_is_not_in_the_store(
    store: Store, tmp_path: Path, journal: Journal, mode: str
) -> None:
    refused = Namespace()
    refused.refused = "a test"  # what cannot be mounted is copied
    copied: list[int] = []
    with store.swapping():
        for number in rounds(lambda: copied):
            for source in (store.data / "deep", store.data / "deep" / "file", store.data / "deep" / "sub"):
                one = InputSpec(name="i", type="uri_folder", mode=mode, source=ref(source))
                target = tmp_path / "inputs" / f"{number}-{source.name}"
                places = Places({ref(source): str(source)}, store=str(store.root))
                with suppress(SetupError, OSError):
                    prepare_inputs([one], places, target, refused, journal)
                    copied.append(number)
                assert "SECRET" not in all_text(target)
    assert copied


def test_an_output_is_never_written_anywhere_else(store: Store, tmp_path: Path, journal: Journal) -> None:
    stored: list[int] = []
    with store.swapping():
        for number in rounds(lambda: stored):
            private = tmp_path / "outputs" / str(number)
            (private / "o" / "sub").mkdir(parents=True)
            (private / "o" / "mine").write_text("x")
            (private / "o" / "sub" / "mine").write_text("x")
            one = OutputSpec(name="o", mode="upload", target=ref(store.data / "deep"))
            places = Places({one.target or ref(""): str(store.data / "deep")}, store=str(store.root))
            with suppress(SetupError, OSError):
                finish_outputs([one], places, private, tmp_path / "work", journal)
                stored.append(number)
    assert stored
    assert sorted(one.name for one in store.secrets.rglob("*")) == ["file", "file", "sub"]


def test_a_log_is_never_made_or_written_anywhere_else(store: Store) -> None:
    written: list[int] = []
    with store.swapping():
        for number in rounds(lambda: written):
            for name in ("file", f"new-{number}"):
                with suppress(OSError):
                    descriptor = open_log(store.data / "deep" / name, str(store.root))
                    os.write(descriptor, b"said")
                    os.close(descriptor)
                    written.append(number)
    assert written
    assert sorted(one.name for one in store.secrets.rglob("*")) == ["file", "file", "sub"]
    assert all_text(store.secrets) == "SECRETSECRET"


def test_settling_links_changes_nothing_outside(store: Store, tmp_path: Path, journal: Journal) -> None:
    """The folder above the one whose links are settled is swapped."""
    inside, outside = os.open(store.data / "deep" / "sub", os.O_PATH), os.open(store.secrets / "sub", os.O_PATH)
    settled: list[int] = []
    with store.swapping():
        for number in rounds(lambda: settled):
            for folder in (inside, outside):
                os.symlink("file", "link", dir_fd=folder)
            with suppress(OSError):
                settle_links(store.data / "deep" / "sub", tmp_path / "work", journal, str(store.root))
            assert Path(f"/proc/self/fd/{outside}/link").is_symlink()
            ours = Path(f"/proc/self/fd/{inside}/link")
            if not ours.is_symlink() and ours.exists():
                assert ours.read_text() == "data"
                settled.append(number)
            for folder in (inside, outside):
                with suppress(FileNotFoundError):
                    os.unlink("link", dir_fd=folder)
    os.close(inside)
    os.close(outside)
    assert settled


def test_artifacts_do_not_follow_the_links_of_their_own_job(tmp_path: Path, journal: Journal) -> None:
    """A job that leaves a link in the store and a folder of the same name in place of ours."""
    secrets, work, artifacts = tmp_path / "secrets", tmp_path / "work", tmp_path / "blobs" / "run"
    for folder in (secrets, work, artifacts):
        folder.mkdir(parents=True)
    link_artifacts(work, artifacts, str(tmp_path / "blobs"))
    (artifacts / "outputs" / "d").symlink_to(secrets)
    (work / "outputs").unlink()
    (work / "outputs" / "d").mkdir(parents=True)
    (work / "outputs" / "d" / "planted").write_text("x")
    collect_artifacts(work, artifacts, journal, str(tmp_path / "blobs"))
    assert not list(secrets.iterdir())
    assert (artifacts / "outputs" / "d" / "planted").read_text() == "x"


def test_a_link_inside_of_the_store_is_not_passed_either(store: Store, tmp_path: Path) -> None:
    (store.data / "inner").symlink_to("deep")
    with pytest.raises(OSError), held(store.data / "inner" / "file", str(store.root)):
        pass
    with pytest.raises(OSError), made(store.data / "inner" / "new", str(store.root)):
        pass
    with held(store.data / "deep", str(store.root)) as opened:
        assert copy_tree(opened, tmp_path / "copy", str) == 2
