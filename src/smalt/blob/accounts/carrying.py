"""Blobs taken to a node and back, and used as files, whatever store they are in (`arm.ports.BlobFiles`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from smalt.agent.wire import Ref
from smalt.arm.outage import StoreAway
from smalt.arm.ports import BlobReader, Carried
from smalt.blob.accounts.accounts import bucket_of
from smalt.blob.errors import BlobError, blob_not_found
from smalt.blob.names import prefix_fault, refused_name
from smalt.blob.store.objects import Appends, ObjectInfo, ObjectReader, ObjectStore, Remote
from smalt.blob.store.staging import Staging, write_all

_PAGE = 10_000  # of a store that lists as many as it is asked for: each page is begun anew
_CHUNK_BYTES = 8 << 20
_AT_ONCE = 4  # ranges of one blob
_FILE_EVERY_S, _PIECE_EVERY_S = 0.04, 0.5


class OpenBlob:
    """A `BlobReader`. What was overwritten meanwhile is an OSError: another try reads what is there then."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self.size = reader.info.size
        self.etag = reader.info.etag

    def read(self, start: int, length: int) -> bytes:
        try:
            return self._reader.read(start, length)
        except BlobError as error:
            if error.status != 412:
                raise
            raise StoreAway("a blob was written while it was read") from None

    def close(self) -> None:
        self._reader.close()


class StoreFiles:
    """`arm.ports.BlobFiles`, and so a `Carrier`, over any object store. `staging` is that of the store."""

    def __init__(self, store: ObjectStore, staging: Staging) -> None:
        self._store = store
        self._remote = store if isinstance(store, Remote) else None  # once: it costs more than a small blob
        self._staging = staging

    @property
    def append_every_s(self) -> float:
        return _FILE_EVERY_S if self._remote is None else _PIECE_EVERY_S

    def list(self, ref: Ref) -> Iterator[Carried]:
        bucket = _bucket(ref)
        if ref.name and not ref.name.endswith("/"):
            if found := self._store.head(bucket, ref.name):
                yield Carried("", found.size, found.etag)
            return
        after = ""
        while True:
            page = self._store.list(bucket, ref.name, after, _PAGE)
            for one in page.entries:
                if isinstance(one, ObjectInfo) and one.name != ref.name:  # else the folder's own marker
                    yield Carried(one.name[len(ref.name) :], one.size, one.etag)
            after = page.after
            if not after:
                return

    def level(self, ref: Ref) -> Iterator[Carried]:
        bucket, after = _bucket(ref), ""
        while True:
            page = self._store.list(bucket, ref.name, after, _PAGE, "/")
            for one in page.entries:
                if isinstance(one, str):
                    yield Carried(one[len(ref.name) :], 0, "")
                elif one.name != ref.name:
                    yield Carried(one.name[len(ref.name) :], one.size, one.etag)
            after = page.after
            if not after:
                return

    def open(self, ref: Ref) -> BlobReader | None:
        return self._open(ref)

    def fetch(self, ref: Ref, path: Path, etag: str = "") -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            self._write(ref, file, etag)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)

    def _write(self, ref: Ref, file: int, etag: str) -> None:
        small = self._remote.small(_bucket(ref), ref.name, etag) if etag and self._remote else None
        if small is not None:
            write_all(file, small, 0)
            return
        reader = self._open(ref)
        if reader is None:
            raise blob_not_found()
        try:
            if etag and reader.etag != etag:
                raise StoreAway("a blob is not the one any more that was listed")
            _copy(reader, file)
        finally:
            reader.close()

    def store(self, path: Path, ref: Ref) -> None:
        self._store.upload(_bucket(ref), ref.name, path)

    def append(self, ref: Ref, at: int, data: bytes) -> int:
        bucket = _bucket(ref)
        if self._store.inline and (length := self._length(bucket, ref.name)) != at:
            return length  # files do not compare
        if not isinstance(self._store, Appends):
            raise BlobError(400, "FeatureNotSupported", "This store has no blobs that grow.")
        try:
            return self._store.append(bucket, ref.name, data, at, self._staging.stamp()).size
        except FileNotFoundError:
            if at:
                return 0
            self._begin(bucket, ref.name)
        except BlobError as error:
            if error.status != 412:
                raise
            return self._length(bucket, ref.name)
        return self.append(ref, at, data)

    def seal(self, ref: Ref) -> None:
        if self._remote:
            self._remote.seal(_bucket(ref), ref.name)

    def move(self, ref: Ref, to: str) -> None:
        if self._remote is None:
            raise BlobError(400, "FeatureNotSupported", "This store renames its files.")
        bucket = _bucket(ref)
        if self._remote.move(bucket, ref.name, to):
            return
        for one in self.list(Ref(ref.account, ref.container, ref.name.rstrip("/") + "/")):
            self._remote.move(bucket, f"{ref.name.rstrip('/')}/{one.name}", f"{to.rstrip('/')}/{one.name}")

    def remove(self, ref: Ref) -> None:
        bucket = _bucket(ref)
        if not ref.name:
            raise refused_name(ref.name, "it is empty")
        self._store.remove(bucket, ref.name)

    def _open(self, ref: Ref) -> OpenBlob | None:
        reader = self._store.open(_bucket(ref), ref.name)
        return OpenBlob(reader) if reader else None

    def _length(self, bucket: str, name: str) -> int:
        found = self._store.head(bucket, name)
        return found.size if found else 0

    def _begin(self, bucket: str, name: str) -> None:
        """An empty blob, unless there is one now."""
        try:
            self._store.upload(bucket, name, b"", replace=False)
        except BlobError as error:
            if error.status != 409:
                raise


def _bucket(ref: Ref) -> str:
    """Raises BlobError(400) for a name that no blob can have."""
    if ref.name and (fault := prefix_fault(ref.name)):
        raise refused_name(ref.name, fault)
    return bucket_of(ref.account, ref.container)


def _copy(reader: OpenBlob, file: int) -> None:
    """All of a blob into a file; of a large one several ranges at once."""

    def one(at: int) -> None:
        length = min(_CHUNK_BYTES, reader.size - at)
        data = reader.read(at, length)
        while len(data) < length:
            more = reader.read(at + len(data), length - len(data))
            if not more:
                raise StoreAway("a blob became shorter while it was read")
            data += more
        write_all(file, data, at)

    starts = range(0, reader.size, _CHUNK_BYTES)
    if len(starts) <= 2:
        for at in starts:
            one(at)
        return
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch") as pool:
        for _ in pool.map(one, starts):
            pass
