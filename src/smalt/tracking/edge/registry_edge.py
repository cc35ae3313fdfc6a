"""What MLflow's clients do to registered models, taken over into ARM's models: the two are one registry.

Before a change, MLflow is told of what ARM's reconciler has not shown it yet, so that both count versions alike. After
it, what MLflow has is read from its tables and written to ARM. A crash between the two is made good when the workspace
is next opened (`adopt_all`).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

import yaml

from smalt.arm.errors import ArmError, conflict, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.ports import ModelRegistry, ModelVersion
from smalt.arm.validation import ASSET_NAME, name_fault
from smalt.arm.yaml_text import read_yaml
from smalt.settings import Settings
from smalt.tracking.address import artifact_root
from smalt.tracking.artifacts.model_files import ModelFiles
from smalt.tracking.edge.translate import model_source
from smalt.tracking.models.registered_models import PROMPT, RegisteredModels
from smalt.tracking.models.sources import LOOSE, artifact_name, model_uri, run_of

_CALL = re.compile(r"/(?:ajax-)?api/\d\.0/(?:preview/)?mlflow/(registered-models|model-versions)/([a-z-]+)")
_CHANGES = frozenset({"create", "update", "delete", "set-tag", "delete-tag", "transition-stage", "rename"})
_NAME = re.compile(ASSET_NAME)
_MLMODEL_MOST_BYTES = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """One call that changes a registered model.

    `version` is '' where the call is about the model, or makes a version.
    """

    what: str  # registered-models or model-versions
    verb: str
    name: str
    version: str
    content: dict[str, Any]

    @property
    def makes_version(self) -> bool:
        return (self.what, self.verb) == ("model-versions", "create")


@dataclass(frozen=True)
class RegistryEdge:
    """`run_of(workspace, name)`: a run's id and artifact URI."""

    settings: Settings
    models: RegisteredModels
    arm: ModelRegistry
    run_of: Callable[[str, str], tuple[str, str] | None]

    def change(self, rest: str, query: str, body: bytes) -> Change | None:
        """The change that a request below a workspace asks for, None for any other request."""
        found = _CALL.fullmatch(rest)
        if found is None or found[2] not in _CHANGES:
            return None
        try:
            content = json.loads(body) if body else {key: value[-1] for key, value in parse_qs(query).items()}
        except ValueError:
            return None  # MLflow says what is wrong with it
        name = content.get("name") if isinstance(content, dict) else None
        if not isinstance(name, str) or not name:
            return None
        return Change(found[1], found[2], name, str(content.get("version") or ""), content)

    def before(self, workspace: ResourceId, change: Change, body: bytes, by: str) -> bytes:
        """The body to send to MLflow for the one that came. Raises ArmError for what ARM cannot have.

        A version's model is made where there is none, as ARM does it and as the plugin's users are
        taught; MLflow would answer 404.
        """
        if _is_prompt(change):
            return body
        self._check(workspace, change)
        for version in self.arm.pending(workspace.key, change.name):
            self.models.ensure_version(version)
        if not change.makes_version:
            return body
        if self.models.read(workspace.key, change.name, "0") is None:
            self.models.ensure_model(workspace.key, change.name, None, {})
            self._adopt_model(workspace, change.name, by)
        content = json.loads(body)
        return json.dumps(
            model_source(content, self.settings, workspace, lambda run: self.run_of(workspace.key, run))
        ).encode()

    def after(
        self,
        workspace: ResourceId,
        change: Change,
        status: int,
        answer: bytes,
        files: Callable[[], ModelFiles],
        by: str,
    ) -> bytes:
        """Takes over what MLflow did; the answer for the client."""
        if change.verb == "delete":
            # 404: an earlier try went as far as MLflow. ARM's names have no case, MLflow's have: the same name, not a
            # like one
            if status == 200 or (status == 404 and self.arm.spelled(workspace.key, change.name) == change.name):
                self.arm.remove(workspace.key, change.name, change.version)
            return answer
        if status != 200:
            return answer
        if change.what == "registered-models":
            self._adopt_model(workspace, change.name, by)
            return answer
        content = json.loads(answer)
        version = change.version
        if change.makes_version:
            version = str(content["model_version"]["version"])
        elif (
            change.verb == "transition-stage" and str(change.content.get("archive_existing_versions")).lower() == "true"
        ):
            version = ""
        source = self._adopt(workspace, change.name, version, files(), by)
        if change.makes_version and source:
            content["model_version"]["source"] = source
            return json.dumps(content).encode()
        return answer

    def adopt_all(self, workspace: ResourceId, files: ModelFiles) -> None:
        """Versions that MLflow shows and ARM does not know: their creator's request was cut short."""
        known = self.arm.known(workspace.key)
        for name, version in sorted(self.models.live(workspace.key)):
            if (name.lower(), version) in known or not _NAME.fullmatch(name):
                continue
            try:
                if not self.arm.spelled(workspace.key, name):
                    self._adopt_model(workspace, name, "")
                self._adopt(workspace, name, version, files, "")
            except ArmError as error:
                _log.warning("MLflow's model %s, version %s: %s", name, version, error)

    def _check(self, workspace: ResourceId, change: Change) -> None:
        if change.verb == "rename":
            raise invalid("A registered model cannot be renamed; register its versions under the new name.", "name")
        if change.verb != "create":
            return
        if not _NAME.fullmatch(change.name):
            raise invalid(name_fault(change.name, "a model"), "name")
        spelled = self.arm.spelled(workspace.key, change.name)
        if spelled and spelled != change.name:
            raise conflict(
                f"There is a model '{spelled}', and names differ by more than case; use '{spelled}'.", "name"
            )

    def _adopt_model(self, workspace: ResourceId, name: str, by: str) -> None:
        found = self.models.read(workspace.key, name, "0")
        if found is not None:
            self.arm.describe(workspace.key, name, found.description, found.tags, by)

    def _adopt(self, workspace: ResourceId, name: str, version: str, files: ModelFiles, by: str) -> str:
        """The version's, or all versions'. The source where it had to be written anew, else ''."""
        found, moved = self.models.read(workspace.key, name, version), ""
        for one in found.versions if found else []:
            source = self._readable(workspace, one.uri)
            if source != one.uri:
                self.models.move(workspace.key, name, one.version, source)
                moved = source
            taken = self._as_arm(workspace, one, source, files)
            if place := files.place_at(artifact_name(self.settings, workspace, source)):
                # a copy of a model that lies elsewhere: with a place of its own, the other may be deleted
                self.models.ensure_version(replace(taken, container=place[0], path=place[1]))
            if not self.arm.register(taken, by or one.user):
                raise conflict(
                    f"Version {one.version} of model '{name}' was made by somebody else at the same time;"
                    " register again.",
                    "version",
                )
        return moved

    def _readable(self, workspace: ResourceId, source: str) -> str:
        """The plugin's `azureml://artifacts/…` as the URI that every client can open."""
        name = artifact_name(self.settings, workspace, source) if source.lower().startswith(LOOSE) else ""
        return f"{artifact_root(self.settings, workspace)}/{name}" if name else source

    def _as_arm(self, workspace: ResourceId, version: ModelVersion, source: str, files: ModelFiles) -> ModelVersion:
        uri = model_uri(self.settings, workspace, source, files.place_at)
        job = run_of(self.settings, workspace, source) or version.job
        return replace(
            version, uri=uri, job=job, flavors=_flavors(files, artifact_name(self.settings, workspace, source))
        )


def _is_prompt(change: Change) -> bool:
    tags = change.content.get("tags")
    return isinstance(tags, list) and any(isinstance(one, dict) and one.get("key") == PROMPT for one in tags)


def _flavors(files: ModelFiles, name: str) -> dict[str, Any]:
    """As ARM shows them, {flavor: {"data": {key: text}}}, from the model's MLmodel file; {} where it cannot be read."""
    if not name:
        return {}
    try:
        spot = files.locate(f"{name}/MLmodel")
        with spot.folder.open(spot.name) as file:
            document = read_yaml(file.read(_MLMODEL_MOST_BYTES))
        flavors = document["flavors"]
        return {
            str(flavor): {"data": {str(key): str(value) for key, value in data.items()}}
            for flavor, data in flavors.items()
        }
    except (ArmError, OSError, yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError, RecursionError):
        return {}
