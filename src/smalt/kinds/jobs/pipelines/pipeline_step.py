"""Steps that are pipelines of their own."""

from __future__ import annotations

from smalt.arm.kind import Document
from smalt.kinds.jobs.pipelines.settings import Settings
from smalt.kinds.jobs.pipelines.step_type import Component, StepType

PIPELINE = "pipeline"


def _job(component: Component, own: Document, settings: Settings) -> Document:
    kept = {key: own[key] for key in ("tags", "properties", "description", "identity") if key in own}
    return {**kept, "jobType": "Pipeline", "settings": settings.inherited(not component.deterministic)}


TYPE = StepType(PIPELINE, component=PIPELINE, job=_job, completes=True)
