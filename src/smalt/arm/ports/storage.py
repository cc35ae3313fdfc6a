"""Storage accounts, their keys, and what kinds do with blobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Blobs(Protocol):
    """Storage accounts and what kinds do with blobs. Paths are `account`, `container`, blob name."""

    def ensure_account(self, account: str) -> str:
        """Create it where missing; returns its first key (base64)."""
        ...

    def ensure_container(self, account: str, container: str) -> None: ...

    def path(self, account: str, container: str, blob: str = "") -> Path:
        """The file or folder that a blob or prefix is, for tasks on this machine.

        Raises ArmError(400) if it climbs out.
        """
        ...

    def sas(self, account: str, permissions: str, lifetime_s: float, container: str = "", blob: str = "") -> str:
        """A SAS query string (no `?`): of the account, of one container, or of one blob."""
        ...

    def list(self, account: str, container: str, prefix: str) -> Iterator[tuple[str, int]]:
        """Names and sizes below `prefix`, in order."""
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
