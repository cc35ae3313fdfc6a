"""What to say of a script for Azure's SDK of version 1 (`azureml.core`), from the last lines of its log."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PACKAGES = r"azureml\.(?:core|train|pipeline|data|exceptions|widgets|opendatasets|contrib|interpret)\b"
_MISSING = re.compile(rf"No module named '(?:{_PACKAGES}|azureml')")
_NAMED = re.compile(rf"(?:import|from)\s+{_PACKAGES}|No module named '{_PACKAGES}|import_module\(.{_PACKAGES}")
_UPLOADS = re.compile(r"azureml/_file_utils/upload\.py\", line \d+, in get_block_blob_service_credentials")
HINT = (
    "azureml.core is the SDK of version 1, which this environment does not have. A job is a run of MLflow's already:"
    " write mlflow.log_metric(name, value) in place of Run.get_context().log(name, value), mlflow.log_artifact(path) in"
    " place of upload_file, mlflow.register_model(f\"runs:/{os.environ['MLFLOW_RUN_ID']}/FOLDER\", name) in place of"
    " register_model."
)


UPLOAD_HINT = (
    "azureml.core, the SDK of version 1, uploads only to Azure's own storage. What a job leaves in ./outputs"
    " is kept as its artifacts without any call; mlflow.log_artifact(path) uploads at once."
)

REGISTER_HINT = (
    "The model registry of azureml.core, the SDK of version 1, is not served here. In place of register_model write"
    " mlflow.register_model(f\"runs:/{os.environ['MLFLOW_RUN_ID']}/FOLDER\", name)."
)


def hints(last: str) -> Iterator[str]:
    """At most one line. `last`: of a command that failed."""
    if _MISSING.search(last) and _NAMED.search(last):
        yield HINT
    elif _UPLOADS.search(last):
        yield UPLOAD_HINT
    elif "azureml._restclient.models.model_error_response.ModelErrorResponseException" in last:
        yield REGISTER_HINT
