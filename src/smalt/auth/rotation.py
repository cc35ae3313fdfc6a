"""A new key for all that is sealed.

Wherever it is cut short, everything can be read; the next start or rotation ends it.

1. The new key is in the ring's file, and seals from now on.
2. Values are sealed again in chunks, each in its transaction; others write meanwhile.
3. Old keys are dropped in a transaction that has looked that they seal nothing, and that keeps others from sealing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smalt.auth.keyring import Keyring
from smalt.store.database import Database
from smalt.store.sealed import SEALED, SealedColumns, hold_keys

CHUNK = 500


def rotate(database: Database, keyring: Keyring, told: Callable[[int], None] = lambda _: None) -> int:
    """How many rows were sealed again; `told` hears of each chunk."""
    with keyring.alone():
        keyring.add()
        return _settle(database, keyring, told)


def settle(database: Database, keyring: Keyring) -> int:
    """At each start: seal what is not sealed yet, and end a rotation that was cut short."""
    with keyring.alone():
        count = _settle(database, keyring, lambda _: None)
    database.wipe_remains()
    return count


def counts(database: Database) -> dict[str | None, int]:
    """How many rows each key seals; None: those that are not sealed yet."""
    total: dict[str | None, int] = {}
    with database.read() as connection:
        for one in SEALED:
            for key, count in one.counts(connection).items():
                total[key] = total.get(key, 0) + count
    return total


def _settle(database: Database, keyring: Keyring, told: Callable[[int], None]) -> int:
    count = sum(_seal_all(database, keyring, one, told) for one in SEALED)
    if len(keyring.entries()) > 1:
        _drop_unused(database, keyring)
    return count


def _seal_all(database: Database, keyring: Keyring, table: SealedColumns, told: Callable[[int], None]) -> int:
    total, after = 0, None
    while True:
        with database.write() as connection:
            count, after = table.seal_again(connection, keyring, after, CHUNK)
        total += count
        told(count)
        if after is None:
            return total


def _drop_unused(database: Database, keyring: Keyring) -> None:
    with database.write() as connection:
        hold_keys(connection, alone=True)
        used: set[str | None] = {key for one in SEALED for key in one.counts(connection)}
        unused: Sequence[str] = [one.id for one in keyring.entries() if one.id not in used]
        keyring.drop(unused)
