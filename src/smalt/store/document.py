"""JSON as all layers call it: what rows hold and what is sent. Alone, so that who needs no database imports none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Document = dict[str, Any]


def part(document: Mapping[str, Any], name: str) -> Document:
    """An object in a document; empty where it is missing or null."""
    return document.get(name) or {}


def bits(provenance: Mapping[str, Any]) -> Document:
    """What says of which bits a job is made: without its name, and of its inputs no names of files nor their times."""
    inputs: Document = {}
    for name, one in part(provenance, "inputs").items():
        content = part(one, "content")
        inputs[name] = {**one, "content": {key: content.get(key) for key in ("files", "bytes", "digest")}}
    return {**provenance, "inputs": inputs, "job": None}


def differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two documents differ, with what each has there; None: nothing."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield from differences(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))  # pyright: ignore
    elif one != other:
        yield path, one, other
