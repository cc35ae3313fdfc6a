"""Azure's model management of the SDK of version 1: `/modelmanagement/v1.0{WS}/services`, `/models`, ….

Neither its registry nor its web services (on ACI and AKS) are here. azureml-mlflow's client of deployments asks for
them all the same, after it has looked at the online endpoints: it has to hear that there are none, not that it failed.
Read from azureml-mlflow 1.62, `deploy/deployment_client.py`, `_restclient/mms`.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from smalt.arm.errors import ArmError

_SERVICES = "services"
_NO_MODELS = (
    "The model registry of azureml.core, the SDK of version 1, is not served here: in place of run.register_model or"
    ' Model.register write mlflow.register_model("runs:/RUN_ID/FOLDER", name).'
)
_NO_SERVICES = (
    "Web services on ACI and AKS, which azureml.core's Model.deploy and MLflow's create_deployment without a"
    " configuration make, are not served here. Make an online endpoint:"
    " create_deployment(name, model_uri, endpoint=ENDPOINT,"
    ' config={"deploy-config-file": FILE}) with instance_type and instance_count in the file, and no computeType.'
)


def model_management_response(method: str, rest: str) -> Response:
    """`rest`: the path below the workspace. Raises ArmError."""
    what, _, name = rest.strip("/").partition("/")
    if what.lower() != _SERVICES:
        raise ArmError(501, "NotImplemented", _NO_MODELS)
    if method in ("POST", "PUT", "PATCH"):
        raise ArmError(501, "NotImplemented", _NO_SERVICES)
    if method == "DELETE":
        return Response(status_code=204)
    if not name:
        return JSONResponse({"value": [], "nextLink": None})
    # The client looks for the code in the message.
    raise ArmError(404, "NoSuchService", f"NoSuchService: there is no web service '{name[:200]}'.", "name")
