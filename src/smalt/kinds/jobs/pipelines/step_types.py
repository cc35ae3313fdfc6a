"""The types of steps that are jobs."""

from __future__ import annotations

from smalt.kinds.jobs.pipelines import command_step, parallel_step, pipeline_step, sweep_step
from smalt.kinds.jobs.pipelines.bindings import document
from smalt.kinds.jobs.pipelines.graph import Step
from smalt.kinds.jobs.pipelines.step_type import Node, StepType

_ALL = (command_step, sweep_step, parallel_step, pipeline_step)
TYPES: dict[str, StepType] = {one.TYPE.name: one.TYPE for one in _ALL}


def type_name(node: Node) -> str:
    """Of a step's document; one of control flow, too."""
    return str(node.get("type") or command_step.TYPE.name)


def type_of(step: Step) -> StepType:
    """Of a step that is a job."""
    return TYPES[step.type]


def is_job(node: Node) -> bool:
    return type_name(document(node)) in TYPES
