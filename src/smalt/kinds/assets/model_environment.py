"""The environment that MLflow wrote beside a model."""

from __future__ import annotations

from smalt.agent.wire import Ref
from smalt.arm.errors import invalid
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentSpec

_SPECIFICATION_BYTES = 1 << 20  # of a model's conda.yaml


def check_mlflow_model(platform: Platform, model: Ref, field: str = "properties.model") -> None:
    """Raises ArmError(400)."""
    if platform.blobs.size(*model.below("MLmodel")) is None:
        raise invalid(f"{field}: '{model.name.rpartition('/')[2]}' holds no MLmodel file.", field)


def model_environment(platform: Platform, model: Ref, field: str = "properties.model") -> EnvironmentSpec:
    """Raises ArmError(400) for what is no MLflow model, or has no environment."""
    check_mlflow_model(platform, model, field)
    name = f"model {model.name.rpartition('/')[2]}"
    if conda := platform.blobs.read(*model.below("conda.yaml"), _SPECIFICATION_BYTES):
        return EnvironmentSpec(name=name, conda_file=conda.decode())
    if listed := platform.blobs.read(*model.below("requirements.txt"), _SPECIFICATION_BYTES):
        return EnvironmentSpec(name=name, pip_requirements=listed.decode())
    raise invalid(f"{field}: the model has neither conda.yaml nor requirements.txt; give an environment.", field)
