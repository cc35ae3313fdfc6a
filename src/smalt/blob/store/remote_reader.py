"""Reading one version of an object in a remote store, which may lie there in pieces."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import PreconditionError
from obstore.store import ObjectStore as RemoteStore

from smalt.arm.outage import StoreAway
from smalt.blob.errors import blob_not_found, condition_not_met
from smalt.blob.store.objects import ObjectInfo
from smalt.blob.store.pieces import Piece
from smalt.blob.store.remote_calls import MISSING, asked

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

_AHEAD_BYTES = 4 << 20  # of a blob that is read from one end to the other: a request for each read would be latency


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an object: its `generation` if it grows, (bucket, name) if it is a `link`."""

    info: ObjectInfo
    pieces: list[Piece] = field(default_factory=list)
    generation: str = ""
    link: tuple[str, str] | None = None

    def grown(self, pieces: list[Piece]) -> Head:
        size = pieces[-1].end if pieces else 0
        modified = max([self.info.modified, *(one.modified for one in pieces)])
        version, etag = _version(f"{self.info.etag}/{self.generation}/{size}")
        return replace(self, info=ObjectInfo(self.info.name, size, version, modified, etag), pieces=pieces)


class RemoteReader:
    """Ranges of one version: a write in between is an error, never a mixture. `again` looks the object up anew.

    Threads may share it.
    """

    def __init__(self, store: RemoteStore, found: Head, again: Callable[[], Head | None]) -> None:
        self._store = store
        self._pieces, self._generation = found.pieces, found.generation
        self._again = again
        self._next, self._ahead = -1, (0, b"")
        self.info = found.info

    def read(self, start: int, length: int) -> bytes:
        end = min(start + length, self.info.size)
        if start >= end:
            return b""
        if kept := self.read_now(start, length):
            self._next = start + len(kept)
            return kept
        wanted = min(max(end, start + _AHEAD_BYTES), self.info.size) if start == self._next else end
        data = self._fetch(start, wanted)
        if wanted > end:
            self._ahead = (start, data)
        self._next = start + min(len(data), end - start)
        return data[: end - start]

    def read_now(self, start: int, length: int) -> bytes:
        begins, data = self._ahead
        at = start - begins
        return data[at : at + length] if 0 <= at < len(data) else b""

    def close(self) -> None:
        self._ahead = (0, b"")

    def _fetch(self, start: int, end: int) -> bytes:
        try:
            return self._joined(start, end)
        except MISSING:
            found = self._again()  # small pieces have become one, or the blob one object
            if found is None:
                raise blob_not_found() from None
            if found.generation != self._generation or not found.generation:
                raise condition_not_met() from None
            self._pieces = found.pieces
        try:
            return self._joined(start, end)
        except MISSING:
            raise condition_not_met() from None

    def _joined(self, start: int, end: int) -> bytes:
        parts: list[bytes] = []
        index = bisect_right([one.start for one in self._pieces], start) - 1
        while start < end:
            piece = self._pieces[index]
            stop = min(end, piece.end)
            parts.append(self._part(piece, start - piece.start, stop - piece.start))
            start, index = stop, index + 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, piece: Piece, start: int, end: int) -> bytes:
        options: GetOptions = {}
        whole = end - start == piece.end - piece.start
        if not whole:
            options["range"] = (start, end)
        if piece.etag:
            options["if_match"] = piece.etag
        try:
            with asked():
                data = bytes(obstore.get(self._store, piece.path, options=options).bytes())
        except PreconditionError:
            raise condition_not_met() from None
        if whole:  # asked for without a range, which not every store serves: it may be longer by now
            data = data[: end - start]
        if len(data) != end - start:
            raise StoreAway("it cut a body off")
        return data


def info_of(name: str, meta: ObjectMeta) -> ObjectInfo:
    etag = (meta["e_tag"] or "").strip('"') or f"{meta['last_modified'].timestamp()}/{meta['size']}"
    version, shown = _version(etag)
    return ObjectInfo(name, meta["size"], version, meta["last_modified"].timestamp(), shown)


def _version(text: str) -> tuple[int, str]:
    """A number of 63 bits, and an ETag."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1, f"0x8{digest[:7].hex().upper()}"
