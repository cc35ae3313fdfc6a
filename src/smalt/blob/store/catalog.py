"""What the database knows of blobs, and the thread that commits it: many writers, one transaction.

A row belongs to one version of one blob and is committed *before* that version becomes visible, so a crash leaves at
worst a row that fits no file. A file changed behind our back fits no row and appears with defaults.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection, select

from smalt.arm.outage import outage
from smalt.blob.errors import BlobError, from_arm, internal_error
from smalt.blob.store.objects import ObjectInfo
from smalt.store import tables
from smalt.store.database import Database
from smalt.store.quick import execute

APPEND = "AppendBlob"
BLOCK = "BlockBlob"
_CACHED_ROWS = 50_000
_LINGER_S = 0.02  # how long rows that are no more wait for another to be written
_ROWS_IN_STATEMENT = 500  # below the databases' limits of parameters
_COLUMNS = ("account", "container", "name", "version", "size", "etag", "properties", "blocks")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Properties:
    """What a blob has beside its bytes. Empty means not set; `md5` is base64; times are seconds since the epoch."""

    type: str = BLOCK
    content_type: str = ""
    content_encoding: str = ""
    content_language: str = ""
    content_disposition: str = ""
    cache_control: str = ""
    md5: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    created: float = 0.0
    modified: float = 0.0
    copy_id: str = ""
    copy_source: str = ""
    append_blocks: int = 0
    tier: str = ""
    tier_changed: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def marks_folder(self) -> bool:
        """Whether an empty blob with these is what Azure Data Lake and Hadoop write for a folder."""
        return any(name.lower() == "hdi_isfolder" and value.lower() == "true" for name, value in self.metadata.items())

    def dump(self) -> str:
        return _encode({name: value for name in _FIELDS if (value := getattr(self, name))})


_FIELDS = tuple(one.name for one in fields(Properties))
_encode = json.JSONEncoder(separators=(",", ":")).encode


def load_properties(text: str) -> Properties:
    return Properties(**{name: value for name, value in json.loads(text).items() if name in _FIELDS})


@dataclass(frozen=True, slots=True)
class Row:
    """One version of a blob. `blocks`: JSON of its committed block list, or empty."""

    account: str
    container: str
    name: str
    version: int
    size: int
    etag: str
    properties: Properties
    blocks: str = ""

    def fits(self, info: ObjectInfo) -> bool:
        return self.version == info.version and self.size == info.size


Key = tuple[str, str, str, int]


@dataclass
class _Batch:
    upserts: dict[Key, tuple[Any, ...]] = field(default_factory=dict)
    deletes: dict[Key, None] = field(default_factory=dict)
    waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = field(default_factory=list)


class Catalog:
    """Rows of the `blob` table. `get`, `put` and what is cached belong to the event loop; `close` when it ended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: OrderedDict[tuple[str, str, str], tuple[int, int, Row | None]] = OrderedDict()
        self._wake = threading.Condition()
        self._batch = _Batch()
        self._closed = False
        self._waking = self._lingering = False
        self._thread: threading.Thread | None = None

    async def get(self, account: str, container: str, info: ObjectInfo) -> Row | None:
        """The row that fits this version of the object, if there is one."""
        key = (account, container, info.name)
        cached = self._cache.get(key)
        if cached and cached[0] == info.version and cached[1] == info.size:
            return cached[2]
        if self._database.sqlite:  # a local read in WAL mode never waits for a writer
            rows = self.read(*key)
        else:
            rows = await asyncio.to_thread(self.read, *key)
        row = fitting(rows, info)
        self._remember(key, info, row)
        return row

    async def put(self, row: Row) -> None:
        """Returns when `row` is committed.

        Raises BlobError(503) while the database is locked, 422 if the disk is full.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        key = (row.account, row.container, row.name, row.version)
        values = (*key, row.size, row.etag, row.properties.dump(), row.blocks)
        with self._wake:
            self._batch.upserts[key] = values
            self._batch.deletes.pop(key, None)
            self._batch.waiters.append((loop, done))
        self._commit_soon(loop)
        await done

    def took_effect(self, row: Row, info: ObjectInfo, before: ObjectInfo | None) -> None:
        """`row`'s version is what readers see now; the one before it is history."""
        self._remember((row.account, row.container, row.name), info, row)
        if before is not None and before.version != row.version:
            self.forget(row.account, row.container, before)

    def forget(self, account: str, container: str, info: ObjectInfo) -> None:
        """This version is no more. Its row fits nothing and does no harm: it goes with the next that is written."""
        cached = self._cache.get((account, container, info.name))
        if cached and cached[0] == info.version:
            del self._cache[account, container, info.name]
        with self._wake:
            self._batch.deletes[account, container, info.name, info.version] = None
        if not self._lingering:
            self._lingering = True
            asyncio.get_running_loop().call_later(_LINGER_S, self._end_lingering)

    def forget_container(self, account: str, container: str) -> None:
        """May block. Then `forget_cached`, on the event loop."""
        table = tables.blob
        with self._database.write() as connection:
            connection.execute(table.delete().where(table.c.account == account, table.c.container == container))

    def forget_cached(self, account: str, container: str) -> None:
        for key in [key for key in self._cache if key[:2] == (account, container)]:
            del self._cache[key]

    def read(self, account: str, container: str, name: str) -> list[Row]:
        table = tables.blob
        query = select(table).where(table.c.account == account, table.c.container == container, table.c.name == name)
        with self._database.read() as connection:
            return self._without_forgotten(connection.execute(query))

    def read_names(self, account: str, container: str, names: Sequence[str]) -> dict[str, list[Row]]:
        """The rows of a listing's page, by name. Between two names of a page there may be folders with any number."""
        table = tables.blob
        query = select(table).where(table.c.account == account, table.c.container == container)
        found: dict[str, list[Row]] = {}
        with self._database.read() as connection:
            for at in range(0, len(names), _ROWS_IN_STATEMENT):
                part = query.where(table.c.name.in_(names[at : at + _ROWS_IN_STATEMENT]))
                for row in self._without_forgotten(connection.execute(part)):
                    found.setdefault(row.name, []).append(row)
        return found

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
            thread = self._thread
        if thread:
            thread.join()
        else:
            self._commit(self._batch)

    def _without_forgotten(self, rows: Iterable[Any]) -> list[Row]:
        forgotten = self._batch.deletes
        return [_row(one) for one in rows if (one.account, one.container, one.name, one.version) not in forgotten]

    def _remember(self, key: tuple[str, str, str], info: ObjectInfo, row: Row | None) -> None:
        self._cache[key] = (info.version, info.size, row)
        self._cache.move_to_end(key)
        if len(self._cache) > _CACHED_ROWS:
            self._cache.popitem(last=False)

    def _commit_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake the thread when all that is ready to run has run: it gets their rows together."""
        if not self._waking:
            self._waking = True
            loop.call_soon(self._wake_thread)

    def _end_lingering(self) -> None:
        self._lingering = False
        if self._batch.deletes:
            self._wake_thread()

    def _wake_thread(self) -> None:
        self._waking = False
        with self._wake:
            self._wake.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._commit_batches, name="blob-rows", daemon=True)
            self._thread.start()

    def _commit_batches(self) -> None:
        while True:
            with self._wake:
                while not (self._batch.upserts or self._batch.deletes):
                    if self._closed:
                        return
                    self._wake.wait()
                batch, self._batch = self._batch, _Batch()
            error = self._commit(batch)
            for loop, futures in _by_loop(batch.waiters).items():
                try:
                    loop.call_soon_threadsafe(_resolve, futures, error)
                except RuntimeError:  # that loop is closed: nobody waits any more
                    continue

    def _commit(self, batch: _Batch) -> BlobError | None:
        if not (batch.upserts or batch.deletes):
            return None
        try:
            with self._database.write() as connection:
                _upsert(connection, list(batch.upserts.values()))
                _delete(connection, list(batch.deletes))
        except Exception as error:  # whatever a batch holds: the only thread that commits must outlive it
            if known := outage(error):
                return from_arm(known)
            _log.exception("blob rows could not be committed")
            return internal_error()
        return None


def fitting(rows: Sequence[Row], info: ObjectInfo) -> Row | None:
    """The row for this version. An append blob that grew behind our back remains one, with its metadata."""
    for row in rows:
        if row.fits(info):
            return row
    grown = [row for row in rows if row.properties.type == APPEND and row.size < info.size]
    if not grown:
        return None
    last = max(grown, key=lambda row: (row.size, row.version))
    properties = load_properties(json.dumps({**json.loads(last.properties.dump()), "modified": info.modified}))
    return Row(last.account, last.container, last.name, info.version, info.size, info.etag, properties)


def _row(one: Any) -> Row:
    properties = load_properties(one.properties)
    return Row(one.account, one.container, one.name, one.version, one.size, one.etag, properties, one.blocks)


def _upsert(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    _write(
        connection,
        f"INSERT INTO blob ({','.join(_COLUMNS)}) VALUES %s "
        "ON CONFLICT (account, container, name, version) DO UPDATE SET size = excluded.size, etag = excluded.etag, "
        "properties = excluded.properties, blocks = excluded.blocks",
        rows,
    )


def _delete(connection: Connection, keys: list[Key]) -> None:
    _write(connection, "DELETE FROM blob WHERE (account, container, name, version) IN (VALUES %s)", keys)


def _write(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """One statement for many rows: each step of a statement gives the interpreter's lock away and must win it back."""
    for at in range(0, len(rows), _ROWS_IN_STATEMENT):
        part = rows[at : at + _ROWS_IN_STATEMENT]
        values = tuple(value for row in part for value in row)
        if connection.dialect.name == "sqlite":
            execute(connection, statement % _marks("?", len(part[0]), len(part)), values)
        else:
            connection.exec_driver_sql(statement % _marks("%s", len(part[0]), len(part)), values)


def _marks(mark: str, width: int, height: int) -> str:
    one = f"({','.join([mark] * width)})"
    return ",".join([one] * height)


def _by_loop(
    waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]],
) -> dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]]:
    found: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for loop, future in waiters:
        found.setdefault(loop, []).append(future)
    return found


def _resolve(futures: list[asyncio.Future[None]], error: BlobError | None) -> None:
    for future in futures:
        if future.done():
            continue  # its request was cancelled
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(BlobError(error.status, error.code, error.message, error.headers))
