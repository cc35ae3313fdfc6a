"""Storage accounts, their keys, and what kinds do with blobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from smalt.agent.wire import Ref


class LocalBlobs(Protocol):
    """For those who work on the files of a store that has its blobs as files of this machine."""

    def path(self, account: str, container: str, blob: str = "") -> Path:
        """The file or folder that a blob or prefix is.

        Raises ArmError(400) if it climbs out, and where the store has no local files.
        """
        ...


class Carried(NamedTuple):
    """A blob as it is listed. A node sees its name below the folder that was asked for (empty: the blob itself)."""

    name: str
    size: int  # bytes
    etag: str


class Carrier(Protocol):
    """Takes blobs to a node and back, where the store has no files of that machine.

    All calls block, and may be made from any thread. They raise ArmError (400, 404) for what no try mends, and OSError
    for what another may: a store that is slow, answers 503 or tears a body.
    """

    @property
    def append_every_s(self) -> float:
        """How often one blob is appended to, at most: an object store keeps a piece of it for each time."""
        ...

    def list(self, ref: Ref) -> Iterator[Carried]:
        """The blob itself, or all below a folder, in order of names; nothing where nothing is."""
        ...

    def fetch(self, ref: Ref, path: Path, etag: str = "") -> None:
        """Write one blob to the file `path`, in a folder of the caller's own. Another `etag` is an OSError.

        Whatever it raises, nothing is left of it; of a process that is killed some may be.
        """
        ...

    def store(self, path: Path, ref: Ref) -> None:
        """Make the file the blob, at once and whole; the file stays."""
        ...

    def append(self, ref: Ref, at: int, data: bytes) -> int:
        """Write `data` to a blob that grows, whose length so far is `at`; returns its new length.

        Where its length is another (a try before this one got through), nothing is written and that is returned.
        """
        ...

    def seal(self, ref: Ref) -> None:
        """Nothing is appended any more: the blob becomes one object, if it was kept in pieces."""
        ...


class BlobReader(Protocol):
    """One version of a blob, open; later writes do not show. Close it."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; empty only at the end."""
        ...

    def close(self) -> None: ...


class BlobFiles(Carrier, Protocol):
    """For those who treat blobs as files, where the store has no files of this machine. Errors as a carrier's."""

    def open(self, ref: Ref) -> BlobReader | None: ...

    def level(self, ref: Ref) -> Iterator[Carried]:
        """What is directly in a folder, in order of names; those of folders end with `/`."""
        ...

    def move(self, ref: Ref, to: str) -> None:
        """Give a blob, or all below a folder, another name in its container. Nothing happens where nothing is."""
        ...

    def remove(self, ref: Ref) -> None:
        """A blob and all below it, or what is in a folder."""
        ...


class Blobs(Protocol):
    """Storage accounts and what kinds do with blobs, named by `account`, `container`, blob name (or `*ref`).

    Reading and writing raise ArmError(400) for names that no blob can have.
    """

    def ensure_account(self, account: str) -> str:
        """Create it where missing; returns its first key (base64)."""
        ...

    def ensure_container(self, account: str, container: str) -> None: ...

    def check(self, account: str, container: str, blob: str = "") -> None:
        """Raises ArmError(400) where nothing can be stored under this name."""
        ...

    def has_container(self, account: str, container: str) -> bool: ...

    def exists(self, account: str, container: str, blob: str) -> bool:
        """Whether there is a blob of this name, or any below it."""
        ...

    def size(self, account: str, container: str, blob: str) -> int | None:
        """In bytes; None where there is no such blob."""
        ...

    def read(
        self, account: str, container: str, blob: str, most_bytes: int, from_end: bool = False, at: int = 0
    ) -> bytes | None:
        """The first `most_bytes` of a blob behind the byte `at`, or its last; None where there is none."""
        ...

    def sha256(self, account: str, container: str, blob: str) -> str | None:
        """In hex, of all bytes of a blob; None where there is none."""
        ...

    def write(self, ref: Ref, data: bytes, at: int = 0) -> None:
        """Write `data` at the byte `at` of a blob, which ends behind it then. One that is missing is made.

        Only for what nobody else writes.
        """
        ...

    def keep_end(self, account: str, container: str, blob: str, most_bytes: int) -> None:
        """Cut a blob to its last bytes. Only for what nobody writes any more."""
        ...

    def copy(self, source: Ref, target: Ref) -> None:
        """Make `target`, at once and whole, what the blob `source` is now. Raises ArmError(404) where there is none."""
        ...

    def link(self, source: Ref, target: Ref) -> None:
        """From now on `target` is `source`, also while that grows. A source that is missing is made, empty."""
        ...

    def free_bytes(self) -> int | None:
        """What can still be stored; None where there is no such limit."""
        ...

    def sas(self, account: str, permissions: str, lifetime_s: float, container: str = "", blob: str = "") -> str:
        """A SAS query string (no `?`): of the account, of one container, or of one blob."""
        ...

    def list(self, account: str, container: str, prefix: str, after: str = "") -> Iterator[Carried]:
        """The blobs whose names begin with `prefix` and come after `after`, with their whole names, in order."""
        ...

    def remove(self, account: str, container: str = "", prefix: str = "") -> None:
        """What is below `prefix`; without a container the whole account."""
        ...


@dataclass(frozen=True)
class AccountKey:
    """One of a storage account's two keys: `name` is key1 or key2, `value` base64."""

    name: str
    value: str
    made_at: float


class AccountKeys(Protocol):
    def of(self, account: str) -> tuple[AccountKey, AccountKey] | None:
        """key1 and key2; None if there is no such account."""
        ...

    def regenerate(self, account: str, name: str = "") -> AccountKey:
        """A new key of this name, without one of the older; what the old one signed is refused from now on.

        Raises ArmError: 400 for another name than key1 or key2, 404.
        """
        ...
