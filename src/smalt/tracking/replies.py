"""Errors in the two languages of our callers: MLflow's `{"error_code", "message"}` and Azure's `{"error": {"code", …}}`."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from smalt.arm.errors import ArmError

# https://github.com/mlflow/mlflow/blob/master/mlflow/protos/databricks.proto (enum ErrorCode)
_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "ENDPOINT_NOT_FOUND",
    409: "RESOURCE_CONFLICT",
    413: "REQUEST_LIMIT_EXCEEDED",
    422: "RESOURCE_EXHAUSTED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
}
RETRY_AFTER = {"Retry-After": "1"}


def mlflow_error(error: ArmError) -> Response:
    code = _CODES.get(error.status, "INTERNAL_ERROR")
    return JSONResponse({"error_code": code, "message": error.message}, error.status, headers=error.headers)


def azure_error(error: ArmError) -> Response:
    return JSONResponse({"error": error.body()}, error.status, headers=error.headers)


def unavailable(reason: str) -> ArmError:
    return ArmError(
        503, "ServiceUnavailable", f"MLflow is starting: {reason}. Try again soon.", headers=dict(RETRY_AFTER)
    )


def too_large(limit_bytes: int) -> ArmError:
    return ArmError(
        413,
        "RequestTooLarge",
        f"A tracking request holds at most {limit_bytes >> 20} MiB; log in smaller batches, or log a file as an artifact.",
    )
