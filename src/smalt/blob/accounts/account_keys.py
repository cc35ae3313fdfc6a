"""The two keys of each storage account: sealed in the table `account`, read on every request and so kept in memory.

The younger key signs what the platform hands out. Regenerating the older one therefore takes nothing from who works:
new signatures are made with it at once, and those of the other key live to their end.
"""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from smalt.arm.errors import ArmError, not_found
from smalt.arm.ports import AccountKey
from smalt.blob.names import check_account
from smalt.store import tables
from smalt.store.database import Database
from smalt.store.sealed import ACCOUNT_KEYS, Cipher

_FRESH_S = 1.0  # how long another process's change may stay unseen


@dataclass(frozen=True, slots=True)
class _Known:
    read_at: float
    both: tuple[bytes, bytes]
    signing: bytes


class AccountKeys:
    """Implements `arm.ports.AccountKeys`."""

    def __init__(self, database: Database, cipher: Cipher, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._cipher = cipher
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._changing = threading.Lock()

    def of(self, account: str) -> tuple[AccountKey, AccountKey] | None:
        with self._database.read() as connection:
            return self._read(connection, account)

    def both(self, account: str) -> tuple[bytes, bytes] | None:
        """Both keys, decoded; None if there is no such account."""
        known = self._fresh(account)
        return known.both if known else None

    def signing(self, account: str) -> bytes | None:
        """The key that signs what the platform hands out."""
        known = self._fresh(account)
        return known.signing if known else None

    def ensure(self, account: str) -> str:
        """Make the account where it is missing; its first key, base64."""
        check_account(account)
        if found := self.of(account):
            return found[0].value
        now = self._clock()
        new = {
            "name": account,
            "key1": _new_key(),
            "key2": _new_key(),
            "created_at": now,
            "key1_at": now,
            "key2_at": now,
        }
        try:
            with self._database.write() as connection:
                connection.execute(tables.account.insert().values(ACCOUNT_KEYS.closed(connection, self._cipher, new)))
        except IntegrityError:  # somebody else was first
            pass
        found = self.of(account)
        assert found is not None, "an account that was just made is gone"
        return found[0].value

    def regenerate(self, account: str, name: str = "") -> AccountKey:
        """A new key of this name, without one of the older; what the old key signed opens nothing any more.

        Raises ArmError: 400 for another name than key1 or key2, 404.
        """
        with self._changing:
            with self._database.write() as connection:
                found = self._read(connection, account)
                if found is None:
                    raise not_found("Storage account", account)
                old = next((one for one in found if one.name == name.lower()), None) if name else oldest(found)
                if old is None:
                    raise ArmError(400, "ValidationError", f"keyName: '{name[:40]}' is not key1 or key2.", "keyName")
                fresh = AccountKey(old.name, _new_key(), max(self._clock(), *(one.made_at + 1e-3 for one in found)))
                values = {one.name: one.value for one in found} | {"name": account, fresh.name: fresh.value}
                row = ACCOUNT_KEYS.closed(connection, self._cipher, values) | {f"{fresh.name}_at": fresh.made_at}
                connection.execute(update(tables.account).where(tables.account.c.name == account).values(row))
            self._known.pop(account, None)
        return fresh

    def forget(self, account: str) -> None:
        """Its keys open nothing any more."""
        with self._database.write() as connection:
            connection.execute(tables.account.delete().where(tables.account.c.name == account))
        self._known.pop(account, None)

    def recent(self, account: str) -> tuple[bytes, bytes] | None:
        """What `both` gives, if it was read just now. Never waits."""
        known = self._known.get(account)
        return known.both if known and self._clock() - known.read_at < _FRESH_S else None

    def _fresh(self, account: str) -> _Known | None:
        known = self._known.get(account)
        if known and self._clock() - known.read_at < _FRESH_S:
            return known
        read_at = self._clock()
        found = self.of(account)
        if found is None:
            self._known.pop(account, None)
            return None
        key1, key2 = (base64.b64decode(one.value) for one in found)
        known = _Known(read_at, (key1, key2), base64.b64decode(youngest(found).value))
        self._known[account] = known
        return known

    def _read(self, connection: Connection, account: str) -> tuple[AccountKey, AccountKey] | None:
        query = select(tables.account).where(tables.account.c.name == account)
        row = connection.execute(query).mappings().first()
        if row is None:
            return None
        plain = ACCOUNT_KEYS.opened(self._cipher, row)
        return AccountKey("key1", plain["key1"], row["key1_at"]), AccountKey("key2", plain["key2"], row["key2_at"])


def oldest(keys: tuple[AccountKey, AccountKey]) -> AccountKey:
    """The one that does not sign."""
    return keys[1] if youngest(keys) is keys[0] else keys[0]


def youngest(keys: tuple[AccountKey, AccountKey]) -> AccountKey:
    return keys[0] if keys[0].made_at >= keys[1].made_at else keys[1]


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()
