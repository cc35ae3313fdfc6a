"""A pipeline as a graph: its steps in an order in which they can run, each with all that it needs to be submitted.

It is made when the pipeline is taken (`compiler.py`), and kept in the job's own part of the spec: what runs later does
not depend on what is latest by then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from smalt.arm.kind import Document
from smalt.kinds.jobs.pipelines.step_type import Component
from smalt.store.resources import Row

GRAPH = "graph"  # in a spec's own part
REHEARSED = "rehearsed"  # of an input that is a value: what it will be is not known yet
IF_ELSE, DO_WHILE, PARALLEL_FOR = "if_else", "do_while", "parallel_for"
LOOPS = (DO_WHILE, PARALLEL_FOR)


@dataclass(frozen=True)
class Step:
    """One entry of a pipeline's `jobs`.

    - `type`: one of those that are jobs (`step_types.py`), or of control flow, which the pipeline itself decides.
    - `component`: the id of its version. `settings`: properties of its job that the pipeline's document gives.
    - `inputs`, by port: {"value"}, {"uri", "type", "mode"} or {"step", "output", "type", "mode"}; while a pipeline
      above is being rehearsed also {"value", "rehearsed"}.
    - `outputs`, by port: {"type", "mode", "uri", "assetName", "assetVersion", "to"}; `to`: the pipeline's own output.
    - `after`: the steps that have to come to an end before it; True: it cannot be without what they make.
    - `when`: the name of an if_else and the answer it needs. `loop`: whose body it is. `control`: what control flow
      has to know: `condition`, `body`, `mapping`, `most`, `items`.
    - `last`: it runs when all others have ended, however they did.
    """

    name: str
    type: str
    component: str = ""
    display: str = ""
    inputs: Document = field(default_factory=dict[str, Any])
    outputs: Document = field(default_factory=dict[str, Any])
    settings: Document = field(default_factory=dict[str, Any])
    after: dict[str, bool] = field(default_factory=dict[str, bool])
    when: tuple[str, bool] | None = None
    loop: str = ""
    control: Document = field(default_factory=dict[str, Any])
    last: bool = False

    @property
    def is_job(self) -> bool:
        return bool(self.component)


@dataclass(frozen=True)
class Graph:
    """`steps` in an order in which each comes after those that it waits for; `components` by id."""

    steps: tuple[Step, ...]
    components: Mapping[str, Document]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        return cls(tuple(_read(one) for one in document["steps"]), document["components"])

    def document(self) -> Document:
        return {
            "steps": [{key: value for key, value in asdict(step).items() if value} for step in self.steps],
            "components": dict(self.components),
        }

    @cached_property
    def by_name(self) -> Mapping[str, Step]:
        return {step.name: step for step in self.steps}

    @cached_property
    def at(self) -> Mapping[str, int]:
        return {step.name: index for index, step in enumerate(self.steps)}

    def component(self, step: Step) -> Component:
        return Component(step.component, self.components[step.component])


def _read(one: Document) -> Step:
    step = Step(**one)
    return replace(step, when=(step.when[0], step.when[1])) if step.when is not None else step


def child_name(pipeline: Row, step: str, turn: int = 0) -> str:
    """The job that a step is: a GUID, as in Azure, that is the same whenever it is asked for.

    `turn` counts the rounds of a loop.
    """
    digest = hashlib.sha256(f"{pipeline.id}|{pipeline.created_at!r}|{step}|{turn}".encode()).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
