"""The environment that MLflow wrote beside a model, in which the model runs without any code of its user's."""

from __future__ import annotations

from smalt.agent.wire import Ref
from smalt.arm.errors import invalid
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentSpec

_MOST_BYTES = 1 << 20  # of a conda.yaml


def check_mlflow_model(platform: Platform, model: Ref) -> None:
    """Raises ArmError(400)."""
    if platform.blobs.size(*model.below("MLmodel")) is None:
        called = model.name.rpartition("/")[2]
        raise invalid(f"properties.model: '{called}' holds no MLmodel file.", "properties.model")


def model_environment(platform: Platform, model: Ref) -> EnvironmentSpec:
    """Raises ArmError(400) for what is no MLflow model, or has no environment."""
    check_mlflow_model(platform, model)
    name = f"model {model.name.rpartition('/')[2]}"
    if conda := platform.blobs.read(*model.below("conda.yaml"), _MOST_BYTES):
        return EnvironmentSpec(name=name, conda_file=conda.decode())
    if listed := platform.blobs.read(*model.below("requirements.txt"), _MOST_BYTES):
        return EnvironmentSpec(name=name, pip_requirements=listed.decode())
    raise invalid(
        "properties.model: the model has neither conda.yaml nor requirements.txt; give an environment.",
        "properties.model",
    )
