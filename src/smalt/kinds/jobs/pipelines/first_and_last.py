"""`settings.on_init` and `settings.on_finalize`: a step before all others, and one after them, however they ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from smalt.arm.errors import ArmError, invalid
from smalt.arm.validation import nearest
from smalt.kinds.jobs.pipelines.graph import Graph, Step
from smalt.kinds.jobs.pipelines.settings import FIELD, Settings


def arranged(graph: Graph, settings: Settings) -> Graph:
    """The graph, with the first step before all others and the last one marked. Raises ArmError(400)."""
    if error := next(_wrong(graph, settings), None):
        raise error
    first, last = settings.on_init, settings.on_finalize
    between = [
        replace(step, after={**step.after, first: True}) if first and not step.loop else step
        for step in graph.steps
        if step.name not in (first, last)
    ]
    begin = [graph.by_name[first]] if first else []
    end = [replace(graph.by_name[last], last=True)] if last else []
    return Graph((*begin, *between, *end), graph.components)


def _wrong(graph: Graph, settings: Settings) -> Iterator[ArmError]:
    asked = {"on_init": settings.on_init, "on_finalize": settings.on_finalize}
    given = {f"{FIELD}.{key}": name for key, name in asked.items() if name}
    for field, name in given.items():
        step = graph.by_name.get(name)
        if step is None:
            hint = nearest(name, list(graph.by_name))
            yield invalid(f"{field}: the pipeline has no step '{name}'.{hint}", field)
        elif why := _bound(graph, step):
            yield invalid(f"{field}: step '{name}' {why}; it stands by itself.", field)
    if len(given) == 2 and len(set(given.values())) == 1:
        yield invalid(f"{FIELD}.on_finalize: '{settings.on_finalize}' is on_init already.", f"{FIELD}.on_finalize")
    if given and not {step.name for step in graph.steps} - set(given.values()):
        field = next(iter(given))
        yield invalid(f"{field}: the pipeline has no other step.", field)


def _bound(graph: Graph, step: Step) -> str:
    """What makes a step one among the others; empty: nothing."""
    if not step.is_job:
        return f"is {step.type}, and no job"
    if step.loop or step.when is not None:
        return f"is ruled by '{step.loop or (step.when or ('',))[0]}'"
    if step.after:
        return f"needs step '{next(iter(step.after))}'"
    needing = next((one.name for one in graph.steps if step.name in one.after), "")
    return f"is needed by step '{needing}'" if needing else ""
