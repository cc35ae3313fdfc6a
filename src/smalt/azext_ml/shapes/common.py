"""From the server's documents to those that the SDK's YAML has: `entity._to_dict()` without the SDK.

What is not known here is no guess: `Unshaped` is raised, and the command asks the SDK, which takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_VERSIONED = re.compile(r".*/workspaces/([^/]+)/([^/]+)/([^/]+)(?:/versions/([^/]+))?", re.IGNORECASE)
_SHARED = re.compile(r"azureml://registries/([^/]+)/([^/]+)/([^/]+)(?:/versions/([^/]+))?", re.IGNORECASE)


class Unshaped(Exception):
    """A document has something that only the SDK knows how to print."""


class Fields:
    """The keys of a document, taken one by one: what is left at the end is unknown."""

    def __init__(self, document: Mapping[str, Any] | None) -> None:
        self._left = {key: value for key, value in (document or {}).items() if value is not None}

    def take(self, name: str, default: Any = None) -> Any:
        return self._left.pop(name, default)

    def snake(self, *names: str) -> dict[str, Any]:
        """Those of them that are there, unchanged, in the SDK's spelling."""
        return {snake(name): self._left.pop(name) for name in names if name in self._left}

    def drop(self, *names: str) -> None:
        for name in names:
            self._left.pop(name, None)

    def end(self) -> None:
        """Raises Unshaped where something is left."""
        if self._left:
            raise Unshaped(", ".join(self._left))


@dataclass(frozen=True)
class Where:
    """Whose documents they are: ids of the same workspace are printed short; `tenant` goes into links to a Studio."""

    workspace: str
    tenant: str = ""


def printed(**values: Any) -> dict[str, Any]:
    """Without what is None."""
    return {name: value for name, value in values.items() if value is not None}


def snake(text: str) -> str:
    return _CAMEL.sub("_", text).lower()


def lowered(text: str | None) -> str | None:
    """A value of an enumeration, as YAML has it: SystemAssigned is system_assigned."""
    return None if text is None else snake(text)


def seconds(duration: str | None) -> int | None:
    """PT1H30M is 5400. Raises Unshaped for what is no such time."""
    if duration is None:
        return None
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise Unshaped(duration)
    days, hours, minutes, rest = (float(one or 0) for one in found.groups())
    return int(((days * 24 + hours) * 60 + minutes) * 60 + rest)


def creation_context(system: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if system is None:
        return None
    return printed(
        created_at=_moment(system.get("createdAt")),
        created_by=system.get("createdBy"),
        created_by_type=system.get("createdByType"),
        last_modified_at=_moment(system.get("lastModifiedAt")),
        last_modified_by=system.get("lastModifiedBy"),
        last_modified_by_type=system.get("lastModifiedByType"),
    )


def _moment(text: str | None) -> str | None:
    return datetime.fromisoformat(text).isoformat() if text else None


def arm(identity: str | None) -> str | None:
    """An id as the SDK prints it, in full. Those of registries begin so."""
    if identity and _SHARED.fullmatch(identity):
        return identity
    return f"azureml:{identity}" if identity else None


def short(reference: str | None, where: Where) -> str | None:
    """`azureml:NAME` or `azureml:NAME:VERSION` for an id of this workspace, else the id in full."""
    if not reference:
        return None
    if not (found := _VERSIONED.fullmatch(reference)):
        return reference if reference.startswith(("azureml:", "local")) or "/" not in reference else arm(reference)
    workspace, _, name, version = found.groups()
    if workspace.lower() != where.workspace.lower():
        return arm(reference)
    return f"azureml:{name}:{version}" if version else f"azureml:{name}"


def names(identity: str) -> tuple[str, str | None]:
    """Name and version in the id of an asset; a container has no version."""
    found = _VERSIONED.fullmatch(identity) or _SHARED.fullmatch(identity)
    assert found is not None
    return found.group(3), found.group(4)


def identity(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Of an endpoint, a compute or a workspace."""
    if document is None or document.get("type") in (None, "None"):
        return None
    left = Fields(document)
    kind, users = left.take("type"), left.take("userAssignedIdentities")
    shown = printed(type=lowered(kind), **left.snake("principalId", "tenantId"))
    left.end()
    if users:
        shown["user_assigned_identities"] = [
            printed(resource_id=key, **Fields(value).snake("principalId", "clientId")) for key, value in users.items()
        ]
    return shown
