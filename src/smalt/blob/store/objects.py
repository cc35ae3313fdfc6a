"""What a place for blobs must be able to do: six methods, and abilities that only some have.

A *bucket* is `account/container`; a *name* is the blob's. All calls block; the service decides on which thread they run
(`inline` says that a call is as quick as a system call). What differs between stores is here and nowhere else; block
lists, conditions and metadata are built on top. Contract suite: `tests/contract/blob/test_object_store.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object. `version` is a 63-bit number that changes with each write (a file's mtime in ns, an ETag's hash)."""

    name: str
    size: int  # bytes
    version: int
    modified: float  # seconds since the epoch
    etag: str  # without quotes; for objects of which we know nothing more


@dataclass(frozen=True, slots=True)
class Staged:
    """A complete file in the staging area. `version` is what the object's will be if `keeps_version`.

    `borrowed`: it has an owner, who wants it back if it does not become an object.
    """

    path: str
    size: int
    version: int
    borrowed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a listing in order of names: objects, and (with a delimiter) prefixes as strings.

    `after` continues it: give it back as `list(after=…)`. Empty: there is no more.
    """

    entries: list[ObjectInfo | str]
    after: str


class ObjectReader(Protocol):
    """One version of an object, open; later writes do not show. Close it."""

    info: ObjectInfo

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; may block; empty only at the end."""
        ...

    def read_now(self, start: int, length: int) -> bytes:
        """What can be had without waiting for a disk or network, perhaps nothing."""
        ...

    def close(self) -> None: ...


class ObjectStore(Protocol):
    """Implementations: `FolderStore` (files), `ObstoreStore` (S3, Azure, GCS). Errors are BlobError or OSError."""

    inline: bool  # head, open, put and delete take microseconds
    keeps_version: bool  # an object's version is its staged file's

    def head(self, bucket: str, name: str) -> ObjectInfo | None:
        """None where there is no such object, also for names that cannot exist."""
        ...

    def open(self, bucket: str, name: str) -> ObjectReader | None: ...

    def put(self, bucket: str, name: str, staged: Staged, replace: bool = True) -> ObjectInfo:
        """Make `staged` the object, at once and whole; the staged file is used up.

        Raises BlobError(400) for a name that cannot be stored, BlobError(409, BlobAlreadyExists) if not `replace`.
        """
        ...

    def upload(self, bucket: str, name: str, source: Path | bytes, replace: bool = True) -> ObjectInfo:
        """As `put`, of a file that stays, or of a few bytes."""
        ...

    def copy(self, source: tuple[str, str], bucket: str, name: str) -> bool:
        """Make the object, at once and whole, what another one, (bucket, name), is now. False if there was nothing."""
        ...

    def delete(self, bucket: str, name: str) -> bool:
        """False if there was nothing."""
        ...

    def list(self, bucket: str, prefix: str = "", after: str = "", limit: int = 5000, delimiter: str = "") -> Page:
        """Objects whose names begin with `prefix` and come after `after`, in code point order, at most `limit`."""
        ...

    def remove(self, bucket: str, prefix: str = "") -> None:
        """What begins with a prefix that ends with `/`; else an object and all below it; with an empty prefix all."""
        ...


@runtime_checkable
class Appends(Protocol):
    """Ability: objects grow."""

    def append(self, bucket: str, name: str, data: bytes | Staged, at: int, version: int) -> ObjectInfo:
        """Write `data` at the end `at`; all or nothing. The object's version is then `version` if `keeps_version`.

        Raises FileNotFoundError where there is none; a store that can tell, BlobError(412) where `at` is not the end.
        """
        ...


@runtime_checkable
class Remote(Protocol):
    """Ability: objects are elsewhere; what files do by themselves has to be asked for."""

    def small(self, bucket: str, name: str, etag: str) -> bytes | None:
        """All of an object that has this ETag, by one request. None where that cannot be told: then it is opened."""
        ...

    def seal(self, bucket: str, name: str) -> None:
        """Nothing is appended any more: the object becomes one, if it was kept in pieces."""
        ...

    def link(self, source: tuple[str, str], bucket: str, name: str) -> None:
        """From now on the object is another one, (bucket, name); that is made, empty, where it is missing."""
        ...

    def move(self, bucket: str, name: str, to: str) -> bool:
        """Give an object another name, in place of what has that. False if there was nothing."""
        ...

    def sweep(self) -> None:
        """Remove what killed processes left."""
        ...


@runtime_checkable
class LocalFiles(Protocol):
    """Ability: objects are files of this machine."""

    def make(self, bucket: str, folder: str = "") -> None:
        """The bucket's folder, or one in it for the prefix `folder` (which ends with `/`), where missing."""
        ...

    def path(self, bucket: str, name: str = "") -> Path:
        """Where the object or prefix is. Raises BlobError(400) if it would leave the bucket, also through a symlink.

        With a `/` at the end it is the folder of what begins so. Without, it is the object; but where there are others
        below its name and it is empty (the marker of a folder), it is the folder.
        """
        ...
