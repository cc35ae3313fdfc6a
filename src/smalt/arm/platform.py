"""All that a kind can reach, in one frozen value that `app.py` fills: nothing is global, nothing is looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smalt.arm.audit import Audit
from smalt.arm.hub import Hub
from smalt.arm.ports import (
    AccountKeys,
    Blobs,
    Engine,
    Environments,
    Gateway,
    Grants,
    IdentityHeaders,
    MlflowModels,
    NodeProvider,
    Tokens,
    Tracking,
)
from smalt.settings import Settings
from smalt.store.database import Database
from smalt.store.sealed import Secrets
from smalt.store.servers import Servers


@dataclass(frozen=True)
class Platform:
    """`clock` gives seconds since the epoch; `hub` tells requests and the loop that something changed."""

    settings: Settings
    database: Database
    clock: Callable[[], float]
    hub: Hub
    engine: Engine
    environments: Environments
    blobs: Blobs
    tracking: Tracking
    models: MlflowModels
    gateway: Gateway
    tokens: Tokens
    identity_headers: IdentityHeaders
    secrets: Secrets
    account_keys: AccountKeys
    grants: Grants
    audit: Audit
    servers: Servers
    ray: NodeProvider
