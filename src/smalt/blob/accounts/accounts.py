"""Storage accounts (their keys are in `account_keys.py`) and containers, which are kept in memory too.

`BlobAccounts` is what the rest of the platform sees of blobs (`arm.ports.Blobs`, `arm.ports.LocalBlobs`).
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError
from smalt.arm.ports import Carried
from smalt.blob.accounts.account_keys import AccountKeys
from smalt.blob.accounts.sas import mint_account_sas, mint_service_sas
from smalt.blob.dates import http_date
from smalt.blob.errors import container_exists, container_not_found
from smalt.blob.names import check_account, check_container, prefix_fault, refused_name
from smalt.blob.store.leases import Leases
from smalt.blob.store.objects import LocalFiles, ObjectInfo, ObjectStore, Remote
from smalt.blob.store.snapshots import Snapshots
from smalt.blob.store.tag_index import TagIndex
from smalt.settings import PLATFORM_ACCOUNT
from smalt.store import tables
from smalt.store.database import Database
from smalt.store.sealed import Cipher

_FRESH_S = 5.0  # how long another process's change may stay unseen
_REMEMBERED = 2000  # accounts, and containers: each code upload makes one
_PAGE = 5000
_PIECE = 4 << 20
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Container:
    account: str
    name: str
    etag: str
    metadata: dict[str, str]
    changed_at: float

    def headers(self) -> dict[str, str]:
        return {"etag": f'"{self.etag}"', "last-modified": http_date(self.changed_at)}


class Recent(Generic[K, V]):
    """What was read just now, `limit` of it at most. Threads may share it."""

    def __init__(self, clock: Callable[[], float], limit: int = _REMEMBERED) -> None:
        self._clock = clock
        self._limit = limit
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        known = self._kept.get(key)
        return known[1] if known and self._clock() - known[0] < _FRESH_S else None

    def keep(self, key: K, value: V) -> V:
        with self._lock:
            self._kept[key] = (self._clock(), value)
            self._kept.move_to_end(key)
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        return value

    def forget(self, key: K) -> None:
        with self._lock:
            self._kept.pop(key, None)


class Accounts:
    """The `container` table, and the accounts' keys. Reads are answered from memory where they were read just now."""

    def __init__(self, database: Database, cipher: Cipher, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self.account_keys = AccountKeys(database, cipher, clock)
        self.keys, self.recent_keys = self.account_keys.both, self.account_keys.recent
        self._clock = clock
        self.leases = Leases(database, clock)
        self._containers: Recent[tuple[str, str], Container] = Recent(clock)

    def recent_container(self, account: str, name: str) -> Container | None:
        """What `container` gives, if it was read just now. Never waits."""
        return self._containers.get((account, name))

    def container(self, account: str, name: str) -> Container | None:
        if known := self.recent_container(account, name):
            return known
        table = tables.container
        with self.database.read() as connection:
            row = connection.execute(select(table).where(table.c.account == account, table.c.name == name)).first()
        if row is None:
            self._containers.forget((account, name))
            return None
        return self._keep(_container(row))

    def require_container(self, account: str, name: str) -> Container:
        found = self.container(account, name)
        if found is None:
            raise container_not_found()
        return found

    def create_container(self, account: str, name: str, metadata: dict[str, str]) -> Container:
        """Raises BlobError(409) if it exists."""
        check_container(name)
        new = Container(account, name, _new_etag(), metadata, self._clock())
        try:
            with self.database.write() as connection:
                connection.execute(tables.container.insert().values(**_values(new)))
        except IntegrityError:
            raise container_exists() from None
        return self._keep(new)

    def set_container_metadata(self, account: str, name: str, metadata: dict[str, str]) -> Container:
        changed = Container(account, name, _new_etag(), metadata, self._clock())
        table = tables.container
        with self.database.write() as connection:
            done = connection.execute(
                table.update().where(table.c.account == account, table.c.name == name).values(**_values(changed))
            )
        if not done.rowcount:
            raise container_not_found()
        return self._keep(changed)

    def delete_container(self, account: str, name: str) -> None:
        table = tables.container
        with self.database.write() as connection:
            done = connection.execute(table.delete().where(table.c.account == account, table.c.name == name))
        self._containers.forget((account, name))
        if not done.rowcount:
            raise container_not_found()

    def containers(self, account: str, prefix: str, after: str, limit: int) -> list[Container]:
        """One more than fits tells that there is a next page."""
        table = tables.container
        query = select(table).where(table.c.account == account, table.c.name > after, table.c.name >= prefix)
        query = query.where(table.c.name < prefix + "\x7f") if prefix else query
        with self.database.read() as connection:
            return [_container(row) for row in connection.execute(query.order_by(table.c.name).limit(limit))]

    def _keep(self, container: Container) -> Container:
        return self._containers.keep((container.account, container.name), container)


class BlobAccounts:
    """`arm.ports.Blobs` and `LocalBlobs` over one object store."""

    def __init__(self, accounts: Accounts, store: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self._accounts = accounts
        self._store = store
        self._clock = clock
        self._tags = TagIndex(accounts.database)
        self._snapshots = Snapshots(accounts.database, store)

    def ensure_account(self, account: str) -> str:
        return self._accounts.account_keys.ensure(account)

    def ensure_container(self, account: str, container: str) -> None:
        if self._accounts.container(account, container) is None:
            self._accounts.account_keys.ensure(account)
            try:
                self._accounts.create_container(account, container, {})
            except ArmError as error:
                if error.status != 409:
                    raise
        if isinstance(self._store, LocalFiles):
            self._store.make(f"{account}/{container}")

    def check(self, account: str, container: str, blob: str = "") -> None:
        bucket = bucket_of(account, container)
        if isinstance(self._store, LocalFiles):
            self._store.path(bucket, blob)
        elif blob and (fault := prefix_fault(blob)):
            raise refused_name(blob, fault)

    def has_container(self, account: str, container: str) -> bool:
        if isinstance(self._store, LocalFiles):
            return self.path(account, container).is_dir()
        return self._accounts.container(account, container) is not None

    def exists(self, account: str, container: str, blob: str) -> bool:
        bucket = bucket_of(account, container)
        if self._store.head(bucket, blob) is not None:
            return True
        below = blob if blob.endswith("/") or not blob else f"{blob}/"
        return bool(self._store.list(bucket, below, limit=1).entries)

    def size(self, account: str, container: str, blob: str) -> int | None:
        found = self._store.head(bucket_of(account, container), blob)
        return found.size if found else None

    def read(
        self, account: str, container: str, blob: str, most_bytes: int, from_end: bool = False, at: int = 0
    ) -> bytes | None:
        reader = self._store.open(bucket_of(account, container), blob)
        if reader is None:
            return None
        try:
            at, parts = max(0, reader.info.size - most_bytes) if from_end else at, []
            while most_bytes > 0 and (part := reader.read(at, most_bytes)):
                parts.append(part)
                at, most_bytes = at + len(part), most_bytes - len(part)
            return b"".join(parts)
        finally:
            reader.close()

    def sha256(self, account: str, container: str, blob: str) -> str | None:
        reader = self._store.open(bucket_of(account, container), blob)
        if reader is None:
            return None
        try:
            digest, at = hashlib.sha256(), 0
            while part := reader.read(at, _PIECE):
                digest.update(part)
                at += len(part)
            return digest.hexdigest()
        finally:
            reader.close()

    def write(self, ref: Ref, data: bytes, at: int = 0) -> None:
        before = self.read(*ref, most_bytes=at) or b""
        self._store.upload(bucket_of(ref.account, ref.container), ref.name, before.ljust(at, b"\0") + data)

    def keep_end(self, account: str, container: str, blob: str, most_bytes: int) -> None:
        size = self.size(account, container, blob)
        if size is not None and size > most_bytes:
            end = self.read(account, container, blob, most_bytes, from_end=True) or b""
            self._store.upload(bucket_of(account, container), blob, end)

    def copy(self, source: Ref, target: Ref) -> None:
        place = bucket_of(source.account, source.container), source.name
        if not self._store.copy(place, bucket_of(target.account, target.container), target.name):
            raise ArmError(404, "ResourceNotFound", f"There is no blob '{source.name[:200]}'.", source.name)

    def link(self, source: Ref, target: Ref) -> None:
        if isinstance(self._store, Remote):
            place = bucket_of(source.account, source.container), source.name
            self._store.link(place, bucket_of(target.account, target.container), target.name)
            return
        here, there = self.path(*source), self.path(*target)
        for one in (here, there):
            one.parent.mkdir(parents=True, exist_ok=True)
        here.touch(mode=0o600, exist_ok=True)
        if there.exists() and here.samefile(there):
            return
        there.unlink(missing_ok=True)
        there.hardlink_to(here)

    def free_bytes(self) -> int | None:
        return shutil.disk_usage(self._store.path("")).free if isinstance(self._store, LocalFiles) else None

    def path(self, account: str, container: str, blob: str = "") -> Path:
        bucket = bucket_of(account, container)
        if not isinstance(self._store, LocalFiles):
            message = f"The blobs of '{account}' are in an object store, and not files of this machine."
            raise ArmError(400, "UserError", message, blob)
        return self._store.path(bucket, blob)

    def sas(self, account: str, permissions: str, lifetime_s: float, container: str = "", blob: str = "") -> str:
        key = self._accounts.account_keys.signing(account)
        if key is None:
            raise ArmError(404, "ResourceNotFound", f"Storage account '{account}' was not found.", account)
        expiry = self._clock() + lifetime_s
        if not container:
            return mint_account_sas(key, account, permissions, expiry)
        return mint_service_sas(key, account, permissions, expiry, container, blob)

    def list(self, account: str, container: str, prefix: str, after: str = "") -> Iterator[Carried]:
        while True:
            page = self._store.list(f"{account}/{container}", prefix, after, _PAGE)
            for entry in page.entries:
                assert isinstance(entry, ObjectInfo)
                yield Carried(entry.name, entry.size, entry.etag)
            after = page.after
            if not after:
                return

    def remove(self, account: str, container: str = "", prefix: str = "") -> None:
        if not container:
            check_account(account)
            self._remove_account(account)
            return
        self._store.remove(bucket_of(account, container), prefix)
        table, below = tables.blob, prefix if prefix.endswith("/") else prefix + "/"
        rows = table.delete().where(table.c.account == account, table.c.container == container)
        if prefix:  # "0" follows "/"
            begins = (table.c.name >= below) & (table.c.name < below[:-1] + "0")
            rows = rows.where(begins if below == prefix else begins | (table.c.name == prefix))
        with self._accounts.database.write() as connection:
            connection.execute(rows)
        self._accounts.leases.drop_below(account, container, prefix)
        self._tags.drop_below(account, container, prefix)
        self._snapshots.drop_below(account, container, prefix)

    def _remove_account(self, account: str) -> None:
        """The row last: a removal that is cut short is found again by its keys."""
        for one in self._accounts.containers(account, "", "", 1_000_000):
            self.remove(account, one.name)
            self._accounts.delete_container(account, one.name)
        self._accounts.account_keys.forget(account)


def bucket_of(account: str, container: str) -> str:
    """As the object store knows the container. Raises ArmError(400)."""
    if account != PLATFORM_ACCOUNT:
        check_account(account)
    check_container(container)
    return f"{account}/{container}"


def _new_etag() -> str:
    return f"0x8{secrets.token_hex(7).upper()}"


def _values(container: Container) -> dict[str, Any]:
    return {
        "account": container.account,
        "name": container.name,
        "etag": container.etag,
        "metadata": json.dumps(container.metadata),
        "changed_at": container.changed_at,
    }


def _container(row: Any) -> Container:
    return Container(row.account, row.name, row.etag, json.loads(row.metadata), row.changed_at)
