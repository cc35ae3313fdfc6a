"""Keys that open an endpoint: what one looks like, for who sets one and for the gateway that compares, and how one is made."""

from __future__ import annotations

import re
import secrets

KEY = re.compile(r"[!-~]{1,4096}")
RULE = "a key is 1 to 4096 visible ASCII characters, without spaces"


def new_key() -> str:
    return secrets.token_urlsafe(32)
