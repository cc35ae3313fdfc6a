"""What MLflow's own handlers do not catch, as MLflow's JSON.

They read bodies as if each field had the type that it should have. Runs in MLflow's process (`mlflow_process`).
"""

from __future__ import annotations

import json
import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

# How Python says that a value is of another type, or out of range. All that a handler does with a request goes through
# such code.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_CODES = {400: "INVALID_PARAMETER_VALUE", 404: "ENDPOINT_NOT_FOUND", 405: "ENDPOINT_NOT_FOUND"}

_log = logging.getLogger(__name__)


def answer_in_json(app: Flask) -> None:
    """From now on `app` answers a request that it cannot read with 400, in JSON.

    Where it fails for other causes it says 500, in JSON.
    """
    app.register_error_handler(Exception, _answer)


def _answer(error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _response(error.code or 500, error.description or error.name)
    call = f"{request.method} {request.path[:200]}"
    if isinstance(error, _UNREADABLE):
        said = f"{type(error).__name__}: {error}"[:300]
        _log.warning("%s could not be read: %s", call, said)
        return _response(400, f"A value in this request is not of the type that MLflow expects there ({said}).")
    _log.error("%s failed", call, exc_info=error)
    why = (
        f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    )  # a full disk: the edge knows it
    return _response(500, f"MLflow failed on this request{why}; mlflow.log says why.")


def _response(status: int, message: str) -> Response:
    body = {"error_code": _CODES.get(status, "INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST"), "message": message}
    return Response(json.dumps(body), status, mimetype="application/json")
