"""Environments that machines have packed: kept while somebody uses them, and gone with what they are for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from fakes.jobs import JOBS, cluster, status, submit
from fakes.platform import Harness
from smalt.arm.errors import ArmError
from smalt.blob.accounts.carrying import StoreFiles
from smalt.blob.store.folder import FolderStore
from smalt.kinds.assets.environment_pack import STORING_S, Pack, Packs
from smalt.store import resources

DAY_S = 86_400.0
KEY = "ab" * 20


@pytest.fixture
def packs(harness: Harness) -> Packs:
    return Packs(harness.database, harness.clock, files(harness))


def files(harness: Harness) -> StoreFiles:
    store = harness.blobs._store  # pyright: ignore[reportPrivateUsage]
    assert isinstance(store, FolderStore)
    return StoreFiles(store, store.staging)


def stored(harness: Harness, packs: Packs, tmp_path: Path, key: str = KEY, data: bytes = b"packed") -> Pack:
    pack = Pack(cluster(harness, "far").lower(), "Linux-x86_64", key)
    (tmp_path / "pack").write_bytes(data)
    packs.store(pack, len(data), "00" * 32, partial(files(harness).store, tmp_path / "pack"))
    harness.settle()
    return pack


def days(harness: Harness, number: int) -> None:
    for _ in range(number):
        harness.clock.pass_(DAY_S + 1)
        harness.settle()


def left(harness: Harness) -> list[str]:
    with harness.database.read() as connection:
        rows = resources.keys_of_kind(connection, "environmentpacks")
    files = [one.name for one in harness.blobs.path("smalt-platform", "environments").rglob("*.tar.gz")]
    assert len(rows) == len(files), "no row without its blob, no blob without its row"
    return rows


def test_what_nobody_uses_goes_after_a_month(harness: Harness, packs: Packs, tmp_path: Path) -> None:
    pack = stored(harness, packs, tmp_path)
    found = packs.open(pack)
    assert found is not None and found[0].read(0, 100) == b"packed" and found[1] == "00" * 32
    days(harness, 29)
    assert left(harness) == [pack.id]
    days(harness, 3)
    assert left(harness) == [] and packs.open(pack) is None and not packs.has(pack)


def test_a_job_that_has_the_environment_keeps_it(harness: Harness, packs: Packs, tmp_path: Path) -> None:
    submit(harness)
    harness.settle()
    assert status(harness) == "Starting"
    key = harness.row(f"{JOBS}/train-1").spec["smalt"]["plan"]["key"]
    pack = stored(harness, packs, tmp_path, key)
    days(harness, 40)
    assert left(harness) == [pack.id]


def test_it_goes_with_its_cluster(harness: Harness, packs: Packs, tmp_path: Path) -> None:
    pack = stored(harness, packs, tmp_path)
    assert harness.send("DELETE", pack.compute).status_code in (200, 202, 204)
    harness.settle()
    days(harness, 1)
    assert left(harness) == []


def test_the_first_is_kept(harness: Harness, packs: Packs, tmp_path: Path) -> None:
    pack = stored(harness, packs, tmp_path)
    with pytest.raises(ArmError) as refused:
        packs.store(pack, 6, "11" * 32, partial(files(harness).store, tmp_path / "pack"))
    assert refused.value.status == 409 and left(harness) == [pack.id]


def test_one_that_was_being_stored_when_its_server_was_killed_goes(
    harness: Harness, packs: Packs, tmp_path: Path
) -> None:
    pack = stored(harness, packs, tmp_path)
    with harness.database.write() as connection:
        row = resources.get(connection, pack.id)
        assert row is not None
        resources.replace_spec(connection, row, row.spec, state="Creating", now=harness.clock(), by="test", due=True)
    harness.settle()
    assert packs.has(pack) and packs.open(pack) is None, "it may be on its way"
    harness.clock.pass_(STORING_S + 1)
    harness.settle()
    assert left(harness) == [] and not packs.has(pack)


def test_a_cluster_has_none_of_one_that_had_its_name(harness: Harness, packs: Packs, tmp_path: Path) -> None:
    pack = stored(harness, packs, tmp_path)
    assert harness.send("DELETE", pack.compute).status_code in (200, 202, 204)
    harness.settle()
    harness.clock.pass_(60)
    assert cluster(harness, "far").lower() == pack.compute
    assert packs.open(pack) is None
    days(harness, 1)
    assert left(harness) == [] and not packs.has(pack)
