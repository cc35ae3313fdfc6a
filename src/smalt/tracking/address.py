"""Where a workspace's MLflow is: the paths that clients use, the name that MLflow knows the workspace by.

The azureml-mlflow plugin calls `https://HOST/mlflow/v2.0{WORKSPACE}/api/2.0/…` whatever its tracking URI says; plain
clients use the prefix that they were given, `https://HOST/mlflow/v1.0{WORKSPACE}`. Both prefixes mean the same server.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from smalt.arm.ids import ResourceId, workspace_id
from smalt.settings import Settings

_USUAL = 512  # characters of a path
ARTIFACT_ROUTE = "/api/2.0/mlflow-artifacts/artifacts"
_WORKSPACE = (
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<workspace>[^/]+)"
)
_EDGE = re.compile(rf"(?P<service>/mlflow/v[12]\.0){_WORKSPACE}(?P<rest>/.*)?", re.IGNORECASE | re.DOTALL)
_RUN_ARTIFACTS = re.compile(
    rf"(?P<service>/history/v1\.0){_WORKSPACE}/experiment(?:s|ids)/[^/]+/runs/(?P<run>[^/]+)/artifacts(?P<rest>/.*)?",
    re.IGNORECASE | re.DOTALL,
)
_ARTIFACTS = re.compile(rf"(?P<service>/artifact/v2\.0){_WORKSPACE}/artifacts(?P<rest>/.*)?", re.IGNORECASE | re.DOTALL)
_METRICS = re.compile(
    rf"(?P<service>/metric/v2\.0){_WORKSPACE}/runs/(?P<run>[^/]+)(?P<rest>/.*)?", re.IGNORECASE | re.DOTALL
)
_OLD_MODELS = re.compile(rf"(?P<service>/modelmanagement/v1\.0){_WORKSPACE}(?P<rest>/.*)?", re.IGNORECASE | re.DOTALL)
_PATTERNS = {
    "mlflow": _EDGE, "history": _RUN_ARTIFACTS, "artifact": _ARTIFACTS, "metric": _METRICS,
    "modelmanagement": _OLD_MODELS,
}  # fmt: skip


@dataclass(frozen=True)
class Address:
    """A request's place: `service` is a key of `_PATTERNS`; `rest` what follows, decoded; `raw_rest` as sent."""

    service: str
    workspace: ResourceId
    rest: str
    raw_rest: str
    plugin: bool = False
    run: str = ""


def parse_address(raw_path: str) -> Address | None:
    """The address of a path as it was sent (percent-encoded), or None where it is none of ours."""
    return _recent(raw_path) if len(raw_path) <= _USUAL else _parsed(raw_path)


def _parsed(raw_path: str) -> Address | None:
    for service, pattern in _PATTERNS.items():
        found = pattern.fullmatch(raw_path)
        if found is None:
            continue
        parts = [unquote(found[name]) for name in ("subscription", "group", "workspace")]
        raw_rest = found["rest"] or ""
        return Address(
            service=service,
            workspace=workspace_id(*parts),
            rest=unquote(raw_rest),
            raw_rest=raw_rest,
            plugin=found["service"].lower() == "/mlflow/v2.0",
            run=unquote(found["run"]) if "run" in pattern.groupindex else "",
        )
    return None


_recent = lru_cache(1024)(_parsed)  # asked twice of each request, and jobs log to few paths


@lru_cache(4096)  # of a few workspaces, on every request
def mlflow_name(workspace: str | ResourceId) -> str:
    """MLflow's name of a workspace: readable, deterministic, and unique by the hash of the lowered ARM id.

    MLflow wants 2–63 characters of [a-z0-9-] without a hyphen at either end (`WorkspaceNameValidator`).
    """
    key = workspace.key if isinstance(workspace, ResourceId) else ResourceId.parse(workspace).key
    readable = re.sub(r"[^a-z0-9]+", "-", key.rsplit("/", 1)[-1]).strip("-")[:30].rstrip("-")
    return f"{readable or 'workspace'}-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def tracking_uri(settings: Settings, workspace: ResourceId, scheme: str = "https") -> str:
    """What MLFLOW_TRACKING_URI is in a job (https), and the workspace's `mlFlowTrackingUri` (azureml)."""
    return f"{scheme}://{settings.host}:{settings.port}/mlflow/v1.0{workspace}"


def artifact_root(settings: Settings, workspace: ResourceId) -> str:
    """Below it are all artifact locations that this workspace's MLflow gives out."""
    return tracking_uri(settings, workspace) + ARTIFACT_ROUTE


def run_artifact_uri(settings: Settings, workspace: ResourceId, run: str) -> str:
    """A job's artifacts: the same files as `azureml://jobs/{run}/outputs/artifacts/paths/`."""
    return f"{artifact_root(settings, workspace)}/ExperimentRun/dcid.{run}"


def azureml_run_uri(settings: Settings, workspace: ResourceId, experiment: str, run: str) -> str:
    """The same for the azureml-mlflow plugin, which signs in only to URIs of its own scheme."""
    base = tracking_uri(settings, workspace, "azureml").replace("/mlflow/v1.0", "/mlflow/v2.0", 1)
    return f"{base}/experiments/{experiment}/runs/{run}/artifacts"


def long_form(workspace: ResourceId, uri: str) -> str:
    """`azureml://datastores/…` with the workspace in it, as some clients need it; any other URI as it is."""
    short = "azureml://datastores/"
    if not uri.startswith(short):
        return uri
    return (
        f"azureml://subscriptions/{workspace.subscription}/resourcegroups/{workspace.group}/workspaces/{workspace.name}"
        f"/datastores/{uri.removeprefix(short)}"
    )
