"""Bindings in a pipeline's document: `${{parent.inputs.x}}`, `${{parent.jobs.train.outputs.model}}` and the like."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from smalt.arm.errors import invalid
from smalt.arm.kind import Document

_EXPRESSION = re.compile(r"\$\{\{\s*(parent\b[^{}]*?)\s*\}\}")
_BELOW = re.compile(r"(\$\{\{\s*parent\b[^{}]*\}\})/+(.+)", re.DOTALL)
_FORMS = "${{parent.inputs.NAME}} or ${{parent.jobs.STEP.outputs.NAME}}"


@dataclass(frozen=True)
class Binding:
    """What an expression leads to: an input or output of the pipeline, an output of a step, or a step itself."""

    kind: Literal["input", "output", "step output", "step"]
    name: str
    step: str = ""


def binding(text: Any, field: str) -> Binding | None:
    """What a value is bound to that is one expression and nothing else; None: it is not.

    Raises ArmError(400) for an expression that leads nowhere.
    """
    found = _EXPRESSION.fullmatch(text.strip()) if isinstance(text, str) else None
    return _parsed(found[1], field) if found else None


def below(text: Any, field: str) -> tuple[Binding, str] | None:
    """Of `${{parent.inputs.folder}}/path`: the binding, and the path; None: another text. Raises ArmError(400)."""
    found = _BELOW.fullmatch(text.strip()) if isinstance(text, str) else None
    bound = binding(found[1], field) if found else None
    return (bound, found[2]) if found and bound else None


def bindings(text: Any, field: str) -> list[Binding]:
    """All expressions in a text. Raises ArmError(400)."""
    return [_parsed(one, field) for one in _EXPRESSION.findall(text)] if isinstance(text, str) else []


def _parsed(expression: str, field: str) -> Binding:
    parts = expression.split(".")
    if len(parts) > 2 and parts[:2] == ["parent", "inputs"]:
        return Binding("input", ".".join(parts[2:]))
    if len(parts) > 2 and parts[:2] == ["parent", "outputs"]:
        return Binding("output", ".".join(parts[2:]))
    if len(parts) > 4 and parts[:2] == ["parent", "jobs"] and parts[3] == "outputs":
        return Binding("step output", ".".join(parts[4:]), parts[2])
    if len(parts) == 3 and parts[:2] == ["parent", "jobs"]:
        return Binding("step", parts[2], parts[2])
    raise invalid(f"{field}: '${{{{{expression[:100]}}}}}' leads to nothing; write {_FORMS}.", field)


def document(value: Any) -> Document:
    """An object of JSON; empty where it is anything else."""
    return cast("Document", value) if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """A list of JSON; empty where it is anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def filled(value: Any, known: Callable[[Binding], str], field: str) -> Any:
    """`value`, at any depth, with each expression replaced by what `known` says. Raises ArmError(400)."""
    if isinstance(value, str):
        return _EXPRESSION.sub(lambda found: known(_parsed(found[1], field)), value)
    if isinstance(value, dict):
        return {key: filled(one, known, f"{field}.{key}") for key, one in document(value).items()}
    if isinstance(value, list):
        return [filled(one, known, field) for one in items(value)]
    return value
