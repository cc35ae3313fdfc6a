"""What a sweep that is a step searches, against what its component takes: a value that is none fails each trial."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from smalt.arm.errors import ArmError
from smalt.arm.kind import Document
from smalt.kinds.jobs.pipelines.bindings import document, items
from smalt.kinds.jobs.pipelines.components import check_literal
from smalt.kinds.jobs.pipelines.step_type import Component
from smalt.kinds.jobs.pipelines.sweep_step import ANY


def misfits(said: Document, component: Component, field: str) -> Iterator[ArmError]:
    """`said`: what the step says of its job; `field`: its own. One error at most for each input that is searched."""
    for name, distribution in document(said.get("searchSpace")).items():
        if not (port := document(component.inputs.get(name))):
            continue
        for value in _values(items(distribution)):
            try:
                check_literal(str(value), port, f"{field}.searchSpace.{name}")
            except ArmError as error:
                yield error
                break


def _values(distribution: list[Any]) -> list[Any]:
    """What may be drawn: all that can be chosen, or the ends of a range; nothing where that is not known, or no value.

    What is wrong with the distribution itself is said where the sweep is taken.
    """
    type_, arguments = (distribution[0], items(distribution[1])) if len(distribution) == 2 else ("", [])
    if type_ == "choice" and arguments:
        options = items(arguments[0])
        return [] if options == ANY["values"] else [one for one in options if isinstance(one, str | int | float)]
    if type_ in ("uniform", "quniform"):
        return [one for one in arguments[:2] if isinstance(one, int | float)]
    if type_ == "randint" and arguments and isinstance(arguments[0], int):
        return [0, arguments[0] - 1]
    return []
