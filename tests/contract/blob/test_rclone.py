"""Small blobs through rclone's S3 server, which answers every range with 200: what is whole is asked for without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live.rclone import rclone_server
from smalt.agent.wire import Ref
from smalt.arm.outage import StoreAway
from smalt.blob.accounts.carrying import StoreFiles
from smalt.blob.store.opening import open_store
from smalt.blob.store.staging import Staging
from smalt.doctor import stores
from smalt.doctor.finding import State
from smalt.doctor.machine import Machine
from smalt.settings import Settings

FOLDER = Ref("account", "container", "data/")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreFiles]:
    place = tmp_path_factory.mktemp("rclone")
    with rclone_server(place / "served") as service, pytest.MonkeyPatch.context() as patch:
        for name, value in service.variables.items():
            patch.setenv(name, value)
        yield StoreFiles(open_store("s3://blobs"), Staging(place / "staging"))


def store(files: StoreFiles, name: str, content: bytes, tmp_path: Path) -> Ref:
    (tmp_path / "source").write_bytes(content)
    files.store(tmp_path / "source", FOLDER.below(name))
    return FOLDER.below(name)


@pytest.mark.parametrize("size", [0, 1, 4096, 8 << 20])
def test_what_is_listed_is_fetched_whole(files: StoreFiles, size: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    ref = store(files, f"of-{size}", content, tmp_path)
    (listed,) = [one for one in files.list(FOLDER) if one.name == f"of-{size}"]
    assert listed.size == size
    files.fetch(ref, tmp_path / "fetched", listed.etag)
    assert (tmp_path / "fetched").read_bytes() == content
    files.fetch(ref, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == content


def test_another_version_than_the_one_that_was_listed_is_not_fetched(files: StoreFiles, tmp_path: Path) -> None:
    ref = store(files, "changing", b"before", tmp_path)
    (listed,) = files.list(ref)
    store(files, "changing", b"afterwards", tmp_path)
    with pytest.raises(StoreAway, match="listed"):
        files.fetch(ref, tmp_path / "fetched", listed.etag)
    assert not list(tmp_path.glob("*fetched*")), "nothing is left of it"


def test_a_blob_is_read_whole_and_parts_are_refused_with_the_reason(files: StoreFiles, tmp_path: Path) -> None:
    reader = files.open(store(files, "read", b"0123456789", tmp_path))
    assert reader is not None
    assert reader.read(0, 10) == b"0123456789"
    with pytest.raises(StoreAway, match="does not serve parts of objects"):
        reader.read(3, 4)
    reader.close()


def test_such_a_store_is_refused_with_the_reason(files: StoreFiles, tmp_path: Path) -> None:
    found = stores.store(Machine(Settings(root=tmp_path, store_url="s3://blobs")))
    assert found.state is State.NO and "does not serve parts of objects" in found.fact
