"""Blobs in S3, Azure Blob Storage or Google Cloud Storage, through `obstore`.

Objects are `{account}/{container}/{blob}` in one bucket. The remote store knows neither our properties nor our ETags:
those are in the catalog, tied to the object's own ETag. Names are kept as they are; `%`-escapes are the library's
affair, which knows no empty segments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError
from obstore.store import ObjectStore as RemoteStore

from smalt.blob.errors import blob_exists, blob_not_found, condition_not_met
from smalt.blob.names import blob_name_fault, check_blob, refused_name
from smalt.blob.store.objects import ObjectInfo, Page, Staged
from smalt.blob.store.walk import LAST

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

_DELETE_BATCH = 500
_LIST_CHUNK = 1000
_PART_BYTES = 8 << 20
_SINGLE_PUT_BYTES = 8 << 20  # above, a put is multipart and cannot be conditional


class RemoteReader:
    """Ranges of one version: a write in between is an error, never a mixture."""

    def __init__(self, store: RemoteStore, path: str, info: ObjectInfo, etag: str | None) -> None:
        self._store = store
        self._path = path
        self._etag = etag
        self.info = info

    def read(self, start: int, length: int) -> bytes:
        end = min(start + length, self.info.size)
        if start >= end:
            return b""
        options: GetOptions = {"range": (start, end)}
        if self._etag:
            options["if_match"] = self._etag
        try:
            return bytes(obstore.get(self._store, self._path, options=options).bytes())
        except PreconditionError:
            raise condition_not_met() from None
        except (NotFoundError, FileNotFoundError):
            raise blob_not_found() from None

    def read_now(self, start: int, length: int) -> bytes:
        return b""

    def close(self) -> None:
        pass


class ObstoreStore:
    """An `ObjectStore` over any of obstore's stores. Appending is rewriting, which the service does."""

    inline = False
    keeps_version = False

    def __init__(self, store: RemoteStore) -> None:
        self._store = store

    def head(self, bucket: str, name: str) -> ObjectInfo | None:
        if _fault(name):
            return None
        try:
            return _info(name, obstore.head(self._store, f"{bucket}/{name}"))
        except (NotFoundError, FileNotFoundError):
            return None

    def open(self, bucket: str, name: str) -> RemoteReader | None:
        if _fault(name):
            return None
        path = f"{bucket}/{name}"
        try:
            meta = obstore.head(self._store, path)
        except (NotFoundError, FileNotFoundError):
            return None
        return RemoteReader(self._store, path, _info(name, meta), meta["e_tag"])

    def put(self, bucket: str, name: str, staged: Staged, replace: bool = True) -> ObjectInfo:
        check_blob(name)
        if fault := _fault(name):
            raise refused_name(name, fault)
        path = f"{bucket}/{name}"
        if not replace and staged.size > _SINGLE_PUT_BYTES and self.head(bucket, name):
            raise blob_exists()
        single = staged.size <= _SINGLE_PUT_BYTES
        try:
            with Path(staged.path).open("rb") as file:
                obstore.put(
                    self._store,
                    path,
                    file,
                    mode="overwrite" if replace or not single else "create",
                    use_multipart=not single,
                    chunk_size=_PART_BYTES,
                )
        except AlreadyExistsError:
            raise blob_exists() from None
        Path(staged.path).unlink()
        return _info(name, obstore.head(self._store, path))

    def delete(self, bucket: str, name: str) -> bool:
        if self.head(bucket, name) is None:  # S3 does not tell
            return False
        with suppress(NotFoundError, FileNotFoundError):
            obstore.delete(self._store, f"{bucket}/{name}")
        return True

    def list(self, bucket: str, prefix: str = "", after: str = "", limit: int = 5000, delimiter: str = "") -> Page:
        entries: list[ObjectInfo | str] = []
        skip = after
        while True:  # again from behind each common prefix, so that what it stands for is not read through
            common = ""
            for info in self._from(bucket, prefix, skip):
                at = info.name.find(delimiter, len(prefix)) if delimiter else -1
                if len(entries) == limit:
                    last = entries[-1]
                    return Page(entries, last + LAST if isinstance(last, str) else last.name)
                if at >= 0:
                    common = info.name[: at + len(delimiter)]
                    entries.append(common)
                    break
                entries.append(info)
            if not common:
                return Page(entries, "")
            skip = common + LAST

    def remove(self, bucket: str, prefix: str = "") -> None:
        name = prefix.removesuffix("/")
        if prefix and _fault(name):
            return
        batch: list[str] = []
        start = f"{name}/" if name else ""
        alone = [info for info in (self.head(bucket, prefix) if start != prefix else None,) if info]
        for info in chain(alone, self._from(bucket, start, "")):
            batch.append(f"{bucket}/{info.name}")
            if len(batch) == _DELETE_BATCH:
                obstore.delete(self._store, batch)
                batch = []
        if batch:
            obstore.delete(self._store, batch)

    def _from(self, bucket: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """In order of names. The library's prefixes are whole folders, so the rest of `prefix` is compared here."""
        folder = prefix[: prefix.rfind("/") + 1]
        if folder and _fault(folder[:-1]):
            return
        top = f"{bucket}/"
        offset = max(after, prefix[:-1]) if prefix != folder else after
        if _fault(offset):
            offset = ""  # a marker that no listing gave: the comparison below is enough
        stream = obstore.list(
            self._store, top + folder, offset=top + offset if offset else None, chunk_size=_LIST_CHUNK
        )
        for chunk in stream:
            for meta in chunk:
                name = meta["path"][len(top) :]
                if name <= after:
                    continue
                if name.startswith(prefix):
                    yield _info(name, meta)
                elif name > prefix:
                    return


def _fault(name: str) -> str:
    return blob_name_fault(name) or ("it has an empty path segment" if "" in name.split("/") else "")


def _info(name: str, meta: ObjectMeta) -> ObjectInfo:
    etag = meta["e_tag"] or f"{meta['last_modified'].timestamp()}/{meta['size']}"
    digest = hashlib.blake2b(etag.encode(), digest_size=8).digest()
    version = int.from_bytes(digest, "big") >> 1
    return ObjectInfo(name, meta["size"], version, meta["last_modified"].timestamp(), f"0x8{digest[:7].hex().upper()}")
