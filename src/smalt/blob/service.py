"""Blobs as the protocol means them: bytes in an object store, properties in the catalog, changed together.

Every change of a blob runs under that blob's lock: look, check the conditions, commit the row, make the bytes visible.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from smalt.blob.accounts import Accounts
from smalt.blob.blocks import Spools
from smalt.blob.catalog import Catalog, Properties, Row, fitting
from smalt.blob.errors import blob_not_found
from smalt.blob.names import Target
from smalt.blob.objects import Appends, LocalFiles, ObjectInfo, ObjectReader, ObjectStore, Page, Staged
from smalt.blob.staging import Staging

DEFAULT_TYPE = "application/octet-stream"
_NO_PROPERTIES = Properties()
_THREADS = 8
_log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Blob:
    """One version of a blob: the object, and the row that fits it if there is one."""

    info: ObjectInfo
    row: Row | None

    @property
    def properties(self) -> Properties:
        return self.row.properties if self.row else _NO_PROPERTIES

    @property
    def etag(self) -> str:
        """Without quotes."""
        return self.row.etag if self.row else self.info.etag

    @property
    def modified(self) -> float:
        return self.properties.modified or self.info.modified

    @property
    def modified_s(self) -> int:
        """What `Last-Modified` can express: whole seconds."""
        return int(self.modified)

    @property
    def content_type(self) -> str:
        return self.properties.content_type or DEFAULT_TYPE


class BlobService:
    """All operations on blobs, for one event loop. `close` when it ended."""

    def __init__(self, accounts: Accounts, store: ObjectStore, staging: Staging) -> None:
        self.accounts = accounts
        self.store = store
        self.staging = staging
        self.catalog = Catalog(accounts.database)
        self.spools = Spools(staging)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="blob-io")
        self._locks: dict[Target, tuple[asyncio.Lock, int]] = {}
        self._pool.submit(self._sweep)

    def close(self) -> None:
        self.catalog.close()
        self._pool.shutdown()

    async def in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """For what may wait for a disk or a network."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))

    async def find(self, target: Target) -> Blob | None:
        info = await self._quick(self.store.head, target.bucket, target.blob)
        return await self._described(target, info) if info else None

    async def require(self, target: Target) -> Blob:
        found = await self.find(target)
        if found is None:
            raise blob_not_found()
        return found

    async def open(self, target: Target) -> tuple[ObjectReader, Blob]:
        """Close the reader."""
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
                self.spools.drop(target)  # as in Azure: uncommitted blocks do not outlive a new version
                return blob
        except BaseException:
            self.staging.drop(staged)
            raise

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
            await self.catalog.put(row)
        info = await self._put(target, staged, row, must_be_new)
        if not self.store.keeps_version:
            row = replace(row, version=info.version)
            await self.catalog.put(row)
        self.catalog.took_effect(row, info, before.info if before else None)
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
                    await self.catalog.put(row)
                    info = await self.in_thread(self.store.append, target.bucket, target.blob, data, at, data.version)
                else:
                    whole = await self.in_thread(self._concatenate, target, at, data)
                    info = await self.in_thread(self.store.put, target.bucket, target.blob, whole)
                    row = _new_row(target, info.version, info.size, properties)
                    await self.catalog.put(row)
                self.catalog.took_effect(row, info, before.info)
                return Blob(info, row), at
        finally:
            self.staging.drop(data)

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
            await self.catalog.put(row)
            self.catalog.took_effect(row, info, None)
            return Blob(info, row)

    async def delete(self, target: Target, check: Callable[[Blob | None], Blob]) -> None:
        async with self.locked(target):
            before = check(await self.find(target))
            if not await self._quick(self.store.delete, target.bucket, target.blob):
                raise blob_not_found()
            self.catalog.forget(target.account, target.container, before.info)
            if not before.row:
                await self._forget_stale(target, before.info.version)
        self.spools.drop(target)

    async def delete_container(self, target: Target) -> None:
        """The row goes first: from then on nobody finds the blobs, whatever happens to us."""

        def remove() -> None:
            self.accounts.delete_container(target.account, target.container)
            self.store.remove(target.bucket)
            self.catalog.forget_container(target.account, target.container)

        await self.in_thread(remove)

    async def list(
        self, target: Target, prefix: str, after: str, limit: int, delimiter: str
    ) -> tuple[list[Blob | str], str]:
        """One page of blobs and prefixes, and where the next begins (empty: there is none)."""

        def read() -> tuple[Page, dict[str, list[Row]]]:
            page = self.store.list(target.bucket, prefix, after, limit, delimiter)
            names = [entry.name for entry in page.entries if isinstance(entry, ObjectInfo)]
            return page, self.catalog.read_names(target.account, target.container, names)

        page, rows = await self.in_thread(read)
        found: list[Blob | str] = [
            entry if isinstance(entry, str) else Blob(entry, fitting(rows.get(entry.name, ()), entry))
            for entry in page.entries
        ]
        return found, page.after

    def _sweep(self) -> None:
        """What killed processes and abandoned uploads left; off the start path."""
        try:
            self.staging.sweep()
            self.spools.sweep()
        except OSError:
            _log.exception("the staging area could not be swept")

    async def _described(self, target: Target, info: ObjectInfo) -> Blob:
        return Blob(info, await self.catalog.get(target.account, target.container, info))

    async def _forget_stale(self, target: Target, current: int) -> None:
        """A job changed the file since we wrote it: our rows of earlier versions are of no more use. Under the lock."""
        rows = await self.in_thread(self.catalog.read, target.account, target.container, target.blob)
        for row in rows:
            if row.version != current:
                self.catalog.forget(row.account, row.container, ObjectInfo(row.name, row.size, row.version, 0.0, ""))

    async def _quick(self, call: Callable[..., T], *args: Any) -> T:
        return call(*args) if self.store.inline else await self.in_thread(call, *args)

    async def _put(self, target: Target, staged: Staged, row: Row, must_be_new: bool) -> ObjectInfo:
        try:
            return await self._quick(self.store.put, target.bucket, target.blob, staged, not must_be_new)
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
