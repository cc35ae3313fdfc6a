"""`smalt storage`: the keys of storage accounts, straight on the root. Works whether or not the platform runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from smalt.arm.ports import AccountKey
from smalt.blob.accounts.account_keys import AccountKeys, youngest
from smalt.cli.commands.keys import opened
from smalt.store import tables


def rotate(root: Path | None, account: str, key: str, as_json: bool) -> int:
    with opened(root) as (database, keyring):
        fresh = AccountKeys(database, keyring).regenerate(account, key)
    if as_json:
        print(json.dumps({"account": account, "key": fresh.name, "made": _time(fresh)}))
    else:
        print(f"{account} has a new {fresh.name}; what the old one signed is refused. New signatures are made with it.")
    return 0


def list_all(root: Path | None, as_json: bool) -> int:
    """Names and ages alone: the keys themselves leave through the platform's own API."""
    documents: list[dict[str, str]] = []
    with opened(root) as (database, keyring):
        with database.read() as connection:
            names = connection.execute(select(tables.account.c.name).order_by(tables.account.c.name)).scalars().all()
        keys = AccountKeys(database, keyring)
        for name in names:
            if both := keys.of(name):
                ages = {one.name: _time(one) for one in both}
                documents.append({"account": name, **ages, "signs": youngest(both).name})
    if as_json:
        print(json.dumps(documents))
        return 0
    table = Table(box=None)
    for heading in ("account", "key1", "key2", "signs"):
        table.add_column(heading)
    for one in documents:
        table.add_row(*one.values())
    Console(highlight=False).print(table if documents else "No storage accounts yet.")
    return 0


def _time(key: AccountKey) -> str:
    return datetime.fromtimestamp(key.made_at, UTC).isoformat(timespec="seconds")
