"""MLflow 3's logged models, put where Azure's users look for a model.

`log_model(name="model")` makes a logged model `m-…` with files of its own, and nothing under the run. But people
register `azureml://jobs/{job}/outputs/artifacts/paths/model/`. So a model that a run logged gets
`{run's artifacts}/{name}`; when the run logs that name again, the older model's files step aside to `{name}.{model id}`
and stay reachable by its id.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select, update

from smalt.tracking.address import ARTIFACT_ROUTE, mlflow_name
from smalt.tracking.artifacts.artifact_names import blob_name
from smalt.tracking.artifacts.files import Files
from smalt.tracking.database import schema
from smalt.tracking.database.tracking_database import TrackingDatabase


def place_logged_model(
    database: TrackingDatabase, workspace: str, model_id: str, folder: Callable[[], Files]
) -> str | None:
    """The model's artifact location from now on; None where it stays as MLflow chose it (no run, or not ours)."""
    models, runs, experiments = schema.logged_models, schema.runs, schema.experiments
    with database.write() as connection:
        row = connection.execute(
            select(models.c.name, models.c.artifact_location, runs.c.artifact_uri)
            .join(runs, runs.c.run_uuid == models.c.source_run_id)
            .join(experiments, experiments.c.experiment_id == runs.c.experiment_id)
            .where(models.c.model_id == model_id, experiments.c.workspace == mlflow_name(workspace))
        ).first()
        if row is None or ARTIFACT_ROUTE not in (row.artifact_uri or ""):
            return None
        location = f"{row.artifact_uri}/{row.name}"
        if row.artifact_location == location:
            return location
        older = connection.scalar(select(models.c.model_id).where(models.c.artifact_location == location))
        if older:
            connection.execute(
                update(models).where(models.c.model_id == older).values(artifact_location=f"{location}.{older}")
            )
            place = folder()
            place.rename(blob_name(artifact_path(location)), f"{row.name}.{older}")
        connection.execute(update(models).where(models.c.model_id == model_id).values(artifact_location=location))
        return location


def artifact_path(location: str) -> str:
    """What stands behind the artifact route in one of our artifact URIs; '' in others."""
    return location.partition(ARTIFACT_ROUTE)[2].strip("/")
