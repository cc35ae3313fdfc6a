"""JSON as all layers call it: what rows hold and what is sent. Alone, so that who needs no database imports none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]


def part(document: Mapping[str, Any], name: str) -> Document:
    """An object in a document; empty where it is missing or null."""
    return document.get(name) or {}
