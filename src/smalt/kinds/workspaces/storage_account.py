"""Storage accounts as ARM knows them: those of workspaces, and the keys of those that datastores made (without a row).

https://learn.microsoft.com/rest/api/storagerp/storage-accounts
"""

from __future__ import annotations

from typing import Any

from smalt.arm.envelope import timestamp
from smalt.arm.errors import invalid, not_found
from smalt.arm.kind import Action, Document, Request
from smalt.arm.platform import Platform
from smalt.arm.ports import AccountKey
from smalt.kinds.workspaces.supporting import kind, made_at
from smalt.store import pages, resources
from smalt.store.resources import Row


def shown_keys(platform: Platform, account: str) -> list[Document]:
    """Both keys as Azure shows them. Raises ArmError(404)."""
    keys = platform.account_keys.of(account)
    if keys is None:
        raise not_found("Storage account", account)
    return [_shown(one) for one in keys]


def _shown(key: AccountKey) -> Document:
    return {"keyName": key.name, "value": key.value, "permissions": "FULL", "creationTime": timestamp(key.made_at)}


def _list(request: Request, row: Row | None) -> tuple[int, Any]:
    _check_owner(request)
    return 200, {"keys": shown_keys(request.platform, request.id.name.lower())}


def _regenerate(request: Request, row: Row | None) -> tuple[int, Any]:
    """A new key in the place of one: what that has signed is refused from now on."""
    _check_owner(request)
    account, name = request.id.name.lower(), request.body.get("keyName")
    if not isinstance(name, str) or name.lower() not in ("key1", "key2"):
        raise invalid("keyName: this must be key1 or key2.", "keyName")
    request.platform.account_keys.regenerate(account, name)
    return 200, {"keys": shown_keys(request.platform, account)}


def _check_owner(request: Request) -> None:
    """The account is one of a workspace in the resource group that the path names.

    The right to a group goes no further.
    """
    account, group, skip = request.id.name.lower(), request.id.parent, None
    with request.platform.database.read() as connection:
        if resources.get(connection, request.id.key) is not None:
            return
        while True:
            page = pages.page(connection, "workspaces", group.key, most=1000, skip=skip)
            if any(account in (one.status.get("account"), *one.status.get("accounts", ())) for one in page.rows):
                return
            skip = page.skip
            if skip is None:
                raise not_found("Storage account", request.id.name)


def _view(platform: Platform, row: Row) -> Document:
    return {
        "primaryEndpoints": {"blob": f"{platform.settings.account_url(row.name.lower())}/"},
        "primaryLocation": row.spec.get("location"),
        "statusOfPrimary": "available",
        "creationTime": made_at(row),
        "accessTier": "Hot",
        "supportsHttpsTrafficOnly": True,
    }


KIND = kind(
    "storageAccount",
    _view,
    actions={
        "listKeys": Action(_list, needs_row=False, gives_secrets=True),
        "regenerateKey": Action(_regenerate, needs_row=False, gives_secrets=True),
    },
)
