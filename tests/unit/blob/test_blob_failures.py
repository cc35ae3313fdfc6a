"""Full disks, locked databases, races, and what dead processes leave behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from smalt.blob.dates import http_date
from smalt.blob.errors import BlobError
from smalt.blob.names import Target
from smalt.blob.operations import service, sweeping
from smalt.blob.store.catalog import Properties, Row
from smalt.blob.store.fileinfo import file_info
from smalt.blob.store.staging import Staging
from smalt.store import database

BLOCK_QUERY = "comp=block&blockid=MQ=="


class FullDisk(Staging):
    """A staging area on a device that is full."""

    def create(self) -> tuple[str, int]:
        path = self.new_path()
        Path(path).symlink_to("/dev/full")
        return path, os.open(path, os.O_RDWR)


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_a_full_disk_is_an_error_that_clients_do_not_retry_and_leaves_nothing(make_rig, tmp_path, size):
    rig = make_rig(tmp_path / "root", FullDisk(tmp_path / "root/blobs"))
    put = rig.put("a", b"x" * size)
    assert (put.status, put.code) == (422, "InsufficientStorage")
    assert rig.get("a").status == 404
    assert rig.staged_files() == []


def test_a_refusal_comes_after_the_body_so_that_a_client_that_still_sends_sees_it(make_rig, tmp_path):
    rig = make_rig(tmp_path / "root", FullDisk(tmp_path / "root/blobs"))
    put = rig.request("PUT", "a", headers={"x-ms-blob-type": "BlockBlob"}, body=[b"x" * (1 << 20)] * 64)
    assert (put.status, put.code, put.unread) == (422, "InsufficientStorage", 0)


def test_a_locked_database_is_503_and_nothing_becomes_visible(make_rig, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 50)
    rig = make_rig(tmp_path / "root")
    rig.put("a", b"before")
    holder = sqlite3.connect(rig.root / "smalt.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        put = rig.put("a", b"after")
        new = rig.put("new", b"1")
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert [(one.status, one.code) for one in (put, new)] == [(503, "ServerBusy")] * 2
    assert (rig.get("a").body, rig.get("new").status) == (b"before", 404)
    assert rig.staged_files() == []
    assert rig.put("a", b"after").status == 201


def test_a_file_of_an_impossible_time_is_a_blob_and_stops_nobody(rig):
    at_s = 10_500_000_000  # in the year 2302
    rig.put("other")
    (rig.folder / "odd").write_bytes(b"1")
    os.utime(rig.folder / "odd", (at_s, at_s))
    assert rig.get("odd").body == b"1"
    assert rig.request("GET", query="restype=container&comp=list").names() == ["odd", "other"]
    assert rig.put("odd", b"2").status == 201
    os.utime(rig.folder / "odd", (at_s, at_s))
    assert rig.request("DELETE", "odd").status == 202
    assert rig.put("later").status == 201


@pytest.mark.parametrize("at_s", [300_000_000_000, -300_000_000_000])
def test_the_version_of_a_file_fits_the_database_and_a_date(at_s):
    status = os.stat_result([stat.S_IFREG, *[0] * 9], {"st_mtime_ns": at_s * 10**9})
    info = file_info("a", status)
    assert info is not None and -(2**63) <= info.version < 2**63
    assert http_date(info.modified).endswith("GMT")


def test_a_row_that_cannot_be_committed_is_a_500_and_the_next_is_committed(rig):
    rig.loop.run_until_complete(_put_row(rig, Row("acct", "data", "fine", 1, 1, "0x1", Properties())))
    with pytest.raises(BlobError, match="internal error"):
        rig.loop.run_until_complete(_put_row(rig, Row("acct", "data", "odd", 2**63, 1, "0x1", Properties())))
    rig.loop.run_until_complete(_put_row(rig, Row("acct", "data", "later", 1, 1, "0x1", Properties())))
    assert rig.rows() == 2


async def _put_row(rig, row: Row) -> None:
    await asyncio.wait_for(rig.service.catalog.put(row), 10)


def test_many_writers_share_transactions(rig):
    commits = []
    original = rig.service.catalog._commit

    def counted(batch):
        commits.append(len(batch.upserts))
        return original(batch)

    rig.service.catalog._commit = counted

    async def write() -> None:
        rows_ = [Row("acct", "data", f"n{number}", number, 1, "0x1", Properties()) for number in range(500)]
        await asyncio.gather(*(rig.service.catalog.put(row) for row in rows_))

    rig.loop.run_until_complete(write())
    assert rig.rows() == 500
    assert len(commits) < 50


def test_concurrent_creations_have_one_winner(rig):
    async def race() -> list[int]:
        async def one(number: int) -> int:
            headers = {
                "host": "h",
                "x-ms-blob-type": "BlockBlob",
                "if-none-match": "*",
                "content-length": "1",
            }
            reply = await rig._call("PUT", "/acct.blob.core.smalt/data/race", rig.sas, headers, [b"%d" % number], False)
            return reply.status

        return await asyncio.gather(*(one(number) for number in range(8)))

    assert sorted(rig.loop.run_until_complete(race())) == [201] + [409] * 7


def test_rows_of_files_that_jobs_replaced_do_not_pile_up(rig):
    for _ in range(3):
        rig.put("a", b"ours")
        (rig.folder / "a").write_bytes(b"theirs, longer")
    rig.put("a", b"ours")
    (rig.folder / "a").write_bytes(b"theirs, longer")
    rig.request("DELETE", "a")
    rig.put("dir/b")
    rig.put("dirt")
    rig.port.remove("acct", "data", "dir/")
    rig.put("z")
    assert rig.rows() == 2


def test_a_file_in_the_place_of_a_deleted_append_blob_has_nothing_of_it(rig):
    rig.request("PUT", "log", headers={"x-ms-blob-type": "AppendBlob", "x-ms-meta-job": "7"})
    rig.request("DELETE", "log")
    (rig.folder / "log").write_bytes(b"a job's")
    got = rig.get("log")
    assert (got.headers["x-ms-blob-type"], got.headers.get("x-ms-meta-job")) == ("BlockBlob", None)


def test_rows_that_are_no_more_go_though_nothing_else_is_written(make_rig, tmp_path):
    rig = make_rig(tmp_path / "root")
    rig.put("a")
    rig.put("b")
    rig.request("DELETE", "a")
    rig.loop.run_until_complete(asyncio.wait_for(_until_rows(rig, 1), 10))
    again = make_rig(tmp_path / "root")
    again.request("DELETE", "b")
    again.service.close()
    assert again.rows() == 0


async def _until_rows(rig, count: int) -> None:
    while rig.rows() != count:
        await asyncio.sleep(0.01)


def test_what_killed_processes_left_is_swept_at_the_start(make_rig, tmp_path):
    first = make_rig(tmp_path / "root")
    first.request("PUT", "old", BLOCK_QUERY, body=b"1")
    first.request("PUT", "new", BLOCK_QUERY, body=b"1")
    first.store.staging.writer()  # never finished, as after a kill
    first.close()
    folder = tmp_path / "root/blobs/.staging"
    old = Path(first.service.spools._place(Target("acct", "data", "old")))
    for path in (*old.iterdir(), old, *(folder / "files").rglob("*")):
        os.utime(path, (1, 1))
    second = make_rig(tmp_path / "root")
    second.service.sweep()
    assert [path.name[:5] for path in map(Path, second.staged_files())].count("data-") == 1
    assert len(second.staged_files()) == 2  # the younger upload: its data and its index


def test_a_block_behind_a_line_that_was_cut_short_outlives_a_restart(make_rig, tmp_path):
    first = make_rig(tmp_path / "root")
    first.request("PUT", "a", BLOCK_QUERY, body=b"1")
    index = Path(first.service.spools._place(Target("acct", "data", "a"))) / "index"
    with index.open("a") as file:
        file.write('["data-0", "Mg')
    first.request("PUT", "a", "comp=block&blockid=Mg==", body=b"2")
    first.close()
    second = make_rig(tmp_path / "root")
    names = "".join(f"<Latest>{one}</Latest>" for one in ("MQ==", "Mg=="))
    listed = f"<?xml version='1.0' encoding='utf-8'?><BlockList>{names}</BlockList>".encode()
    assert second.request("PUT", "a", "comp=blocklist", body=listed).status == 201
    assert second.get("a").body == b"12"


def test_leftovers_are_swept_by_their_age_while_the_platform_runs(rig):
    writer = rig.store.staging.writer()
    rig.request("PUT", "idle", BLOCK_QUERY, body=b"1")
    rig.service.sweep()
    assert len(rig.staged_files()) == 3
    rig.ahead_s = 25 * 3600.0
    rig.service.sweep()
    assert not Path(writer.path).exists()
    assert len(rig.staged_files()) == 2
    rig.ahead_s = 8 * 24 * 3600.0
    rig.request("PUT", "busy", BLOCK_QUERY, body=b"1")
    rig.service.sweep()
    assert len(rig.staged_files()) == 2
    rig.ahead_s = 0
    listed = [rig.request("GET", name, "comp=blocklist&blocklisttype=all").status for name in ("idle", "busy")]
    assert listed == [404, 200]
    assert rig.request("PUT", "idle", BLOCK_QUERY, body=b"2").status == 201


def test_the_sweep_comes_again(monkeypatch, make_rig, tmp_path):
    swept = threading.Semaphore(0)
    monkeypatch.setattr(sweeping, "SWEEP_S", 0.0)
    monkeypatch.setattr(sweeping.Sweeper, "sweep", lambda _: swept.release())
    make_rig(tmp_path / "root")
    assert all(swept.acquire(timeout=10) for _ in range(3))


def test_the_sweep_comes_again_whatever_became_of_the_one_before(monkeypatch, make_rig, tmp_path):
    tried = threading.Semaphore(0)

    def sweep(_):
        tried.release()
        raise RuntimeError("OrderedDict mutated during iteration")

    monkeypatch.setattr(sweeping, "SWEEP_S", 0.0)
    monkeypatch.setattr(sweeping.Sweeper, "sweep", sweep)
    make_rig(tmp_path / "root")
    assert all(tried.acquire(timeout=30) for _ in range(3))


def test_blocks_that_are_swept_while_they_are_dropped_are_gone(rig, monkeypatch):
    spools, target = rig.service.spools, Target("acct", "data", "idle")
    rig.request("PUT", "idle", BLOCK_QUERY, body=b"1")
    find = spools.find

    def found(target):
        spool = find(target)
        rig.ahead_s = 8 * 24 * 3600.0
        spools.sweep()
        return spool

    monkeypatch.setattr(spools, "find", found)
    assert spools.drop(target) == ""
    monkeypatch.undo()
    assert rig.staged_files() == [] and spools.find(target) is None


def test_what_is_cached_of_rows_is_touched_by_the_event_loop_alone(rig):
    """A container that is removed while others are written to: who walks through a dict that grows fails."""
    cache, walked = rig.service.catalog._cache, []

    class Walked(type(cache)):
        def __iter__(self):
            walked.append(threading.current_thread())
            return super().__iter__()

    rig.put("a")
    rig.service.catalog._cache = Walked(cache)
    assert len(rig.service.catalog._cache) == 1
    walked.clear()
    assert rig.request("DELETE", query="restype=container").status == 202
    assert walked == [threading.current_thread()] and not rig.service.catalog._cache


def test_what_is_remembered_of_accounts_and_containers_is_bounded(rig, monkeypatch):
    monkeypatch.setattr(rig.accounts._containers, "_limit", 3)
    for number in range(10):
        rig.request("PUT", query="restype=container", container=f"code-{number}")
    assert len(rig.accounts._containers) == 3
    assert rig.request("HEAD", query="restype=container", container="code-0").status == 200


def test_big_files_are_removed_off_the_loop(rig, monkeypatch):
    monkeypatch.setattr(service, "_BIG_BYTES", 4)
    threads = {}

    def watched(name, call):
        def run(*arguments, **keywords):
            threads[name] = threading.current_thread().name
            return call(*arguments, **keywords)

        return run

    monkeypatch.setattr(rig.store, "put", watched("put", rig.store.put))
    monkeypatch.setattr(rig.store, "delete", watched("delete", rig.store.delete))
    monkeypatch.setattr(shutil, "rmtree", watched("rmtree", shutil.rmtree))
    rig.put("a", b"big enough")
    assert not threads["put"].startswith("blob-io")
    rig.request("PUT", "a", BLOCK_QUERY, body=b"0123456789")
    rig.put("a", b"1")
    rig.put("a", b"big enough")
    assert rig.request("DELETE", "a").status == 202
    rig.service._pool.shutdown()
    assert {name: thread[:7] for name, thread in threads.items()} == {
        "put": threads["put"][:7],
        "delete": "blob-io",
        "rmtree": "blob-io",
    }
