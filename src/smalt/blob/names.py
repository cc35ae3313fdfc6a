"""Which account, container and blob a request means, and which names can exist at all.

Two forms of address: the account as first path segment (`/{account}.blob.{suffix}/{container}/{blob}`, for hosts without
wildcard DNS) and as first label of the host (`{account}.blob.{suffix}[:port]`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from smalt.blob.errors import BlobError, invalid_name
from smalt.settings import STORAGE_SUFFIX

MAX_COMPONENT_BYTES = 255  # what a file system stores in one directory entry
MAX_NAME_CHARS = 1024  # Azure's limit
MAX_PATH_BYTES = 3800  # below PATH_MAX, with room for the store's own folders
_DOMAIN = f".blob.{STORAGE_SUFFIX}"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*|\$root|\$logs|\$web")
_DOMAIN_IN_PATH = re.compile(rb"/[A-Za-z0-9-]+" + re.escape(_DOMAIN).encode() + rb"(?=/|$)")


@dataclass(frozen=True, slots=True)
class Target:
    """What a request addresses. Empty `blob`: the container; empty `container`: the account."""

    account: str
    container: str = ""
    blob: str = ""

    @property
    def bucket(self) -> str:
        """The container as the object store knows it."""
        return f"{self.account}/{self.container}"


def is_blob_request(scope: Mapping[str, Any]) -> bool:
    """Whether an ASGI scope is one for the Blob protocol, by path or by Host. Cheap: it runs for every request."""
    if scope["type"] != "http":
        return False
    if _DOMAIN_IN_PATH.match(scope.get("raw_path") or scope["path"].encode()):
        return True
    return any(name == b"host" and _account_of_host(value.decode("latin-1")) for name, value in scope["headers"])


def parse_target(raw_path: str, host: str) -> Target:
    """The target of a still percent-encoded path. Raises BlobError(400) for what cannot be an address."""
    account = _account_of_host(host)
    first, _, rest = raw_path.lstrip("/").partition("/")
    if not account:
        account = first.split(".", 1)[0]
        if not first.endswith(_DOMAIN) or not account:
            raise invalid_name(
                f"The URL names no storage account: expected /{{account}}{_DOMAIN}/{{container}}/{{blob}}."
            )
        first, _, rest = rest.partition("/")
    if not _ACCOUNT.fullmatch(account):
        raise invalid_name(f"The account name '{account}' is not valid: 3 to 24 lower-case letters and digits.")
    container, blob = _decode(first), _decode(rest)
    return Target(account, container, blob)


def signed_names(account: str) -> tuple[str, str]:
    """The names under which clients sign: with path-style URLs they take the whole first segment for the account."""
    return account, account + _DOMAIN


def check_account(account: str) -> None:
    if not _ACCOUNT.fullmatch(account):
        raise invalid_name(f"The account name '{account}' is not valid: 3 to 24 lower-case letters and digits.")


def check_container(container: str) -> None:
    if not _CONTAINER.fullmatch(container):
        raise invalid_name(
            f"The container name '{container}' is not valid: 3 to 63 lower-case letters, digits and single dashes."
        )


def blob_name_fault(name: str) -> str:
    """Why `name` cannot be a blob here, or an empty string."""
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME_CHARS:
        return f"it is longer than {MAX_NAME_CHARS} characters"
    if "\0" in name:
        return "it contains a NUL character"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if size > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    for part in name.split("/"):
        if part in {"", ".", ".."}:
            return f"it has the path segment '{part}', which cannot be stored"
        if len(part) > 63 and len(part.encode()) > MAX_COMPONENT_BYTES:
            return f"it has a path segment of over {MAX_COMPONENT_BYTES} bytes"
    return ""


def check_blob(name: str) -> None:
    """Raises BlobError(400) saying why a blob of this name cannot be stored."""
    if fault := blob_name_fault(name):
        raise invalid_name(f"The blob name '{name[:80]}' is not possible: {fault}.")


def _account_of_host(host: str) -> str:
    name = host.partition(":")[0].lower()
    return name[: -len(_DOMAIN)] if name.endswith(_DOMAIN) and len(name) > len(_DOMAIN) else ""


def _decode(part: str) -> str:
    if "%" not in part and part.isascii():
        return part
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise BlobError(400, "InvalidUri", "The requested URI does not represent any resource: not UTF-8.") from None
