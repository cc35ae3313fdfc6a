"""Values that are sealed in the database: which columns, how a row names its key, how all are sealed again.

What seals is a `Cipher`, which has its keys elsewhere: a copy of the database alone opens nothing. `key_id` NULL marks
a row from before values were sealed; it is read as it is, and sealed by the next `seal_again`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, RowMapping, Table, delete, func, or_, select, tuple_, update

from smalt.store import tables

_LOCK = 0x5EA1  # PostgreSQL's advisory lock: shared by who seals, alone for who drops a key


class Cipher(Protocol):
    """`place` says where a value lies: sealed text that is moved elsewhere does not open."""

    @property
    def current(self) -> str:
        """The id of the key that seals now."""
        ...

    def seal(self, text: str, place: str) -> tuple[str, str]:
        """The sealed text, and the id of the key."""
        ...

    def open(self, sealed: str, key_id: str, place: str) -> str: ...


@dataclass(frozen=True)
class SealedColumns:
    """`columns` of `table` are sealed; `identity` are the columns of its primary key."""

    table: Table
    identity: Sequence[str]
    columns: Sequence[str]

    def closed(self, connection: Connection, cipher: Cipher, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` of one row as they are written; in the transaction that writes them, so that the key stays."""
        hold_keys(connection)
        row = dict(values)
        for column in self.columns:
            row[column], row["key_id"] = cipher.seal(values[column], self._place(values, column))
        return row

    def opened(self, cipher: Cipher, row: RowMapping) -> dict[str, str]:
        """The sealed columns of a whole row that was read, in plain."""
        key_id = row["key_id"]
        if key_id is None:
            return {column: row[column] for column in self.columns}
        return {column: cipher.open(row[column], key_id, self._place(row, column)) for column in self.columns}

    def seal_again(
        self, connection: Connection, cipher: Cipher, after: Sequence[str] | None, most: int
    ) -> tuple[int, Sequence[str] | None]:
        """One chunk, behind the key `after`: what another key has sealed, or none, is under the current one.

        Returns (count, next).
        """
        hold_keys(connection)
        stale = or_(self.table.c.key_id.is_(None), self.table.c.key_id != cipher.current)
        identity = [self.table.c[name] for name in self.identity]
        query = select(self.table).where(stale).order_by(*identity).limit(most).with_for_update()
        if after is not None:
            query = query.where(tuple_(*identity) > tuple_(*after))
        rows = connection.execute(query).mappings().all()
        for row in rows:
            fresh = self.closed(connection, cipher, {**row, **self.opened(cipher, row)})
            here = [self.table.c[name] == row[name] for name in self.identity]
            changed = {name: fresh[name] for name in (*self.columns, "key_id")}
            connection.execute(update(self.table).where(*here).values(changed))
        return len(rows), tuple(rows[-1][name] for name in self.identity) if len(rows) == most else None

    def counts(self, connection: Connection) -> dict[str | None, int]:
        """How many rows each key seals; None: those that are not sealed yet."""
        query = select(self.table.c.key_id, func.count().label("rows")).group_by(self.table.c.key_id)
        return {row.key_id: row.rows for row in connection.execute(query)}

    def _place(self, row: Mapping[str, Any] | RowMapping, column: str) -> str:
        return "\n".join([self.table.name, *(row[name] for name in self.identity), column])


SECRETS = SealedColumns(tables.secret, ("resource_id", "name"), ("value",))
ACCOUNT_KEYS = SealedColumns(tables.account, ("name",), ("key1", "key2"))
SEALED = (SECRETS, ACCOUNT_KEYS)


def hold_keys(connection: Connection, alone: bool = False) -> None:
    """No key is dropped until the transaction ends; `alone`: nobody else seals either.

    SQLite's one writer needs no lock.
    """
    if connection.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
        connection.execute(select(lock(_LOCK)))


class Secrets:
    """What must never be in a resource's document: names and values of one resource, which go with its row."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def of(self, connection: Connection, key: str) -> dict[str, str]:
        rows = connection.execute(select(tables.secret).where(tables.secret.c.resource_id == key)).mappings()
        return {row["name"]: SECRETS.opened(self._cipher, row)["value"] for row in rows}

    def of_many(self, connection: Connection, keys: Sequence[str]) -> dict[str, dict[str, str]]:
        """By resource, in one statement."""
        found: dict[str, dict[str, str]] = {key: {} for key in keys}
        query = select(tables.secret).where(tables.secret.c.resource_id.in_(list(found)))
        for row in connection.execute(query).mappings():
            found[row["resource_id"]][row["name"]] = SECRETS.opened(self._cipher, row)["value"]
        return found

    def set(self, connection: Connection, key: str, name: str, value: str) -> None:
        self.forget(connection, key, name)
        row = SECRETS.closed(connection, self._cipher, {"resource_id": key, "name": name, "value": value})
        connection.execute(tables.secret.insert().values(row))

    def forget(self, connection: Connection, key: str, *names: str) -> None:
        here = (tables.secret.c.resource_id == key) & tables.secret.c.name.in_(names)
        connection.execute(delete(tables.secret).where(here))
