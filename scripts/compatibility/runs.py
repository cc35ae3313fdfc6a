"""Rows that execute: a job runs to Completed with a log to show, a deployment answers upstream's sample request."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import requests
from azure.ai.ml import MLClient, load_job, load_online_deployment

_ONLINE = "cli/endpoints/online"
_REQUESTS = {
    f"{_ONLINE}/managed/inference-schema/deployment-numpy.yml": "managed/inference-schema/sample-inputs/numpy.json",
    f"{_ONLINE}/managed/inference-schema/deployment-pandas.yml": "managed/inference-schema/sample-inputs/pandas.json",
    f"{_ONLINE}/managed/inference-schema/deployment-standard.yml": "managed/inference-schema/sample-inputs/standard.json",
    f"{_ONLINE}/ncd/lightgbm-deployment.yaml": "ncd/sample-request-lightgbm.json",
}
_SAMPLE = "model-1/sample-request.json"
_PICTURE = "managed/binary-payloads/input.jpg"

# A line of the job's log that proves that it did what the example says.
_LOGGED = {
    "cli/jobs/basics/hello-world.yml": "hello world",
    "cli/jobs/basics/hello-code.yml": "hello-mlflow.py",
    "cli/jobs/basics/hello-data-uri-folder.yml": ".",
    "cli/jobs/basics/hello-iris-datastore-file.yml": "[5 rows x",
    "cli/jobs/basics/hello-iris-folder.yml": "iris.csv",
    "cli/jobs/basics/hello-model-as-input.yml": "MLmodel",
}


class NotCompleted(Exception):
    """The job ended otherwise, or the answer is not one."""


def run_job(client: MLClient, example: str, path: Path) -> str:
    """Submit, stream, download; the end of the log is returned."""
    job = client.jobs.create_or_update(load_job(path))
    client.jobs.stream(job.name)
    status = client.jobs.get(job.name).status
    if status != "Completed":
        raise NotCompleted(f"the job {job.name} is {status}")
    with tempfile.TemporaryDirectory() as folder:
        # azure-ai-ml 1.35 cannot download a named output that is a model, from no service: its own request fails
        models = any("model" in str(one.type) for one in job.outputs.values() if one is not None)
        client.jobs.download(job.name, download_path=folder, all=not models)
        name = "executionlogs.txt" if job.type == "pipeline" else "std_log*.txt"
        logs = sorted(Path(folder).rglob(name))
        if not logs:
            raise NotCompleted(f"the download of a completed job holds no {name}")
        text = "\n".join(one.read_text(errors="replace") for one in logs)
    if _LOGGED.get(example, "") not in text:
        raise NotCompleted(f"the log lacks {_LOGGED[example]!r}: {text[-300:]!r}")
    return text[-2000:]


def run_deployment(client: MLClient, example: str, path: Path, top: Path, endpoint: str) -> str:
    """Deploy with all traffic, ask, read the log, delete; the answer is returned."""
    deployment = load_online_deployment(path)
    deployment.endpoint_name = endpoint
    try:
        client.online_deployments.begin_create_or_update(deployment).result()
        site = client.online_endpoints.get(endpoint)
        site.traffic = {deployment.name: 100}
        client.online_endpoints.begin_create_or_update(site).result()
        answer = _ask(client, example, top / _ONLINE, endpoint)
        if not client.online_deployments.get_logs(deployment.name, endpoint, lines=50):
            raise NotCompleted("the deployment has no log")
        return answer
    finally:
        client.online_endpoints.begin_delete(endpoint).result()


def _ask(client: MLClient, example: str, online: Path, endpoint: str) -> str:
    if "binary-payloads" in example:
        return _post_picture(client, online / _PICTURE, endpoint)
    request = _REQUESTS.get(example, _SAMPLE)
    answer = client.online_endpoints.invoke(endpoint_name=endpoint, request_file=str(online / request))
    if not json.loads(answer):
        raise NotCompleted(f"the answer is empty: {answer!r}")
    return str(answer)


def _post_picture(client: MLClient, picture: Path, endpoint: str) -> str:
    key = client.online_endpoints.get_keys(endpoint).primary_key
    uri = client.online_endpoints.get(endpoint).scoring_uri
    with picture.open("rb") as file:
        answer = requests.post(uri, headers={"Authorization": f"Bearer {key}"}, files={"file": file}, timeout=60)
    if answer.status_code != 200 or not answer.content.startswith(b"\xff\xd8"):
        raise NotCompleted(f"the answer to a picture is {answer.status_code}: {answer.text[:200]!r}")
    return f"{len(answer.content)} bytes of JPEG"
