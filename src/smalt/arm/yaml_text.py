"""YAML that users have written, without what could grow: an alias stands for any amount of what is written once."""

from __future__ import annotations

from typing import Any, cast

import yaml

NO_ALIASES = "has YAML aliases, which can grow without bounds; write the entries out"


class HasAliases(ValueError):
    """Says so in words that follow the name of what was read."""

    def __init__(self) -> None:
        super().__init__(NO_ALIASES)


def read_yaml(text: str | bytes) -> Any:
    """What it says. Raises HasAliases; yaml.YAMLError; ValueError and RecursionError, as for a date that is none."""
    written = text.encode() if isinstance(text, str) else text
    if b"&" in written and any(
        isinstance(one, yaml.AliasEvent) for one in cast("Any", yaml).parse(text, yaml.SafeLoader)
    ):
        raise HasAliases
    return yaml.safe_load(text)
