"""Shared access signatures: what is signed, in each version of the service, and our own ones.

https://learn.microsoft.com/rest/api/storageservices/create-service-sas and …/create-account-sas. Versions are dates and
compare as text.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

VERSION = "2023-11-03"  # of those that we mint
_OVERRIDES = ("rscc", "rscd", "rsce", "rscl", "rsct")


def sign(key: bytes, text: str) -> str:
    return base64.b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).decode()


def account_text(account: str, query: Mapping[str, str]) -> str:
    """The string to sign of an account SAS (`ss` is present)."""
    parts = [account, *(query.get(name, "") for name in ("sp", "ss", "srt", "st", "se", "sip", "spr", "sv"))]
    if query.get("sv", "") >= "2020-12-06":
        parts.append(query.get("ses", ""))
    return "\n".join(parts) + "\n"


def service_text(account: str, container: str, blob: str, query: Mapping[str, str]) -> str:
    """The string to sign of a service SAS (`sr` is present).

    `c` signs the container, `b` the blob, `bs` a snapshot of it.
    """
    version = query.get("sv", "")
    resource = f"/{account}/{container}"
    if query.get("sr") in ("b", "bs"):
        resource += f"/{blob}"
    if version >= "2015-02-21":
        resource = "/blob" + resource
    names = ["sip", "spr"] if version >= "2015-04-05" else []
    parts = [*(query.get(name, "") for name in ("sp", "st", "se")), resource]
    parts += (query.get(name, "") for name in ("si", *names, "sv"))
    if version >= "2018-11-09":
        parts += [query.get("sr", ""), query.get("snapshot", "") if query.get("sr") == "bs" else ""]
    if version >= "2020-12-06":
        parts.append(query.get("ses", ""))
    if version >= "2013-08-15":
        parts += (query.get(name, "") for name in _OVERRIDES)
    return "\n".join(parts)


def mint_account_sas(key: bytes, account: str, permissions: str, expires_at: float) -> str:
    """A query string (no `?`) for everything in the account that `permissions` allow."""
    query = {"sv": VERSION, "ss": "b", "srt": "sco", "sp": permissions, "se": _time(expires_at)}
    return _query(query, sign(key, account_text(account, query)))


def mint_service_sas(
    key: bytes, account: str, permissions: str, expires_at: float, container: str, blob: str = ""
) -> str:
    """A query string (no `?`) for one container, or one blob of it."""
    query = {"sv": VERSION, "sr": "b" if blob else "c", "sp": permissions, "se": _time(expires_at)}
    return _query(query, sign(key, service_text(account, container, blob, query)))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _query(query: Mapping[str, str], signature: str) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in (*query.items(), ("sig", signature)))
