"""The environment that MLflow wrote beside a model."""

from __future__ import annotations

from smalt.agent.wire import Ref
from smalt.arm.errors import invalid
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentSpec

_SPECIFICATION_BYTES = 1 << 20  # of a model's conda.yaml, at most


def check_mlflow_model(platform: Platform, model: Ref, field: str = "properties.model") -> None:
    """Raises ArmError(400)."""
    if platform.blobs.size(*model.below("MLmodel")) is None:
        raise invalid(f"{field}: '{model.name.rpartition('/')[2]}' holds no MLmodel file.", field)


def model_environment(platform: Platform, model: Ref, field: str = "properties.model") -> EnvironmentSpec:
    """Raises ArmError(400) for what is no MLflow model, or has no environment."""
    check_mlflow_model(platform, model, field)
    name = f"model {model.name.rpartition('/')[2]}"
    if conda := _text(platform, model, "conda.yaml", field):
        return EnvironmentSpec(name=name, conda_file=conda)
    if listed := _text(platform, model, "requirements.txt", field):
        return EnvironmentSpec(name=name, pip_requirements=listed)
    raise invalid(f"{field}: the model has neither conda.yaml nor requirements.txt; give an environment.", field)


def _text(platform: Platform, model: Ref, name: str, field: str) -> str:
    """Empty where there is no such file. Raises ArmError(400) for one that is too long, or no text."""
    data = platform.blobs.read(*model.below(name), _SPECIFICATION_BYTES + 1) or b""
    if len(data) > _SPECIFICATION_BYTES:
        raise invalid(f"{field}: {name} of the model is longer than {_SPECIFICATION_BYTES} bytes.", field)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise invalid(f"{field}: {name} of the model is no text in UTF-8.", field) from None
