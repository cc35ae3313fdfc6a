"""Blobs that grow, where objects cannot: small numbered pieces beside the blobs, in no listing.

The blob itself is an empty object that names a *generation* in its metadata. Its pieces are objects
`.smalt/pieces/{bucket}/{name in hex}/{generation}/{start}`, and what they hold together is the blob. Whoever replaces
or deletes the object so takes all pieces out of sight at once; they are removed afterwards. A piece is written once, by
the one who was first, or replaced by a longer one that begins with it: readers notice neither. Hexadecimal keeps the
order of names, so the pieces of a listing's page are a stretch of theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import obstore
from obstore.store import ObjectStore as RemoteStore

from smalt.blob.store.remote_calls import MISSING, asked

HIDDEN = ".smalt"  # no account can have this name
LINK = "link"  # in place of a generation: the blob is another one
_TOP = f"{HIDDEN}/pieces"
_MANY = 32
_SMALL_BYTES = 4 << 20
_MERGED_BYTES = 16 << 20
_DELETE_BATCH = 500
_SETTLED_S = 3600.0


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `start` to `end` of a blob: the object `path` from its first byte on. `modified`: s since the epoch."""

    path: str
    start: int
    end: int
    modified: float = 0.0
    etag: str | None = None


class Pieces:
    """The pieces of all blobs of one remote store. Threads may share it; who writes one blob does so alone."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store

    def of(self, bucket: str, name: str, generation: str) -> list[Piece]:
        """In order, without a gap."""
        found: list[Piece] = []
        for path, size, modified in self._below(f"{folder_of(bucket, name)}/{generation}/"):
            start = int(path.rpartition("/")[2], 16)
            found.append(Piece(path, start, start + size, modified))
        return joined(found)

    def add(self, bucket: str, name: str, generation: str, at: int, data: bytes | memoryview) -> Piece:
        """Raises AlreadyExistsError where somebody else wrote there."""
        path = f"{folder_of(bucket, name)}/{generation}/{at:016x}"
        with asked():
            obstore.put(self._store, path, bytes(data), mode="create", use_multipart=False)
        return Piece(path, at, at + len(data), time.time())

    def copied(self, bucket: str, name: str, generation: str, size: int) -> Piece:
        """What the blob holds becomes the first piece, inside the store."""
        path = f"{folder_of(bucket, name)}/{generation}/{0:016x}"
        with asked():
            obstore.copy(self._store, f"{bucket}/{name}", path)
        return Piece(path, 0, size)

    def merge(self, pieces: list[Piece]) -> list[Piece]:
        """Many small pieces at the end become one, so that a log of a week is not a million objects."""
        run: list[Piece] = []
        for one in reversed(pieces):
            size = one.end - one.start
            if size >= _SMALL_BYTES or (run and run[0].end - one.start + size > _MERGED_BYTES):
                break
            run.insert(0, one)
        if len(run) < _MANY:
            return pieces
        data = b"".join(self.read(one) for one in run)
        with asked():
            obstore.put(self._store, run[0].path, data, use_multipart=False)
        self._delete([one.path for one in run[1:]])
        return [*pieces[: -len(run)], Piece(run[0].path, run[0].start, run[-1].end, run[-1].modified)]

    def read(self, piece: Piece) -> bytes:
        with asked():
            size = piece.end - piece.start
            data = bytes(obstore.get(self._store, piece.path).bytes())[:size] if size else b""
            if len(data) != size:
                raise OSError("a body was cut off")
            return data

    def mark_link(self, bucket: str, name: str) -> None:
        """So that listings look at the blob itself."""
        with asked():
            obstore.put(self._store, f"{folder_of(bucket, name)}/{LINK}", b"", use_multipart=False)

    def names(self, bucket: str, first: str, last: str) -> Iterator[str]:
        """Blobs that have pieces, or are links, from `first` to `last`."""
        top, known = f"{_TOP}/{bucket}/", ""
        start, end = first.encode().hex(), last.encode().hex()
        for path, _, _ in self._below(top, offset=top + start[:-1] if start else ""):
            coded = path[len(top) :].partition("/")[0]
            if coded > end:
                return
            if coded >= start and coded != known:
                known = coded
                yield bytes.fromhex(coded).decode()

    def remove(self, bucket: str, name: str, generation: str = "") -> None:
        """Those of one blob, or of one generation of it."""
        self._delete([path for path, _, _ in self._below(f"{folder_of(bucket, name)}/{generation}".rstrip("/"))])

    def remove_below(self, bucket: str, prefix: str) -> None:
        """Those of all blobs of a bucket, or of a blob and all below it (a prefix with `/`: only below)."""
        top = f"{_TOP}/{bucket}/"
        if not prefix:
            self._delete(path for path, _, _ in self._below(top))
            return
        below = prefix if prefix.endswith("/") else prefix + "/"
        for name in chain((prefix,) if below != prefix else (), self.names(bucket, below, below + "\U0010ffff")):
            self.remove(bucket, name)

    def old(self) -> Iterator[tuple[str, str, str]]:
        """(bucket, name, generation) of what has not changed for an hour: perhaps nobody's any more."""
        known = ("", "", "")
        oldest = time.time() - _SETTLED_S
        for path, _, modified in self._below(f"{_TOP}/"):
            account, container, coded, generation = path[len(_TOP) + 1 :].split("/")[:4]
            found = (f"{account}/{container}", bytes.fromhex(coded).decode(), generation)
            if found != known and modified < oldest:
                known = found
                yield found

    def _below(self, folder: str, offset: str = "") -> Iterator[tuple[str, int, float]]:
        """Path, size and time of all objects below a folder, in order."""
        with asked():
            for chunk in obstore.list(self._store, folder, offset=offset or None, chunk_size=1000):
                for meta in chunk:
                    yield meta["path"], meta["size"], meta["last_modified"].timestamp()

    def _delete(self, paths: list[str] | Iterator[str]) -> None:
        batch: list[str] = []
        for path in paths:
            batch.append(path)
            if len(batch) == _DELETE_BATCH:
                self._delete_batch(batch)
                batch = []
        if batch:
            self._delete_batch(batch)

    def _delete_batch(self, paths: list[str]) -> None:
        with asked():
            try:
                obstore.delete(self._store, paths)
            except MISSING:  # somebody removed the same
                return


def folder_of(bucket: str, name: str) -> str:
    return f"{_TOP}/{bucket}/{name.encode().hex()}"


def joined(pieces: list[Piece]) -> list[Piece]:
    """What covers the blob: a piece that was made of several hides those."""
    found: list[Piece] = []
    at = 0
    for one in sorted(pieces, key=lambda piece: piece.start):
        if one.start == at and one.end > at:
            found.append(one)
            at = one.end
    return found
