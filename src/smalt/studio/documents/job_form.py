"""The form for a command job: its fields, and the document that they make."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from smalt.store.document import Document
from smalt.studio.documents.fields import DATA_TYPES, in_file
from smalt.studio.documents.job_written import literal
from smalt.studio.documents.written import Fault, Faulty

LITERAL = "value"
_DIGITS = 9
_TEXTS = ("display_name", "experiment_name", "description", "command", "code", "environment")
_SHOWN = frozenset((
    *_TEXTS, "$schema", "type", "compute", "inputs", "outputs", "tags", "environment_variables", "resources", "limits",
))  # fmt: skip


class Port(NamedTuple):
    name: str
    type: str
    value: str
    mode: str = ""
    asset: str = ""  # of an output: NAME or NAME:VERSION, as which it is registered


def document(fields: Mapping[str, str]) -> Document:
    """What the form says, in the order in which people write such files. Raises Faulty."""
    said = {name: fields.get(name, "").strip() for name in ("display_name", "experiment_name", "description")}
    command = fields.get("command", "").replace("\r\n", "\n").strip()
    rest = _rest(fields)
    count = _count(fields, "instances")
    resources = {**rest.pop("resources", {}), "instance_count": count if count != 1 else 0}
    timeout = _count(fields, "timeout")
    compute = fields.get("compute", "").strip()
    found: Document = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
        "type": "command",
        **said,
        "command": command,
        "code": in_file(fields.get("code", "").strip()),
        "environment": fields.get("environment", "").strip(),
        "compute": f"azureml:{compute.removeprefix('azureml:')}" if compute else "",
        "inputs": {one.name: _given(one) for one in ports(fields, "input")},
        "outputs": {one.name: _made(one) for one in ports(fields, "output")},
        "environment_variables": pairs(fields.get("variables", ""), "variables"),
        "tags": pairs(fields.get("tags", ""), "tags"),
        "resources": {name: value for name, value in resources.items() if value},
        "limits": {"timeout": timeout} if timeout else {},
        **rest,
    }
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def ports(fields: Mapping[str, str], what: str) -> list[Port]:
    """Rows `input-name-N`, `input-type-N`, `input-value-N` and so on, as many as there are."""
    rows = sorted(int(found[1]) for name in fields if (found := re.fullmatch(rf"{what}-name-(\d{{1,3}})", name)))
    found = [
        Port(*(fields.get(f"{what}-{part}-{at}", "").strip() for part in ("name", "type", "value", "mode", "asset")))
        for at in rows
    ]
    return [one for one in found if one.name]


def pairs(text: str, field: str) -> Document:
    """Lines of NAME=VALUE. Raises Faulty."""
    found: Document = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise Faulty([Fault((field,), f"{field}: '{line[:80]}' is not written NAME=VALUE.")])
        found[name.strip()] = value.strip()
    return found


def shown(given: Mapping[str, Any]) -> Document:
    """A document's values as the form has them; `rest` is what the form has no field for."""
    resources, limits = given.get("resources") or {}, given.get("limits") or {}
    return {
        **{name: given.get(name) or "" for name in _TEXTS},
        "compute": str(given.get("compute") or "").removeprefix("azureml:"),
        "inputs": [_shown(name, one) for name, one in (given.get("inputs") or {}).items()],
        "outputs": [_shown(name, one) for name, one in (given.get("outputs") or {}).items()],
        "tags": _lines(given.get("tags") or {}),
        "variables": _lines(given.get("environment_variables") or {}),
        "instances": resources.get("instance_count") or 1,
        "timeout": limits.get("timeout") or "",
        "rest": json.dumps(_unshown(given)),
    }


def _unshown(given: Mapping[str, Any]) -> Document:
    found = {name: value for name, value in given.items() if name not in _SHOWN}
    more = {name: value for name, value in (given.get("resources") or {}).items() if name != "instance_count"}
    return {**found, **({"resources": more} if more else {})}


def _lines(given: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}={'' if value is None else value}" for name, value in given.items())


def _shown(name: str, given: Any) -> Port:
    if not isinstance(given, dict):
        return Port(name, LITERAL, str(given))
    asset = ":".join(str(given[word]) for word in ("name", "version") if given.get(word))  # pyright: ignore
    return Port(
        name, str(given.get("type") or "uri_folder"), str(given.get("path") or ""), str(given.get("mode") or ""), asset
    )  # pyright: ignore


def _given(port: Port) -> Any:
    if port.type not in DATA_TYPES:
        return literal(port.value)
    return {"type": port.type, "path": port.value, **({"mode": port.mode} if port.mode else {})}


def _made(port: Port) -> Document:
    name, _, version = port.asset.partition(":")
    given = {"path": port.value, "mode": port.mode, "name": name, "version": version}
    return {"type": port.type or "uri_folder", **{word: value for word, value in given.items() if value}}


def _count(fields: Mapping[str, str], name: str) -> int:
    given = fields.get(name, "").strip()
    if given and not (given.isdecimal() and len(given) <= _DIGITS):
        raise Faulty([Fault((name,), f"{name}: '{given[:40]}' is not a whole number.")])
    return int(given or 0)


def _rest(fields: Mapping[str, str]) -> Document:
    try:
        found = json.loads(fields.get("rest") or "{}")
    except ValueError:
        return {}
    return _unshown(found) if isinstance(found, dict) else {}  # pyright: ignore
