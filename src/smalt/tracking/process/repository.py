"""Artifacts as MLflow's own process sees them: the same files as at the edge, for its UI and what else it serves.

Every workspace has its own storage account; which one, `smalt_accounts` says. The workspace is the request's, whatever
the path claims. Runs in MLflow's process only.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.utils.workspace_context import get_request_workspace

from smalt.arm.errors import ArmError
from smalt.tracking.artifacts.artifact_names import blob_name
from smalt.tracking.artifacts.files import Files
from smalt.tracking.artifacts.model_files import ModelFiles

SCHEME = "smalt-artifacts"
_CODES = {400: INVALID_PARAMETER_VALUE, 404: RESOURCE_DOES_NOT_EXIST, 409: INVALID_PARAMETER_VALUE}


def repository_class(files_of: Callable[[str], ModelFiles]) -> Callable[..., ArtifactRepository]:
    """What MLflow's registry wants for the scheme: a callable that makes a repository from an artifact URI."""

    def make(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> SharedArtifacts:
        return SharedArtifacts(artifact_uri, files_of)

    return make


class SharedArtifacts(ArtifactRepository):
    def __init__(self, artifact_uri: str, files_of: Callable[[str], ModelFiles]) -> None:
        super().__init__(artifact_uri)
        self._files_of = files_of
        self._base = artifact_uri.removeprefix(f"{SCHEME}:").strip("/")

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        source = Path(local_file)
        folder, name = self._locate(f"{artifact_path or ''}/{source.name}", writing=True)
        try:
            with source.open("rb") as reading, folder.replace(name) as writing:
                shutil.copyfileobj(reading, writing, 1 << 20)
        except ArmError as error:
            raise _translated(error) from error

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        for path in sorted(Path(local_dir).rglob("*")):
            if path.is_file():
                beside = path.parent.relative_to(local_dir).as_posix()
                self.log_artifact(str(path), "/".join(part for part in (artifact_path, beside) if part and part != "."))

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        folder, name = self._locate(path or "")
        prefix = (path or "").strip("/")
        return [
            FileInfo(f"{prefix}/{one.name}".lstrip("/"), one.is_folder, None if one.is_folder else one.size_bytes)
            for one in folder.entries(name)
        ]

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        folder, name = self._locate(artifact_path or "", writing=True)
        folder.remove(name)

    def download_artifacts(self, artifact_path: str | None, dst_path: str | None = None) -> str:
        """In the caller's thread: the stock way uses others, which do not know the request's workspace."""
        folder, name = self._locate(artifact_path or "")
        target = Path(dst_path or tempfile.mkdtemp()).absolute() / name.rsplit("/", 1)[-1]
        if folder.is_file(name):
            _copy(folder, name, target)
            return str(target)
        for path, _ in folder.files(name):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            _copy(folder, f"{name}/{path}", target / path)
        if not target.exists():
            raise MlflowException(f"No such artifact: '{artifact_path}'", RESOURCE_DOES_NOT_EXIST)
        return str(target)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        folder, name = self._locate(remote_file_path)
        _copy(folder, name, Path(local_path))

    def _locate(self, path: str, writing: bool = False) -> tuple[Files, str]:
        workspace = get_request_workspace()
        if not workspace:
            raise MlflowException("The request names no workspace.", INVALID_PARAMETER_VALUE)
        whole = f"{self._base}/{path}".strip("/")
        own = f"workspaces/{workspace}"
        if whole == own or whole.startswith(own + "/"):
            whole = whole[len(own) :].strip("/")
        try:
            spot = self._files_of(workspace).locate(blob_name(whole))
            if writing:
                spot.check_writable()
            return spot.folder, spot.name
        except ArmError as error:
            raise _translated(error) from error


def _copy(folder: Files, name: str, target: Path) -> None:
    try:
        with folder.open(name) as reading, target.open("wb") as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
    except ArmError as error:
        raise _translated(error) from error


def _translated(error: ArmError) -> MlflowException:
    return MlflowException(error.message, _CODES.get(error.status, INTERNAL_ERROR))
