"""What the types of steps that are jobs have in common, and how they differ: which component, which job, which inputs.

A type is one file beside this one and one entry in `step_types.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.kinds.jobs.pipelines import overrides
from smalt.kinds.jobs.pipelines.bindings import document
from smalt.kinds.jobs.pipelines.settings import Settings

Node = Mapping[str, Any]  # a step, as the pipeline's document has it
IsUnknown = Callable[[Any], bool]  # whether a value, at any depth, is not known yet


@dataclass(frozen=True)
class Component:
    """`id`: with its version; `spec`: YAML's, what a step needs of it."""

    id: str
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its own, where it is one of the many versions without a name of their container."""
        return str(self.spec.get("name") or ResourceId.parse(self.id).parent.name)

    @property
    def type(self) -> str:
        return str(self.spec.get("type") or "command")

    @property
    def inputs(self) -> Document:
        return document(self.spec.get("inputs"))

    @property
    def outputs(self) -> Document:
        return document(self.spec.get("outputs"))

    @property
    def deterministic(self) -> bool:
        """Whether the same inputs give the same outputs; so it is unless somebody says that it is not."""
        return str(self.spec.get("is_deterministic")).lower() != "false"


@dataclass(frozen=True)
class StepType:
    """One type of step that is a job.

    - `name`: as steps' documents have it. `component`: the type of the components that it takes.
    - `job`: the properties of its job, from the component, what the step says (`said`), and the pipeline's settings;
      the rest, which all types have alike, is added (`children.properties`).
    - `kept`: what of the component's specification `job` needs, besides its ports.
    - `reference`: where the step's document names the component.
    - `given`: what the step's document says of its job, as it is written there; `said`: that, with bindings filled in,
      as properties of a job. It may raise ArmError(400), and is told the step's field.
    - `known`: what is left of `given` before all that it is bound to is known; the least that can be admitted.
    - `elsewhere`: the inputs that have their values from elsewhere than the step's `inputs`.
    - `completes`: its job checks and completes the inputs itself, those that its component does not declare, too.
    - `work`: what of its job decides what the outputs are, besides inputs and the code's content, from the job's
      properties and the spec's own part; None: its steps are not reused as a whole.
    - `spelled`: fields of its job as the step's document has them, for errors.
    """

    name: str
    component: str
    job: Callable[[Component, Document, Settings], Document]
    kept: tuple[str, ...] = ()
    reference: tuple[str, ...] = ("componentId",)
    given: Callable[[Node], Document] = overrides.given
    said: Callable[[Document, str], Document] = lambda given, field: overrides.settings(given)
    known: Callable[[Document, IsUnknown], Document] = lambda given, is_unknown: overrides.known(given, is_unknown)
    elsewhere: Callable[[Node], Collection[str]] = lambda node: ()
    completes: bool = False
    work: Callable[[Document, Document], Document] | None = None
    spelled: Mapping[str, str] = field(default_factory=dict[str, str])

    def component_of(self, node: Node) -> Any:
        found: Any = node
        for key in self.reference:
            found = document(found).get(key)
        return found
