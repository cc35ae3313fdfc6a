"""Keys that open an endpoint: how one is made, and how it looks to who sets one and to the gateway."""

from __future__ import annotations

import re

from smalt.auth.secret_words import new_secret_word

KEY = re.compile(r"[!-~]{1,4096}")
RULE = "a key is 1 to 4096 visible ASCII characters, without spaces"


def new_key() -> str:
    return new_secret_word()
