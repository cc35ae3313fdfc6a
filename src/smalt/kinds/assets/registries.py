"""Registries as assets know them: found by name or by storage account, and the ids of what is in them.

A registry's name is its own on the whole server, and so is its storage account, which follows from it: whoever has one
of the two finds the row by one look at an index. What is in a registry is there to be read from everywhere; who may
write there is decided by its id, as everywhere else (`auth/access.py`).
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote

from sqlalchemy import Connection

from smalt.arm.ids import NotAnId, ResourceId
from smalt.settings import STORAGE_SUFFIX
from smalt.store import resources
from smalt.store.resources import Row

PATH = "registries"
SHIPPED = "azureml"  # Azure's public registry, of which each workspace has the environments that are shipped
_ACCOUNT = "smaltr"


def account_of(name: str) -> str:
    """The storage account of the registry of this name."""
    return _ACCOUNT + hashlib.sha256(name.lower().encode()).hexdigest()[:18]


def named(connection: Connection, name: str) -> Row | None:
    return next(iter(resources.by_lookup(connection, PATH, account_of(name), 1)), None)


def owns(connection: Connection, account: str) -> bool:
    """Whether the storage account is a registry's."""
    return account.startswith(_ACCOUNT) and bool(resources.by_lookup(connection, PATH, account, 1))


def shown_id(written: str) -> str:
    """The id of an asset as clients know it: `azureml://registries/R/TYPE/NAME[/versions/V]` in a registry."""
    try:
        id_ = ResourceId.parse(written)
        home = id_.home
    except NotAnId:
        return written
    if home.kind != PATH or id_ == home:
        return written
    below = "".join(f"/{type_}/{name}" for type_, name in id_.path[1:])
    return f"azureml://registries/{home.name}{below}"


def files_uri(account: str, container: str, path: str) -> str:
    """Where files of a registry are, as its assets say it: clients read container and path from it."""
    return f"https://{account}.blob.{STORAGE_SUFFIX}/{quote(f'{container}/{path}')}"
