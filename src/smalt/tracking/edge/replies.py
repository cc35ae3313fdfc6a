"""Errors in our callers' two languages: MLflow's `{"error_code", "message"}` and Azure's `{"error": {"code", …}}`."""

from __future__ import annotations

import json

from starlette.responses import JSONResponse, Response

from smalt.arm.errors import ArmError
from smalt.arm.ports import NotReady

# https://github.com/mlflow/mlflow/blob/master/mlflow/protos/databricks.proto (enum ErrorCode)
_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "ENDPOINT_NOT_FOUND",
    409: "RESOURCE_CONFLICT",
    413: "REQUEST_LIMIT_EXCEEDED",
    415: "INVALID_PARAMETER_VALUE",
    422: "RESOURCE_EXHAUSTED",
    429: "REQUEST_LIMIT_EXCEEDED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
}
RETRY_AFTER = {"Retry-After": "1"}
_NOSNIFF = {"X-Content-Type-Options": "nosniff"}


def mlflow_error(error: ArmError) -> Response:
    code = _CODES.get(error.status, "INTERNAL_ERROR")
    return JSONResponse({"error_code": code, "message": error.message}, error.status, headers=error.headers | _NOSNIFF)


def in_json(status: int, rest: str) -> bytes:
    """MLflow's JSON in place of the page (or plain text) with which its web framework says that a request failed."""
    message = f"MLflow failed on {rest[:200]}; mlflow.log says why."
    if status < 500:
        message = f"MLflow does not take this request to {rest[:200]} (HTTP {status})."
    return json.dumps({"error_code": _CODES.get(status, "INTERNAL_ERROR"), "message": message}).encode()


def azure_error(error: ArmError) -> Response:
    return JSONResponse({"error": error.body()}, error.status, headers=error.headers | _NOSNIFF)


def unavailable(reason: str) -> ArmError:
    return ArmError(
        503, "ServiceUnavailable", f"MLflow is starting: {reason}. Try again soon.", headers=dict(RETRY_AFTER)
    )


def not_ready(error: NotReady) -> ArmError:
    return ArmError(503, "ServiceUnavailable", str(error), headers=dict(RETRY_AFTER))


def busy() -> ArmError:
    return ArmError(
        503,
        "ServerBusy",
        "MLflow's database is locked or cannot be reached; try again.",
        headers=dict(RETRY_AFTER),
    )


def too_large(limit_bytes: int) -> ArmError:
    return ArmError(
        413,
        "RequestTooLarge",
        f"A tracking request holds at most {limit_bytes >> 20} MiB; log in smaller batches,"
        " or log a file as an artifact.",
    )
