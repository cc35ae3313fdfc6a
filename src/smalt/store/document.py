"""JSON as all layers call it: what rows hold and what is sent. Alone, so that who needs no database imports none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Document = dict[str, Any]


def part(document: Mapping[str, Any], name: str) -> Document:
    """An object in a document; empty where it is missing or null."""
    return document.get(name) or {}


def differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two documents differ, with what each has there; None: nothing."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield from differences(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))  # pyright: ignore
    elif one != other:
        yield path, one, other
