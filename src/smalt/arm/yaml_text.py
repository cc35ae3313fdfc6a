"""YAML that users have written, without what could grow: an alias stands for any amount of what is written once."""

from __future__ import annotations

from typing import Any, cast

import yaml

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, and its nesting has an end
NO_ALIASES = "has YAML aliases, which can grow without bounds; write the entries out"


class HasAliases(ValueError):
    """Says so in words that follow the name of what was read."""

    def __init__(self) -> None:
        super().__init__(NO_ALIASES)


def read_yaml(text: str | bytes) -> Any:
    """What it says. Raises HasAliases; yaml.YAMLError; ValueError and RecursionError, as for a date that is none."""
    return read_nodes(text)[0]


def read_nodes(text: str | bytes) -> tuple[Any, Any]:
    """As `read_yaml`, and the nodes that it is made of, which know their lines; None for an empty document."""
    written = text.encode() if isinstance(text, str) else text
    if b"&" in written and any(isinstance(one, yaml.AliasEvent) for one in cast("Any", yaml).parse(text, Loader)):
        raise HasAliases
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), node
    finally:
        loader.dispose()
