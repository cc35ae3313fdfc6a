"""Blobs in S3, Azure Blob Storage or Google Cloud Storage, through `obstore`.

Objects are `{account}/{container}/{blob}` below one prefix of one bucket. The remote store knows neither our properties
nor our ETags: those are in the catalog, tied to the object's own ETag. Names are kept as they are; `%`-escapes are the
library's affair, which knows no empty segments. Blobs that grow are kept in pieces (`pieces`).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore as RemoteStore

from smalt.arm.outage import StoreAway
from smalt.blob.errors import blob_exists, blob_not_found, condition_not_met
from smalt.blob.names import blob_name_fault, check_blob, refused_name
from smalt.blob.store.objects import ObjectInfo, Page, Staged
from smalt.blob.store.pieces import HIDDEN, LINK, Piece, Pieces, folder_of
from smalt.blob.store.remote_calls import MISSING, asked
from smalt.blob.store.remote_reader import Head, RemoteReader, info_of
from smalt.blob.store.walk import LAST

if TYPE_CHECKING:
    from obstore import PutMode

_DELETE_BATCH = 500
_LIST_CHUNK = 1000
_PART_BYTES = 8 << 20
_PARTS = 9000  # a store takes 10,000
_AT_ONCE = 4  # parts of one upload, in memory
_SINGLE_PUT_BYTES = 8 << 20  # above, a put is multipart
_SMALL_BYTES = 8 << 20
_COPY_BYTES = 5 * 10**9  # what S3 copies in one request
_MAX_NAME_BYTES = 900  # a key has 1024, with account, container and prefix
_MAX_PATH_BYTES = 950
_ABANDONED_S = 24 * 3600.0
_REMEMBERED = 1000
_GROWS, _LINKS = "smaltgrows", "smaltlink"  # metadata: a generation; bucket/name in hex


class ObstoreStore:
    """An `ObjectStore` over any of obstore's stores, that also `Appends`, `Uploads` and `Links`."""

    inline = False
    keeps_version = False

    def __init__(self, store: RemoteStore) -> None:
        self._store = store
        self._pieces = Pieces(store)
        self._locks = [threading.Lock() for _ in range(64)]
        self._growing: OrderedDict[tuple[str, str], tuple[str, list[Piece]]] = OrderedDict()

    def head(self, bucket: str, name: str) -> ObjectInfo | None:
        found = self._head(bucket, name)
        return found.info if found else None

    def open(self, bucket: str, name: str) -> RemoteReader | None:
        found = self._head(bucket, name)
        return RemoteReader(self._store, found, lambda: self._head(bucket, name)) if found else None

    def small(self, bucket: str, name: str, etag: str) -> bytes | None:
        if _fault(name):
            return None
        try:
            with asked():
                result = obstore.get(self._store, f"{bucket}/{name}")
                found, told = info_of(name, result.meta), cast("dict[str, str]", result.attributes)
                if found.etag != etag or found.size > _SMALL_BYTES or _GROWS in told or _LINKS in told:
                    return None
                data = bytes(result.bytes())
        except MISSING:
            return None
        if len(data) != found.size:
            raise StoreAway("it cut a body off")
        return data

    def put(self, bucket: str, name: str, staged: Staged, replace: bool = True) -> ObjectInfo:
        info = self.upload(bucket, name, Path(staged.path), replace)
        Path(staged.path).unlink()
        return info

    def upload(self, bucket: str, name: str, source: Path | bytes, replace: bool = True) -> ObjectInfo:
        check_blob(name)
        if fault := _fault(name):
            raise refused_name(name, fault)
        path = f"{bucket}/{name}"
        with self._alone(bucket, name):
            try:
                if replace:
                    self._write(path, source, _size(source))
                else:
                    self._create(path, source)
            except AlreadyExistsError:
                raise blob_exists() from None
            if self._growing.pop((bucket, name), None):
                self._pieces.remove(bucket, name)
            return self._must_head(bucket, name)

    def append(self, bucket: str, name: str, data: bytes | Staged, at: int, version: int) -> ObjectInfo:
        content = Path(data.path).read_bytes() if isinstance(data, Staged) else data
        with self._alone(bucket, name):
            found = self._base(bucket, name)
            if found is None:
                raise FileNotFoundError(name)
            if not found.link:
                return self._append(bucket, name, content, at, found)
        return replace(self.append(*found.link, content, at, version), name=name)

    def seal(self, bucket: str, name: str) -> None:
        found = self._base(bucket, name)
        if found is None or not found.generation:
            return
        with self._alone(bucket, name):
            found = self._base(bucket, name)
            if found is None or not found.generation:
                return
            pieces = self._pieces.of(bucket, name, found.generation)
            size = pieces[-1].end if pieces else 0
            self._write(f"{bucket}/{name}", (self._pieces.read(one) for one in pieces), size)
            self._growing.pop((bucket, name), None)
            self._pieces.remove(bucket, name)

    def link(self, source: tuple[str, str], bucket: str, name: str) -> None:
        with suppress(AlreadyExistsError), asked():
            obstore.put(self._store, "/".join(source), b"", mode="create", use_multipart=False)
        found = self._base(bucket, name)
        if found and found.link == source:
            return
        with self._alone(bucket, name):
            self._pieces.mark_link(bucket, name)
            self._put(f"{bucket}/{name}", b"", attributes={_LINKS: "/".join(source).encode().hex()})

    def copy(self, source: tuple[str, str], bucket: str, name: str) -> bool:
        found = self._head(*source)
        if found is None:
            return False
        with self._alone(bucket, name):
            if found.generation or found.link or found.info.size > _COPY_BYTES:
                read = RemoteReader(self._store, found, lambda: self._head(*source)).read
                steps = range(0, found.info.size, _PART_BYTES)
                self._write(f"{bucket}/{name}", (read(at, _PART_BYTES) for at in steps), found.info.size)
            else:
                with suppress(*MISSING), asked():
                    obstore.copy(self._store, "/".join(source), f"{bucket}/{name}")
        return True

    def move(self, bucket: str, name: str, to: str) -> bool:
        return self.copy((bucket, name), bucket, to) and self.delete(bucket, name)

    def delete(self, bucket: str, name: str) -> bool:
        with self._alone(bucket, name):
            found = self._base(bucket, name)
            if found is None:  # S3 does not tell
                return False
            with suppress(*MISSING), asked():
                obstore.delete(self._store, f"{bucket}/{name}")
            if found.generation or found.link:
                self._growing.pop((bucket, name), None)
                self._pieces.remove(bucket, name)
            return True

    def list(self, bucket: str, prefix: str = "", after: str = "", limit: int = 5000, delimiter: str = "") -> Page:
        page = self._plain_page(bucket, prefix, after, limit, delimiter)
        empty = {one.name: at for at, one in enumerate(page.entries) if isinstance(one, ObjectInfo) and not one.size}
        if not empty:
            return page
        names = list(empty)
        entries: list[ObjectInfo | str | None] = [*page.entries]
        for name in self._pieces.names(bucket, names[0], names[-1]):
            if name in empty:
                entries[empty[name]] = self.head(bucket, name)
        return Page([one for one in entries if one is not None], page.after)

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
                self._delete(batch)
                batch = []
        if batch:
            self._delete(batch)
        self._pieces.remove_below(bucket, prefix)

    def sweep(self) -> None:
        """Remove what killed processes left: pieces of blobs that are no more or were sealed, unfinished uploads."""
        for bucket, name, generation in self._pieces.old():
            with self._alone(bucket, name):
                found = self._base(bucket, name)
                if found is None or generation not in (found.generation, LINK if found.link else ""):
                    self._pieces.remove(bucket, name, generation)
        oldest = time.time() - _ABANDONED_S
        old: list[str] = []
        with asked():
            for chunk in obstore.list(self._store, f"{HIDDEN}/uploads/"):
                old += [meta["path"] for meta in chunk if meta["last_modified"].timestamp() < oldest]
        for path in old:
            self._delete([path])

    def _alone(self, bucket: str, name: str) -> threading.Lock:
        return self._locks[hash((bucket, name)) % len(self._locks)]

    def _base(self, bucket: str, name: str) -> Head | None:
        """The object itself."""
        if _fault(name):
            return None
        path = f"{bucket}/{name}"
        try:
            with asked():
                result = obstore.get(self._store, path, options={"head": True})
        except MISSING:
            return None
        told = cast("dict[str, str]", result.attributes)
        meta = result.meta
        piece = Piece(path, 0, meta["size"], meta["last_modified"].timestamp(), meta["e_tag"])
        target = bytes.fromhex(told.get(_LINKS, "")).decode().split("/", 2)
        link = (f"{target[0]}/{target[1]}", target[2]) if len(target) == 3 else None
        return Head(info_of(name, meta), [piece], told.get(_GROWS, ""), link)

    def _head(self, bucket: str, name: str) -> Head | None:
        """What the blob is: a link's is its source, a growing one's its pieces together."""
        found = self._base(bucket, name)
        if found is None:
            return None
        if found.link:
            source = self._head(*found.link)
            return replace(source, info=replace(source.info, name=name)) if source else found
        if not found.generation:
            return found
        return found.grown(self._pieces.of(bucket, name, found.generation))

    def _must_head(self, bucket: str, name: str) -> ObjectInfo:
        found = self._head(bucket, name)
        if found is None:  # another process deleted it meanwhile
            raise blob_not_found()
        return found.info

    def _append(self, bucket: str, name: str, content: bytes, at: int, found: Head) -> ObjectInfo:
        if len(folder_of(bucket, name)) > _MAX_PATH_BYTES:
            raise refused_name(name, "it is too long for a blob that grows in an object store")
        known = self._growing.pop((bucket, name), None)
        if not found.generation:
            found = self._grow(bucket, name, found)
            pieces = found.pieces
        elif known and known[0] == found.generation:
            pieces = known[1]
        else:
            pieces = self._pieces.of(bucket, name, found.generation)
        if at != (pieces[-1].end if pieces else 0):
            raise condition_not_met()
        if content:
            try:
                added = self._pieces.add(bucket, name, found.generation, at, content)
            except AlreadyExistsError:
                raise condition_not_met() from None
            pieces = self._pieces.merge([*pieces, added])
        self._remember(bucket, name, found.generation, pieces)
        return found.grown(pieces).info

    def _grow(self, bucket: str, name: str, found: Head) -> Head:
        """A whole object made one that grows."""
        generation = secrets.token_hex(8)
        pieces = [self._pieces.copied(bucket, name, generation, found.info.size)] if found.info.size else []
        self._put(f"{bucket}/{name}", b"", attributes={_GROWS: generation})
        again = self._base(bucket, name)
        if again is None or again.generation != generation:  # another process replaced or deleted it meanwhile
            raise condition_not_met()
        return replace(again, pieces=pieces)

    def _remember(self, bucket: str, name: str, generation: str, pieces: list[Piece]) -> None:
        self._growing[bucket, name] = (generation, pieces)
        while len(self._growing) > _REMEMBERED:
            self._growing.popitem(last=False)

    def _write(self, path: str, source: Path | bytes | Iterator[bytes], size: int) -> None:
        if size <= _SINGLE_PUT_BYTES:
            self._put(path, _bytes(source))
            return
        with asked():
            obstore.put(
                self._store,
                path,
                source,
                use_multipart=True,
                chunk_size=max(_PART_BYTES, -(-size // _PARTS)),
                max_concurrency=_AT_ONCE,
            )

    def _put(
        self, path: str, data: bytes, mode: PutMode = "overwrite", attributes: dict[str, str] | None = None
    ) -> None:
        with asked():
            obstore.put(self._store, path, data, mode=mode, use_multipart=False, attributes=attributes)

    def _create(self, path: str, source: Path | bytes) -> None:
        """Raises AlreadyExistsError. What is large is copied into its place inside the store, if that is free."""
        size = _size(source)
        if size <= _SINGLE_PUT_BYTES:
            self._put(path, _bytes(source), "create")
            return
        with suppress(*MISSING), asked():  # before gigabytes are sent for nothing
            obstore.head(self._store, path)
            raise AlreadyExistsError
        if size > _COPY_BYTES:  # and nobody else of this process writes it meanwhile
            self._write(path, source, size)
            return
        upload = f"{HIDDEN}/uploads/{secrets.token_hex(16)}"
        try:
            self._write(upload, source, size)
            with asked():
                obstore.copy(self._store, upload, path, overwrite=False)
        finally:
            self._delete([upload])

    def _delete(self, paths: list[str]) -> None:
        with suppress(*MISSING), asked():
            obstore.delete(self._store, paths)

    def _plain_page(self, bucket: str, prefix: str, after: str, limit: int, delimiter: str) -> Page:
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

    def _from(self, bucket: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """In order of names. The library's prefixes are whole folders, so the rest of `prefix` is compared here."""
        folder = prefix[: prefix.rfind("/") + 1]
        if folder and _fault(folder[:-1]):
            return
        top = f"{bucket}/"
        offset = max(after, prefix[:-1]) if prefix != folder else after
        if _fault(offset):
            offset = ""  # a marker that no listing gave: the comparison below is enough
        with asked():
            stream = obstore.list(
                self._store, top + folder, offset=top + offset if offset else None, chunk_size=_LIST_CHUNK
            )
            for chunk in stream:
                for meta in chunk:
                    name = meta["path"][len(top) :]
                    if name <= after:
                        continue
                    if name.startswith(prefix):
                        yield info_of(name, meta)
                    elif name > prefix:
                        return


def _fault(name: str) -> str:
    if fault := blob_name_fault(name):
        return fault
    if len(name.encode()) > _MAX_NAME_BYTES:
        return f"it is longer than {_MAX_NAME_BYTES} bytes, which no object store takes"
    return "it has an empty path segment, which object stores do not take" if "" in name.split("/") else ""


def _size(source: Path | bytes) -> int:
    return source.stat().st_size if isinstance(source, Path) else len(source)


def _bytes(source: Path | bytes | Iterator[bytes]) -> bytes:
    if isinstance(source, Path):
        return source.read_bytes()
    return source if isinstance(source, bytes) else b"".join(source)
