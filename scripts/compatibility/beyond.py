"""Rows that need what the platform does not have yet: they must be refused with a clear error, at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import azure.ai.ml as sdk
from azure.ai.ml import MLClient
from azure.ai.ml.entities import _load_functions as loading


def attempt(client: MLClient, kind: str, path: Path, settings: Mapping[str, str]) -> None:
    """Submit as the kind is submitted, with `settings` (key to value) over what the file says; raises what the client raises."""
    if kind.endswith("-job"):
        client.jobs.create_or_update(sdk.load_job(path, params_override=[dict(settings)] if settings else None))
    elif kind == "batch-endpoint":
        client.batch_endpoints.begin_create_or_update(sdk.load_batch_endpoint(path)).result()
    elif kind == "batch-deployment":
        pipeline = "\ntype: pipeline" in f"\n{path.read_text()}"
        load = loading.load_pipeline_component_batch_deployment if pipeline else loading.load_model_batch_deployment
        client.batch_deployments.begin_create_or_update(load(path)).result()
    else:
        raise NotImplementedError(f"no way to submit a {kind}")
