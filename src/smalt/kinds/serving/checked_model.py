"""A deployment's model before anything loads it: what its files were when it was registered, and if it may be."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.arm.models import note_content
from smalt.arm.platform import Platform
from smalt.kinds.assets import model_content, references
from smalt.store import resources
from smalt.store.resources import Row

_FIELD = "properties.model"


def awaited(platform: Platform, deployment: Row) -> Callable[[Connection], None] | None:
    """For a Step: the deployment is woken when its model's files are hashed. None: they are, or nobody will do so."""
    workspace = ResourceId.parse(deployment.written).workspace
    if not (named := deployment.properties.get("model")):
        return None
    with platform.database.read() as connection:
        try:
            version = references.asset(connection, workspace, named, "models", _FIELD)
        except ArmError:  # `target` says so
            return None
    if model_content.registered(version) is not None:
        return None

    def writes(connection: Connection) -> None:
        key = note_content(connection, version.written, version.created_at, platform.clock())
        resources.wait_for(connection, deployment.id, [key], platform.clock())

    return writes


def checked(platform: Platform, version: Row, model: Ref) -> Document:
    """For the replicas: `files`, the hash of each when the version was registered; `sealed`: no others may be there;
    `pickles`: those that are programs. None of it makes another revision. Raises ArmError(400).
    """
    files, safe = model_content.registered(version) or {}, platform.settings.models == "safe"
    if safe and (fault := model_content.fault(platform, model, files)):
        raise invalid(
            f"{_FIELD}: {fault}, and this platform was started with --models safe. Save the model as skops, ONNX or"
            " safetensors.",
            _FIELD,
        )
    return {"files": dict(files), "sealed": safe, "pickles": model_content.pickles(platform, model)}
