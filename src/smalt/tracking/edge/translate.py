"""What has to read differently on its way through the edge: experiment 0, and artifact URIs for azureml-mlflow.

MLflow's client means by experiment 0 "the default one", which exists once on an MLflow server; every workspace has
its own. The plugin adds its token only to `azureml://` URIs, so it gets those and they are turned back when it sends
them. Pure functions on JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from smalt.arm.ids import ResourceId
from smalt.settings import Settings
from smalt.tracking.address import artifact_root, azureml_run_uri
from smalt.tracking.artifacts.artifact_names import blob_name

_RUN_BLOB = re.compile(r"ExperimentRun/dcid\.([^/]+)((?:/.*)?)", re.DOTALL)
_AZUREML_RUN = re.compile(r"azureml://[^/]*/.*/runs/([^/]+)/artifacts((?:/.*)?)", re.IGNORECASE | re.DOTALL)
_AZUREML_JOB = re.compile(r"azureml://jobs/([^/]+)/outputs/artifacts/(?:paths/)?(.*)", re.IGNORECASE | re.DOTALL)
_AZUREML_ARTIFACT = re.compile(r"azureml://artifacts/(.+)", re.IGNORECASE | re.DOTALL)
_URI_FIELDS = frozenset({"artifact_uri", "artifact_location", "root_uri", "source", "storage_location"})
_SOME_ZERO = re.compile(rb'"experiment_ids?"\s*:\s*(?:\[[^\]]*)?"?0"?[\s,\]}]')


def default_experiment_in_body(body: bytes, default: Callable[[], int]) -> bytes:
    """`body` with experiment 0 replaced; what is no JSON object is left to MLflow to refuse."""
    if not _SOME_ZERO.search(body):
        return body
    try:
        content = json.loads(body)
    except ValueError:
        return body
    if not isinstance(content, dict):
        return body
    if str(content.get("experiment_id")) == "0":
        content["experiment_id"] = str(default())
    ids = content.get("experiment_ids")
    if isinstance(ids, list):
        content["experiment_ids"] = [str(default()) if str(one) == "0" else one for one in ids]
    return json.dumps(content).encode()


def default_experiment_in_query(query: str, default: Callable[[], int]) -> str:
    if "experiment_id" not in query:
        return query
    pairs = parse_qsl(query, keep_blank_values=True)
    if not any(key in ("experiment_id", "experiment_ids") and value == "0" for key, value in pairs):
        return query
    return urlencode(
        [
            (key, str(default()) if key in ("experiment_id", "experiment_ids") and value == "0" else value)
            for key, value in pairs
        ]
    )


def for_plugin(body: bytes, settings: Settings, workspace: ResourceId) -> bytes:
    """An answer with our https artifact URIs as `azureml://…/experiments/{e}/runs/{r}/artifacts/…`."""
    root = artifact_root(settings, workspace) + "/"

    def changed(uri: str, experiment: str) -> str:
        if not uri.lower().startswith(root.lower()):
            return uri
        found = _RUN_BLOB.fullmatch(blob_name(uri[len(root) :]))
        if found:
            return azureml_run_uri(settings, workspace, experiment, found[1]) + found[2]
        return f"azureml://artifacts/{blob_name(uri[len(root) :])}"

    return _rewritten(body, changed)


def from_plugin(body: bytes, settings: Settings, workspace: ResourceId, run_uri: Callable[[str], str]) -> bytes:
    """A request's `source` of a model version, back to the https URI that MLflow knows the run by (`run_uri(run)`)."""
    root = artifact_root(settings, workspace)

    def changed(uri: str, _experiment: str) -> str:
        run = _AZUREML_RUN.fullmatch(uri) or _AZUREML_JOB.fullmatch(uri)
        if run:
            below = run[2].strip("/")
            return f"{run_uri(run[1]) or f'{root}/ExperimentRun/dcid.{run[1]}'}/{below}".rstrip("/")
        loose = _AZUREML_ARTIFACT.fullmatch(uri)
        return f"{root}/{loose[1].strip('/')}" if loose else uri

    return _rewritten(body, changed) if b"azureml://" in body else body


def model_source(
    content: dict[str, Any], settings: Settings, workspace: ResourceId, run_of: Callable[[str], tuple[str, str] | None]
) -> dict[str, Any]:
    """The body of `model-versions/create` with the source that MLflow accepts for what the client named.

    `run_of(name)` is the run's id and artifact URI. MLflow takes an artifact URI of ours only below the run (or logged
    model) that the request names: so the run is added where the source says it. Files that belong to no run keep the
    plugin's `azureml://artifacts/…`; the edge puts that right afterwards.
    """
    source = content.get("source")
    if not isinstance(source, str):
        return content
    root = artifact_root(settings, workspace)
    named = _AZUREML_RUN.fullmatch(source) or _AZUREML_JOB.fullmatch(source)
    if named:
        run, below = named[1], named[2].strip("/")
        if known := run_of(run):
            return {**content, "run_id": content.get("run_id") or known[0], "source": f"{known[1]}/{below}".rstrip("/")}
        return {**content, "source": f"azureml://artifacts/ExperimentRun/dcid.{run}/{below}".rstrip("/")}
    if not content.get("run_id") and not content.get("model_id") and source.lower().startswith(root.lower() + "/"):
        name = blob_name(source[len(root) :])
        run_blob = _RUN_BLOB.fullmatch(name)
        known = run_of(run_blob[1]) if run_blob else None
        if known:
            return {**content, "run_id": known[0]}
        return {**content, "source": f"azureml://artifacts/{name}"}
    return content


def wants_azureml_uris(user_agent: str) -> bool:
    """Not so MLflow 3 with azureml-mlflow before 1.61: that plugin cannot open its own URIs there (a TypeError)."""
    plugin = re.search(r"azureml-mlflow/(\d+)\.(\d+)", user_agent)
    client = re.search(r"mlflow-python-client/(\d+)", user_agent)
    old = plugin is not None and (int(plugin[1]), int(plugin[2])) < (1, 61)
    return not (old and client is not None and int(client[1]) >= 3)


def without_workspaces(body: bytes) -> bytes:
    """The server's description: to a client of one workspace there are no others to choose from."""
    content = json.loads(body)
    content["workspaces_enabled"] = False
    return json.dumps(content).encode()


def _rewritten(body: bytes, changed: Callable[[str, str], str]) -> bytes:
    try:
        content = json.loads(body)
    except ValueError:
        return body
    _walk(content, changed, "0")
    return json.dumps(content).encode()


def _walk(node: Any, changed: Callable[[str, str], str], experiment: str) -> None:
    if isinstance(node, list):
        for one in node:
            _walk(one, changed, experiment)
    if not isinstance(node, dict):
        return
    experiment = str(node.get("experiment_id", experiment))
    for key, value in node.items():
        if key in _URI_FIELDS and isinstance(value, str):
            node[key] = changed(value, experiment)
        else:
            _walk(value, changed, experiment)
