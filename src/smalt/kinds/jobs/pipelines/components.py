"""A step's component: found by its reference, with its ports, and what of it a step needs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.arm.validation import nearest
from smalt.kinds.assets import references
from smalt.kinds.jobs.pipelines.bindings import document, items
from smalt.kinds.jobs.pipelines.step_type import Component
from smalt.kinds.jobs.pipelines.step_types import TYPES
from smalt.store.document import part

DATA = frozenset({"uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model"})
PRIMITIVE = frozenset({"string", "number", "integer", "boolean"})
_LATER = ("spark", "automl", "data_transfer", "import")
_KEPT = ("name", "type", "is_deterministic", "inputs", "outputs")
_DEFAULT = re.compile(r"/labels/default$|@default$|/versions/azureml_default$", re.IGNORECASE)


def unsupported(type_: str, field: str) -> ArmError:
    if type_ in _LATER:
        known = ", ".join(TYPES)
        message = f"{field}: {type_} steps cannot run on this version of the server yet; it runs: {known}."
        return ArmError(400, "UnsupportedJobType", message, field)
    hint = nearest(type_, [*TYPES, "if_else", "do_while", "parallel_for", *_LATER])
    return invalid(f"{field}: '{type_}' is no type of step.{hint}", field)


def component(connection: Connection, workspace: ResourceId, reference: Any, field: str) -> Component:
    """The component's version that a step names. Raises ArmError(400) for one that is not there or cannot run."""
    if not isinstance(reference, str) or not reference:
        raise invalid(f"{field} is missing: name a component, as azureml:NAME:VERSION.", field)
    row = references.asset(connection, workspace, _DEFAULT.sub("", reference), "components", field)
    whole = part(row.properties, "componentSpec")
    taken = [one for one in TYPES.values() if one.component == str(whole.get("type") or "command")]
    if not taken:
        raise unsupported(str(whole.get("type")), field)
    kept = {*_KEPT, *(key for one in taken for key in one.kept)}
    return Component(row.written, {key: whole[key] for key in whole if key in kept and whole[key] is not None})


def jobs_of(connection: Connection, workspace: ResourceId, reference: str, field: str) -> Document:
    """The steps of a pipeline component, by name. Raises ArmError(400)."""
    row = references.asset(connection, workspace, _DEFAULT.sub("", reference), "components", field)
    return document(part(row.properties, "componentSpec").get("jobs"))


def check_literal(text: str, port: Mapping[str, Any], field: str) -> None:
    """Raises ArmError(400) for a value that is none of the port's type, or outside of what it allows."""
    type_ = str(port.get("type") or "").lower()
    if type_ in DATA:
        raise invalid(f"{field}: it takes files ({type_}), and not the value {text[:80]!r}.", field)
    number = _number(text, type_, field)
    if number is not None and not _limit(port, "min", -math.inf) <= number <= _limit(port, "max", math.inf):
        allowed = f"from {port.get('min', 'any')} to {port.get('max', 'any')}"
        raise invalid(f"{field}: {text} is beyond what the component allows, {allowed}.", field)
    allowed = [str(one) for one in items(port.get("enum"))]
    if allowed and text not in allowed:
        raise invalid(f"{field}: '{text[:80]}' is none of: {', '.join(allowed[:20])}.", field)


def _limit(port: Mapping[str, Any], name: str, default: float) -> float:
    try:
        return float(port.get(name, default))
    except (TypeError, ValueError, OverflowError):
        return default


def _number(text: str, type_: str, field: str) -> float | None:
    """Any number may be an integer's: Azure hands 0.1 on as it is, and pipelines count on it."""
    try:
        if type_ in ("integer", "number"):
            if not math.isfinite(number := float(text)):
                raise ValueError
            return number
        if type_ == "boolean" and text.strip().lower() not in ("true", "false", "1", "0"):
            raise ValueError
    except ValueError:
        raise invalid(f"{field}: {text[:80]!r} is no {type_}.", field) from None
    return None
