"""Where the platform keeps the logs of runs: what writes there is the platform, and no job."""

from __future__ import annotations

from smalt.arm.errors import invalid
from smalt.kinds.assets.references import Place
from smalt.settings import ARTIFACT_CONTAINER

_FOLDERS = ("user_logs", "system_logs", "azureml-logs")


def check_apart(place: Place, field: str, job: str = "") -> None:
    """Raises ArmError(400) for a place that logs of runs are in, or that is in them.

    All of the artifacts of `job` are a place that it may name itself.
    """
    parts = [part for part in place.path.split("/") if part]
    if place.container != ARTIFACT_CONTAINER or parts == ["ExperimentRun", f"dcid.{job}"]:
        return
    of_runs = parts[:1] in ([], ["ExperimentRun"]) and all(part.startswith("dcid.") for part in parts[1:2])
    if of_runs and (len(parts) < 3 or parts[2] in _FOLDERS):
        raise invalid(
            f"{field}: the logs of runs ({', '.join(_FOLDERS)}) are there; no job writes to them. Name another folder.",
            field,
        )
