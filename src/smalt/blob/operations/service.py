"""Blobs as the protocol means them: bytes in an object store, properties in the catalog, changed together.

Every change of a blob runs under that blob's lock: look, check the conditions, commit the row, make the bytes visible.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from smalt.blob.accounts.accounts import Accounts, Container
from smalt.blob.errors import blob_not_found
from smalt.blob.names import Target
from smalt.blob.operations.sweeping import Sweeper
from smalt.blob.protocol.blob import Blob
from smalt.blob.store.blocks import Spools
from smalt.blob.store.catalog import Catalog, Properties, Row, fitting
from smalt.blob.store.leases import NONE as NO_LEASE
from smalt.blob.store.objects import (
    Appends,
    LocalFiles,
    ObjectInfo,
    ObjectReader,
    ObjectStore,
    Page,
    Staged,
)
from smalt.blob.store.snapshots import Snapshots
from smalt.blob.store.staging import Staging
from smalt.blob.store.tag_index import TagIndex

_THREADS = 8
_BIG_BYTES = 64 << 20  # to remove such a file takes a disk's time, not a system call's
P = ParamSpec("P")
T = TypeVar("T")


class BlobService:
    """All operations on blobs, for one event loop. `close` when it ended."""

    def __init__(
        self, accounts: Accounts, store: ObjectStore, staging: Staging, clock: Callable[[], float] = time.time
    ) -> None:
        self.accounts, self.store = accounts, store
        self.staging, self.clock = staging, clock
        self.catalog = Catalog(accounts.database)
        self.spools = Spools(staging, clock)
        self.tags = TagIndex(accounts.database)
        self.snapshots = Snapshots(accounts.database, store)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="blob-io")
        self._locks: dict[Target, tuple[asyncio.Lock, int]] = {}
        self._closed = threading.Event()
        self._sweeper = Sweeper(staging, self.spools, self.tags, store, clock)
        threading.Thread(target=self._sweeper.run, args=(self._closed,), name="blob-sweep", daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self.catalog.close()
        self._pool.shutdown()

    async def in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """For what may wait for a disk or a network."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))

    async def require_container(self, target: Target) -> Container:
        names = (target.account, target.container)
        return self.accounts.recent_container(*names) or await self.in_thread(self.accounts.require_container, *names)

    async def find(self, target: Target) -> Blob | None:
        if target.snapshot:
            return self._snapshot_of(target, await self._quick(self.snapshots.get, target))
        info = await self._quick(self.store.head, target.bucket, target.blob)
        return await self._described(target, info) if info else None

    async def require(self, target: Target) -> Blob:
        found = await self.find(target)
        if found is None:
            raise blob_not_found()
        return found

    async def open(self, target: Target) -> tuple[ObjectReader, Blob]:
        """Close the reader."""
        if target.snapshot:
            blob = await self.require(target)
            reader = await self._quick(self.snapshots.open, target)
            if reader is None:
                raise blob_not_found()
            return reader, blob
        reader = await self._quick(self.store.open, target.bucket, target.blob)
        if reader is None:
            raise blob_not_found()
        try:
            return reader, await self._described(target, reader.info)
        except BaseException:
            reader.close()
            raise

    @asynccontextmanager
    async def locked(self, target: Target) -> AsyncIterator[None]:
        lock, users = self._locks.get(target) or (asyncio.Lock(), 0)
        self._locks[target] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            users = self._locks[target][1]
            if users == 1:
                del self._locks[target]
            else:
                self._locks[target] = (lock, users - 1)

    async def commit(
        self,
        target: Target,
        staged: Staged,
        check: Callable[[Blob | None], None],
        properties: Properties,
        must_be_new: bool = False,
        blocks: str = "",
    ) -> Blob:
        """Make a staged file the blob, if `check` does not object to what is there. Uses the file up in any case."""
        try:
            async with self.locked(target):
                blob = await self.commit_locked(target, staged, check, properties, must_be_new, blocks)
                self.drop_blocks(target)  # as in Azure: uncommitted blocks do not outlive a new version
                return blob
        except BaseException:
            self.drop_staged(staged)
            raise

    def drop_blocks(self, target: Target) -> None:
        """Forget a blob's uncommitted blocks; gigabytes of them are removed while others are served."""
        if trash := self.spools.drop(target):
            self._pool.submit(shutil.rmtree, trash, ignore_errors=True)

    def drop_staged(self, staged: Staged) -> None:
        if staged.size < _BIG_BYTES:
            self.staging.drop(staged)
        else:
            self._pool.submit(self.staging.drop, staged)

    async def commit_locked(
        self,
        target: Target,
        staged: Staged,
        check: Callable[[Blob | None], None],
        properties: Properties,
        must_be_new: bool = False,
        blocks: str = "",
    ) -> Blob:
        """The same for who holds the lock, and drops what did not become a blob."""
        before = await self.find(target)
        check(before)
        row = _new_row(target, staged.version, staged.size, properties, blocks)
        if self.store.keeps_version:
            await self._put_row(row)
        info = await self._put(target, staged, row, must_be_new, before)
        if not self.store.keeps_version:
            row = replace(row, version=info.version)
            await self._put_row(row)
        await self._took_effect(target, row, info, before)
        if before and not before.row:
            await self._forget_stale(target, row.version)
        if properties.metadata and not staged.size and properties.marks_folder and isinstance(self.store, LocalFiles):
            self.store.make(target.bucket, target.blob.removesuffix("/") + "/")
        return Blob(info, row)

    async def append(self, target: Target, data: Staged, check: Callable[[Blob | None], Blob]) -> tuple[Blob, int]:
        """Add a staged file's bytes to the end. Returns the blob and where they begin. Uses the file up."""
        try:
            async with self.locked(target):
                before = check(await self.find(target))
                at = before.info.size
                properties = replace(before.properties, modified=0.0, append_blocks=before.properties.append_blocks + 1)
                if isinstance(self.store, Appends):
                    row = _new_row(target, data.version, at + data.size, properties)
                    if self.store.keeps_version:
                        await self._put_row(row)
                    info = await self.in_thread(self.store.append, target.bucket, target.blob, data, at, data.version)
                    if not self.store.keeps_version:  # until it is there, the row before describes what grew
                        row = replace(row, version=info.version)
                        await self._put_row(row)
                else:
                    whole = await self.in_thread(self._concatenate, target, at, data)
                    info = await self.in_thread(self.store.put, target.bucket, target.blob, whole)
                    row = _new_row(target, info.version, info.size, properties)
                    await self._put_row(row)
                await self._took_effect(target, row, info, before)
                return Blob(info, row), at
        finally:
            self.drop_staged(data)

    async def describe(
        self, target: Target, check: Callable[[Blob | None], Blob], change: Callable[[Properties], Properties]
    ) -> Blob:
        """Change properties, not bytes. The ETag changes, as in Azure."""
        async with self.locked(target):
            before = check(await self.find(target))
            properties = change(before.properties)
            if not properties.created:
                properties = replace(properties, created=before.info.modified)
            stamped = replace(properties, modified=self.staging.stamp() / 1e9)
            info = before.info
            row = _new_row(target, info.version, info.size, stamped, before.row.blocks if before.row else "")
            await self._put_row(row)
            await self._took_effect(target, row, info, before)
            return Blob(info, row)

    async def annotate(
        self, target: Target, check: Callable[[Blob | None], Blob], change: Callable[[Properties], Properties]
    ) -> None:
        """Change what is about a blob and not of it: tags, the tier. ETag and Last-Modified stay."""
        async with self.locked(target):
            before = check(await self.find(target))
            known = before.row or _new_row(target, before.info.version, before.info.size, Properties())
            row = replace(known, etag=before.etag, properties=change(before.properties))
            await self._put_row(row)
            if before.properties.tags:
                await self.in_thread(self.tags.keep, row)
            self.catalog.took_effect(row, before.info, None)

    async def snapshot(
        self, target: Target, check: Callable[[Blob | None], Blob], change: Callable[[Properties], Properties]
    ) -> tuple[Target, Blob]:
        """Copy what the blob is now. Returns the snapshot's target, and the snapshot."""
        async with self.locked(target):
            check(await self.find(target))
            reader, blob = await self.open(target)
            try:
                staged = await self.in_thread(self._copied, reader, blob.info.size)
            finally:
                reader.close()
            kept = replace(
                blob.properties, created=blob.properties.created or blob.info.modified, modified=blob.modified
            )
            changed = change(kept)
            row = _new_row(target, staged.version, staged.size, changed, blob.row.blocks if blob.row else "")
            if changed is kept:
                row = replace(row, etag=blob.etag)
            taken = await self.in_thread(self.snapshots.take, target, staged, row)
            return taken, Blob(blob.info, row)

    async def delete(self, target: Target, check: Callable[[Blob | None], Blob]) -> None:
        async with self.locked(target):
            await self.delete_locked(target, check)

    async def delete_locked(self, target: Target, check: Callable[[Blob | None], Blob]) -> None:
        """The same for who holds the lock."""
        before = check(await self.find(target))
        if not await self._with_bytes(before, self.store.delete, target.bucket, target.blob):
            raise blob_not_found()
        self.catalog.forget(target.account, target.container, before.info)
        if before.row and before.properties.tags:
            await self.in_thread(self.tags.drop, before.row)
        if not before.row:
            await self._forget_stale(target, before.info.version)
        if self.accounts.leases.has(target):
            await self.in_thread(self.accounts.leases.drop, target)
        self.drop_blocks(target)

    async def delete_container(self, target: Target) -> None:
        """The row goes first: from then on nobody finds the blobs, whatever happens to us."""

        def remove() -> None:
            self.accounts.delete_container(target.account, target.container)
            self.store.remove(target.bucket)
            self.catalog.forget_container(target.account, target.container)
            self.accounts.leases.drop_below(target.account, target.container)
            self.tags.drop_below(target.account, target.container)
            self.snapshots.drop_below(target.account, target.container)

        await self.in_thread(remove)
        self.catalog.forget_cached(target.account, target.container)

    async def list(
        self, target: Target, prefix: str, after: str, limit: int, delimiter: str
    ) -> tuple[list[Blob | str], str]:
        """One page of blobs and prefixes, and where the next begins (empty: there is none)."""
        leased = self.accounts.leases.any()

        def read() -> tuple[Page, dict[str, list[Row]]]:
            page = self.store.list(target.bucket, prefix, after, limit, delimiter)
            names = [entry.name for entry in page.entries if isinstance(entry, ObjectInfo)]
            return page, self.catalog.read_names(target.account, target.container, names)

        page, rows = await self.in_thread(read)
        found: list[Blob | str] = []
        for entry in page.entries:
            if isinstance(entry, str):
                found.append(entry)
            else:
                lease = self.accounts.leases.get(replace(target, blob=entry.name)) if leased else NO_LEASE
                found.append(Blob(entry, fitting(rows.get(entry.name, ()), entry), lease))
        return found, page.after

    async def list_with_snapshots(
        self, target: Target, prefix: str, after: tuple[str, str], limit: int
    ) -> tuple[list[Blob | str], str]:
        """The same with each blob's snapshots before it. A place is a name and, behind NUL, a snapshot of it."""
        name, snapshot = after
        blobs, following = await self.list(target, prefix, name, limit, "")
        if snapshot and (again := await self.find(replace(target, blob=name))):  # it comes after its snapshots
            blobs.insert(0, again)
        last = blobs[-1].info.name if following and isinstance(blobs[-1], Blob) else None
        start = after if snapshot else (name, "\U0010ffff")  # behind a blob there is none of its snapshots
        taken = await self.in_thread(self.snapshots.list, target, prefix, start, last, limit + 1)
        found = [Blob(info, row, snapshot=one) for one, info, row in taken]
        merged = sorted(
            (one for one in (*blobs, *found) if isinstance(one, Blob)),
            key=lambda one: (one.info.name, one.snapshot or "\U0010ffff"),
        )
        page = merged[:limit]
        if len(merged) > limit:
            end = page[-1]
            return [*page], f"{end.info.name}\0{end.snapshot}" if end.snapshot else end.info.name
        return [*page], following

    def sweep(self) -> None:
        """Remove what killed processes and abandoned uploads left, by its age. May block."""
        self._sweeper.sweep()

    async def _described(self, target: Target, info: ObjectInfo) -> Blob:
        row = await self.catalog.get(target.account, target.container, info)
        return Blob(info, row, self.accounts.leases.get(target))

    def _snapshot_of(self, target: Target, found: tuple[ObjectInfo, Row] | None) -> Blob | None:
        return Blob(*found, snapshot=target.snapshot) if found else None

    async def _put_row(self, row: Row) -> None:
        if row.properties.tags:
            await self.in_thread(self.tags.add, row)
        await self.catalog.put(row)

    async def _took_effect(self, target: Target, row: Row, info: ObjectInfo, before: Blob | None) -> None:
        """A blob was written: what was there before is history, and so is a lease that had ended."""
        self.catalog.took_effect(row, info, before.info if before else None)
        if before and before.row and before.properties.tags and before.row.version != row.version:
            await self.in_thread(self.tags.drop, before.row)
        leases = self.accounts.leases
        if leases.has(target) and (before is None or leases.ended(target)):
            await self.in_thread(leases.drop, target)

    def _copied(self, reader: ObjectReader, size: int) -> Staged:
        with self.staging.writer() as writer:
            writer.copy(reader, 0, size)
            return writer.finish()

    async def _forget_stale(self, target: Target, current: int) -> None:
        """A job changed the file since we wrote it: our rows of earlier versions are of no more use. Under the lock."""
        rows = await self.in_thread(self.catalog.read, target.account, target.container, target.blob)
        for row in rows:
            if row.version != current:
                self.catalog.forget(row.account, row.container, ObjectInfo(row.name, row.size, row.version, 0.0, ""))

    async def _quick(self, call: Callable[..., T], *args: Any) -> T:
        return call(*args) if self.store.inline else await self.in_thread(call, *args)

    async def _with_bytes(self, before: Blob | None, call: Callable[..., T], *args: Any) -> T:
        """A call that removes what is there now: quick unless that is big."""
        if before and before.info.size >= _BIG_BYTES:
            return await self.in_thread(call, *args)
        return await self._quick(call, *args)

    async def _put(
        self, target: Target, staged: Staged, row: Row, must_be_new: bool, before: Blob | None
    ) -> ObjectInfo:
        try:
            return await self._with_bytes(before, self.store.put, target.bucket, target.blob, staged, not must_be_new)
        except BaseException:
            if self.store.keeps_version:
                self.catalog.forget(row.account, row.container, ObjectInfo(row.name, row.size, row.version, 0.0, ""))
            raise

    def _concatenate(self, target: Target, size: int, data: Staged) -> Staged:
        reader = self.store.open(target.bucket, target.blob)
        if reader is None:
            raise blob_not_found()
        try:
            with self.staging.writer() as writer, Path(data.path).open("rb") as more:
                writer.copy(reader, 0, size)
                writer.copy_fd(more.fileno(), 0, data.size)
                return writer.finish()
        finally:
            reader.close()


def _new_row(target: Target, version: int, size: int, properties: Properties, blocks: str = "") -> Row:
    """A row with an ETag that no version had before."""
    etag = f"0x8{secrets.token_hex(7).upper()}"
    return Row(target.account, target.container, target.blob, version, size, etag, properties, blocks)
