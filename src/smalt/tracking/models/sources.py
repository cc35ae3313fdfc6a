"""A model version's files in both languages: MLflow's `source` (an https URI) and ARM's `modelUri` (`azureml://…`)."""

from __future__ import annotations

import re
from collections.abc import Callable

from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.ports import ModelVersion
from smalt.settings import ARTIFACT_CONTAINER, Settings
from smalt.tracking.address import artifact_root
from smalt.tracking.artifacts.artifact_names import blob_name, check_path
from smalt.tracking.artifacts.model_files import ORIGIN

LOOSE = "azureml://artifacts/"  # how the plugin names files that belong to no run
_RUN = re.compile(r"ExperimentRun/dcid\.([^/]+)(?:/(.*))?", re.DOTALL)


def source_of(settings: Settings, workspace: ResourceId, version: ModelVersion) -> str:
    """The https URI where the files were found in the workspace's account; else what ARM says."""
    path = version.path.strip("/")
    if not path or not version.container:
        return version.uri
    root = artifact_root(settings, workspace)
    if version.container == ARTIFACT_CONTAINER:
        return f"{root}/{path}"
    return f"{root}/{ORIGIN}/{place_name(version)}/{path.rsplit('/', 1)[-1]}"


def place_name(version: ModelVersion) -> str:
    return f"{version.name}.{int(version.version)}"


def artifact_name(settings: Settings, workspace: ResourceId, source: str) -> str:
    """The blob's name among the workspace's artifacts that a source means; '' for any other place."""
    root = artifact_root(settings, workspace) + "/"
    try:
        if source.lower().startswith(root.lower()):
            return blob_name(source[len(root) :])
        if source.lower().startswith(LOOSE):
            return check_path(source[len(LOOSE) :])
    except ArmError:
        return ""
    return ""


def model_uri(
    settings: Settings, workspace: ResourceId, source: str, place_at: Callable[[str], tuple[str, str] | None]
) -> str:
    """`modelUri` for a source.

    `place_at(name)`: where the files of a registered model are that have this name among the artifacts. Also a job's
    model is named by its datastore, not `azureml://jobs/…`: azure-ai-ml downloads only those.
    """
    name = artifact_name(settings, workspace, source)
    if not name:
        return source
    if place := place_at(name):
        return f"azureml://datastores/workspaceblobstore/paths/{place[1]}"
    return f"azureml://datastores/workspaceartifactstore/paths/{name}"


def run_of(settings: Settings, workspace: ResourceId, source: str) -> str:
    """The job or run below whose artifacts a source is, or ''."""
    found = _RUN.fullmatch(artifact_name(settings, workspace, source))
    return found[1] if found else ""
