"""Which account, container and blob a request means, and which names can exist at all.

Two forms of address: the account as first path segment (`/{account}.blob.{suffix}/{container}/{blob}`, for hosts
without wildcard DNS; there Azure's own suffix is taken too) and as first label of the host
(`{account}.blob.{suffix}[:port]`).

As in Azure a blob's name is what the URL says once it is decoded, with `\\` read as `/` and the segments `.` and `..`
resolved: `./a` and `b/../a` address the blob `a`. All other names are kept as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from smalt.blob.errors import BlobError, invalid_name
from smalt.settings import AZURE_SUFFIX, STORAGE_SUFFIX

MAX_NAME_CHARS = 1024  # Azure's limits
MAX_SEGMENTS = 254
MAX_PATH_BYTES = 3800  # below PATH_MAX, with room for the store's own folders
_DOMAIN = f".blob.{STORAGE_SUFFIX}"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*|\$root|\$logs|\$web")
_DOTS = re.compile(r"(?:^|/)\.\.?(?:/|$)")
_DOMAINS_HERE = (_DOMAIN, f".blob.{AZURE_SUFFIX}")
_DOMAIN_IN_PATH = re.compile(rb"/[A-Za-z0-9-]+(?:%s)(?=/|$)" % "|".join(map(re.escape, _DOMAINS_HERE)).encode())


@dataclass(frozen=True, slots=True)
class Target:
    """What a request addresses. Empty `blob`: the container; empty `container`: the account; `snapshot`: of a blob."""

    account: str
    container: str = ""
    blob: str = ""
    snapshot: str = ""

    @property
    def bucket(self) -> str:
        """The container as the object store knows it."""
        return f"{self.account}/{self.container}"


def is_blob_request(scope: Mapping[str, Any]) -> bool:
    """Whether an ASGI scope is one for the Blob protocol, by path or by Host. Cheap: it runs for every request."""
    if scope["type"] != "http":
        return False
    if names_account(scope.get("raw_path") or scope["path"].encode()):
        return True
    return any(name == b"host" and _account_of_host(value.decode("latin-1")) for name, value in scope["headers"])


def names_account(raw_path: bytes) -> bool:
    """Whether the account is the path's first segment."""
    return _DOMAIN_IN_PATH.match(raw_path) is not None


def parse_target(raw_path: str, host: str) -> Target:
    """The target of a still percent-encoded path. Raises BlobError(400) for what cannot be an address."""
    account = _account_of_host(host)
    first, _, rest = raw_path.lstrip("/").partition("/")
    if not account:
        account = first.split(".", 1)[0]
        if not first.endswith(_DOMAINS_HERE) or not account:
            raise invalid_name(
                f"The URL names no storage account: expected /{{account}}{_DOMAIN}/{{container}}/{{blob}}."
            )
        first, _, rest = rest.partition("/")
    if not _ACCOUNT.fullmatch(account):
        raise invalid_name(f"The account name '{account}' is not valid: 3 to 24 lower-case letters and digits.")
    return Target(account, _decode(first), _resolved(_decode(rest)))


def domain_of(account: str) -> str:
    """The host under which an account is addressed where the path does not name it."""
    return account + _DOMAIN


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
    segments = name.split("/")
    if len(segments) > MAX_SEGMENTS:
        return f"it has more than {MAX_SEGMENTS} path segments"
    if "." in segments or ".." in segments:
        return "it has a path segment '.' or '..', which no URL can carry"
    return ""


def check_blob(name: str) -> None:
    """Raises BlobError(400) saying why a blob of this name cannot be stored."""
    if fault := blob_name_fault(name):
        raise refused_name(name, fault)


def prefix_fault(prefix: str) -> str:
    """Why no blob can have a name that begins so, or an empty string."""
    return blob_name_fault(prefix + "x") if prefix.endswith("/") else blob_name_fault(prefix)


def refused_name(name: str, fault: str) -> BlobError:
    return invalid_name(f"The blob name '{name[:80]}' is not possible: {fault}.")


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


def _resolved(name: str) -> str:
    """Raises BlobError(400) for a name that climbs out of its container."""
    name = name.replace("\\", "/")
    if "." not in name or not _DOTS.search(name):
        return name
    kept: list[str] = []
    for segment in name.split("/"):
        if segment == "..":
            if not kept:
                raise BlobError(400, "InvalidUri", "The requested URI climbs out of its container.")
            kept.pop()
        elif segment != ".":
            kept.append(segment)
    folder = name.rpartition("/")[2] in (".", "..") and kept
    return "/".join(kept) + ("/" if folder else "")
