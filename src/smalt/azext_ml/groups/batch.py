"""`ml batch-endpoint` and `ml batch-deployment`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..arguments import (
    DESCRIPTION,
    FILE,
    IN_WORKSPACE,
    MAX_RESULTS,
    MAYBE_FILE,
    NAME,
    NEW_NAME,
    NO_WAIT,
    SET,
    TAGS,
    assignments,
    flag,
    option,
)
from ..connection import Connection
from ..errors import MLError, UsageError
from ..kinds import BATCH_DEPLOYMENT, BATCH_ENDPOINT
from ..table import Command, Group
from ..verbs import COLUMNS, ENDPOINT, all_pages, create, delete, list_, nested, show, told_value, update

ENDPOINTS, DEPLOYMENTS = "ml batch-endpoint", "ml batch-deployment"
_JOBS = f"[].{COLUMNS}"
_DEFAULTS = option("--defaults", help="Its default deployment: deployment_name=NAME.", nargs="+")
_FIELDS = (option("--auth-mode", help="aad_token."), DESCRIPTION, TAGS)
_LOADERS = {"model": "load_model_batch_deployment", "pipeline": "load_pipeline_component_batch_deployment"}
_SKIP = flag("--skip-script-validation", help="The scoring script is not looked at before it is uploaded.")
_INVOKE = (
    NAME,
    option("--deployment-name", "-d", help="The deployment, in place of the default."),
    option("--file", "-f", help="A YAML file with inputs and outputs, by name."),
    option(
        "--input", help="The data: a local folder or file, azureml:NAME:VERSION, a datastore's path, or an address."
    ),
    option("--input-type", help="uri_folder or uri_file.", default="uri_folder"),
    option("--output-path", help="Where the output goes: azureml://datastores/NAME/paths/PATH."),
    option("--job-name", help="The name of the job, in place of one that is made up."),
    option("--experiment-name", "-e", help="Its experiment, in place of the endpoint's name."),
    option("--mini-batch-size", "-m", help="Files of a mini-batch.", type=int),
    option("--instance-count", "-c", help="Nodes.", type=int),
    SET,
    *IN_WORKSPACE,
)


def _shown_job(document: Any) -> dict[str, Any]:
    """As the SDK prints a batch job."""
    return {
        "id": document["id"],
        "name": document["name"],
        "type": document["type"],
        "status": document["properties"]["status"],
    }


def _invoke(
    connection: Connection,
    name: str,
    deployment_name: str | None = None,
    file: str | None = None,
    input: str | None = None,
    input_type: str = "uri_folder",
    output_path: str | None = None,
    job_name: str | None = None,
    experiment_name: str | None = None,
    mini_batch_size: int | None = None,
    instance_count: int | None = None,
    set: list[list[str]] | None = None,
) -> Any:
    """The SDK uploads what is local."""
    from .. import sdk

    if input_type not in ("uri_folder", "uri_file"):
        raise UsageError(f"argument --input-type: '{input_type}' is neither uri_folder nor uri_file")
    said = _read(file) if file else {}
    for path, value in nested({key: told_value(one) for key, one in assignments(set).items()}).items():
        said[path] = _merged(said.get(path), value)
    overrides: list[dict[str, Any]] = []
    if mini_batch_size is not None:
        overrides.append({"mini_batch_size": mini_batch_size})
    if instance_count is not None:
        overrides.append({"compute.instance_count": instance_count})
    outputs = dict(said.get("outputs") or {})
    if output_path:
        outputs["score"] = {"type": "uri_folder", "path": output_path}
    asked = {
        "deployment_name": deployment_name,
        "job_name": job_name,
        "experiment_name": experiment_name,
        "params_override": overrides,
        "input": sdk.data(input_type, input) if input else None,
        "inputs": sdk.ports("Input", said.get("inputs") or {}) or None,
        "outputs": sdk.ports("Output", outputs) or None,
    }
    job = sdk.called(connection, "batch_endpoints", "invoke", endpoint_name=name, **asked)
    return sdk.as_json(job)


def _read(file: str) -> dict[str, Any]:
    import yaml

    if not Path(file).is_file():
        raise MLError(f"No such file or directory: {file}")
    try:
        found = yaml.safe_load(Path(file).read_text())
    except yaml.YAMLError as error:
        raise MLError(f"{file} is no YAML: {error}") from None
    if not isinstance(found, dict):
        raise MLError(f"{file} describes nothing: it is no mapping.")
    return dict(found)


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), one) for key, one in new.items()}}
    return new


def _list_jobs(connection: Connection, name: str, max_results: int | None = None) -> Any:
    return all_pages(connection, f"{BATCH_ENDPOINT.path(name)}/jobs", _shown_job, max_results)


def _list_jobs_of_deployment(
    connection: Connection, name: str, endpoint_name: str, max_results: int | None = None
) -> Any:
    path = f"{BATCH_ENDPOINT.path(endpoint_name)}/deployments/{name}/jobs"
    return all_pages(connection, path, _shown_job, max_results)


def _create_deployment(connection: Connection, file: str, set_default: bool = False, **options: Any) -> Any:
    if set_default and options.get("no_wait"):
        raise MLError("--set-default needs the deployment: leave --no-wait out.")
    shown = _create_of(file).run(connection, file=file, **options)
    if set_default and shown:
        path = BATCH_ENDPOINT.path(shown["endpoint_name"])
        connection.act("PATCH", path, {"properties": {"defaults": {"deploymentName": shown["name"]}}})
    return shown


def _create_of(file: str) -> Command:
    """The SDK has a loader for each type."""
    type_ = str(_read(file).get("type") or "").lower()
    loader = _LOADERS.get(type_, BATCH_DEPLOYMENT.loader)
    return create(DEPLOYMENTS, replace(BATCH_DEPLOYMENT, loader=loader), waits=True)


ENDPOINT_COMMANDS = Group(
    ENDPOINTS,
    "Batch endpoints: an address that makes a job of each request.",
    (
        create(ENDPOINTS, BATCH_ENDPOINT, *_FIELDS, file=MAYBE_FILE, waits=True),
        show(ENDPOINTS, BATCH_ENDPOINT),
        list_(ENDPOINTS, BATCH_ENDPOINT),
        update(ENDPOINTS, BATCH_ENDPOINT, _DEFAULTS, DESCRIPTION, TAGS, waits=True),
        delete(ENDPOINTS, BATCH_ENDPOINT, waits=True),
        Command(ENDPOINTS, "invoke", "Start a job on data, and show it.", _invoke, _INVOKE),
        Command(
            ENDPOINTS, "list-jobs", "List the jobs of an endpoint.", _list_jobs, (NAME, MAX_RESULTS, *IN_WORKSPACE),
            columns=_JOBS,
        ),
    ),
)  # fmt: skip

DEPLOYMENT_COMMANDS = Group(
    DEPLOYMENTS,
    "Batch deployments: a model or a pipeline, and how jobs run it.",
    (
        Command(
            DEPLOYMENTS, "create", "Create a batch deployment.", _create_deployment,
            (
                FILE, NEW_NAME, option("--endpoint-name", "-e", help="Name of its endpoint, in place of the file's."),
                flag("--set-default", help="It becomes the endpoint's default."), _SKIP, SET, NO_WAIT, *IN_WORKSPACE,
            ),
        ),
        show(DEPLOYMENTS, BATCH_DEPLOYMENT, ENDPOINT),
        list_(DEPLOYMENTS, BATCH_DEPLOYMENT, ENDPOINT),
        update(DEPLOYMENTS, BATCH_DEPLOYMENT, ENDPOINT, waits=True),
        delete(DEPLOYMENTS, BATCH_DEPLOYMENT, ENDPOINT, waits=True),
        Command(
            DEPLOYMENTS, "list-jobs", "List the jobs of a deployment.", _list_jobs_of_deployment,
            (NAME, ENDPOINT, MAX_RESULTS, *IN_WORKSPACE), columns=_JOBS,
        ),
    ),
)  # fmt: skip
