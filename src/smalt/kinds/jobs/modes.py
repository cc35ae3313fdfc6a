"""The modes of inputs and outputs that say none: shown as Azure shows them, and not kept.

The mode of a pipeline's output outweighs its component's, so what is kept, and runs, is what was asked for. Clients
send back what they were shown under a new name, too: there the default says nothing against a component's mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from smalt.arm.kind import Document
from smalt.kinds.jobs.model import MODES
from smalt.store.document import part

_DEFAULTS = (("inputs", "jobInputType", "ReadOnlyMount"), ("outputs", "jobOutputType", "ReadWriteMount"))


def shown(kept: Mapping[str, Any]) -> Document:
    """The properties of a job, with the mode of each input and output that says none."""
    result = dict(kept)
    for name, type_, mode in _DEFAULTS:
        if isinstance(kept.get(name), dict):
            result[name] = {key: _shown(one, type_, mode) for key, one in kept[name].items()}
    return result


def without_shown(given: Mapping[str, Any], kept: Mapping[str, Any]) -> Document:
    """What a client sends back of what it has read (to disable a schedule, say), as it was kept."""
    result = dict(given)
    for name, type_, mode in _DEFAULTS:
        if isinstance(given.get(name), dict):
            was = part(kept, name)
            result[name] = {key: _without(one, was.get(key), type_, mode) for key, one in given[name].items()}
    return result


def outweighing(output: Mapping[str, Any]) -> str | None:
    """The mode of a pipeline's output, where it is none that is shown of what says none."""
    mode = output.get("mode")
    return None if MODES.get(str(mode).lower()) == "rw_mount" else mode


def _shown(given: Any, type_: str, mode: str) -> Any:
    if not isinstance(given, dict):
        return given
    one = cast("Document", given)
    return one if one.get("mode") or one.get(type_) in (None, "literal", "mltable") else {**one, "mode": mode}


def _without(given: Any, kept: Any, type_: str, mode: str) -> Any:
    if not isinstance(given, dict):
        return given
    one = cast("Document", given)
    was_added = one.get("mode") == mode and _shown(kept, type_, mode) is not kept
    return {key: value for key, value in one.items() if key != "mode"} if was_added else one
