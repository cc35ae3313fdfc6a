"""Steps that are command jobs."""

from __future__ import annotations

from smalt.arm.kind import Document
from smalt.kinds.jobs.pipelines import overrides
from smalt.kinds.jobs.pipelines.settings import Settings
from smalt.kinds.jobs.pipelines.step_type import Component, StepType
from smalt.store.document import part

KEPT = ("command", "code", "environment", "resources", "distribution", "environment_variables")


def _job(component: Component, own: Document, settings: Settings) -> Document:
    return {**overrides.command(component.spec, own), "jobType": "Command"}


def work(properties: Document, ours: Document) -> Document:
    return {
        "command": properties["command"],
        "environment": ours["plan"]["key"],
        "variables": {**part(ours["plan"], "variables"), **part(properties, "environmentVariables")},
        "distribution": part(properties, "distribution"),
        "nodes": part(properties, "resources").get("instanceCount"),
    }


TYPE = StepType("command", component="command", job=_job, kept=KEPT, work=work)
