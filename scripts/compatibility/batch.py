"""Rows that are batch deployments: created behind an endpoint, made its default, and asked with upstream's own data."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from azure.ai.ml import Input, MLClient, Output
from azure.ai.ml.entities import BatchEndpoint
from azure.ai.ml.entities import _load_functions as loading

from compatibility.runs import NotCompleted


def run_batch_deployment(client: MLClient, path: Path, endpoint: str) -> str:
    """Deploy, ask, stream, list, download, delete; the first lines of the scores, or the names of what was downloaded."""
    pipeline = "\ntype: pipeline" in f"\n{path.read_text()}"
    load = loading.load_pipeline_component_batch_deployment if pipeline else loading.load_model_batch_deployment
    client.batch_endpoints.begin_create_or_update(BatchEndpoint(name=endpoint)).result()
    try:
        deployment: Any = load(path)
        deployment.endpoint_name = endpoint
        client.batch_deployments.begin_create_or_update(deployment).result()
        site: Any = client.batch_endpoints.get(endpoint)
        site.defaults.deployment_name = deployment.name
        client.batch_endpoints.begin_create_or_update(site).result()
        return _ask(client, endpoint, deployment.name, _data(path, pipeline))
    finally:
        client.batch_endpoints.begin_delete(endpoint).result()


def _ask(client: MLClient, endpoint: str, deployment: str, data: dict[str, Any]) -> str:
    job: Any = client.batch_endpoints.invoke(endpoint_name=endpoint, **data)
    client.jobs.stream(str(job.name))
    status = client.jobs.get(str(job.name)).status
    if status != "Completed":
        raise NotCompleted(f"the job {job.name} is {status}")
    if job.name not in {one.name for one in client.batch_deployments.list_jobs(endpoint, name=deployment)}:
        raise NotCompleted(f"the job {job.name} is not in the deployment's list")
    done: Any = client.jobs.get(str(job.name))
    with tempfile.TemporaryDirectory() as folder:
        outputs: dict[str, Any] = done.outputs
        for name, one in outputs.items():
            if "model" not in str(one.type):  # the client itself cannot download those, from no service
                client.jobs.download(str(job.name), download_path=folder, output_name=name)
        files = sorted(one for one in Path(folder).rglob("*") if one.is_file())
        if not files:
            raise NotCompleted(f"the download of {', '.join(done.outputs)} holds no file")
        return "\n".join([*map(str, files), files[-1].read_text(errors="replace")[:500]])


def _data(path: Path, pipeline: bool) -> dict[str, Any]:
    """What upstream's script beside it passes to `invoke`."""
    if not pipeline:
        return {"input": Input(type="uri_folder", path=str(path.parents[1] / "data"))}
    top = path.parent if (path.parent / "inputs.yml").exists() else path.parents[1]
    said = yaml.safe_load((top / "inputs.yml").read_text())
    inputs: dict[str, Any] = {name: Input(**one) for name, one in said["inputs"].items()}
    for one in inputs.values():
        if one.path and not one.path.startswith("azureml:"):
            one.path = str(top / one.path)
    outputs = {name: Output(**one) for name, one in (said.get("outputs") or {}).items()}
    return {"inputs": inputs, "outputs": outputs or None}
