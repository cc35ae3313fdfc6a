"""Small signed notes that come back to us: identity headers, login codes, session cookies.

A seal is `base64url(JSON).base64url(HMAC-SHA256)`. Everything the reader must know is inside, so nothing is stored; one
key file serves all purposes, and a note sealed for one purpose never opens as another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from smalt.auth.secret_files import keep_secret
from smalt.settings import Settings

LONGEST = 4096


class Sealer:
    """Seals and opens notes of one `purpose`."""

    def __init__(self, settings: Settings, purpose: str) -> None:
        root = keep_secret(settings.secrets / "sealing.key", lambda: secrets.token_bytes(32), bytes)
        self._key = hmac.digest(root, purpose.encode(), hashlib.sha256)

    def seal(self, note: Mapping[str, Any], expires_at: float) -> str:
        """`note` with its end (seconds since the epoch), as URL- and header-safe text."""
        body = _encode(json.dumps({**note, "exp": expires_at}, separators=(",", ":")).encode())
        return f"{body}.{_encode(self._sign(body))}"

    def open(self, sealed: str, now: float) -> dict[str, Any] | None:
        """The note, or None if it was not sealed here for this purpose or is over."""
        body, dot, signature = sealed.partition(".")
        if not dot or len(sealed) > LONGEST or not sealed.isascii():
            return None
        try:
            given = _decode(signature)
        except ValueError:
            return None
        if not hmac.compare_digest(given, self._sign(body)):
            return None
        note: dict[str, Any] = json.loads(_decode(body))
        return note if note["exp"] > now else None

    def _sign(self, body: str) -> bytes:
        return hmac.digest(self._key, body.encode(), hashlib.sha256)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
