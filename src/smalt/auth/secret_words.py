"""Secrets that people type and pass to commands: client secrets, keys of endpoints."""

from __future__ import annotations

import secrets


def new_secret_word() -> str:
    """As random as 32 bytes. It begins with no `-`: `az login -p SECRET` would take that for an option."""
    while (word := secrets.token_urlsafe(32)).startswith("-"):
        pass
    return word
