"""What a request came to, before it is HTTP; and how values become JSON.

Azure's front end answers 424 where the scoring script fails and tells the script's own status in two headers; its
server alone, without the front end, answers 500 there. We are both, so we answer as the front end.
"""

from __future__ import annotations

import json
from typing import Any, Generator

JSON = "application/json"
TEXT = "text/html; charset=utf-8"
FAILED_HEADER = "x-ms-run-function-failed"
EXEC_HEADER = "x-ms-run-fn-exec-ms"


class ScoringTimeout(BaseException):
    """Raised inside the user's code when its time is over. No `Exception`: the user's handlers should not keep it."""


class InputError(Exception):
    """The request cannot be given to the model; `status` is 400, 405 or 415, the text goes to the client."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Outcome:
    """Status, body and headers of an answer; `failed` says that the user's code failed, for the metrics. With `pieces`
    the body is still to be made, of these (`streaming.py`)."""

    __slots__ = ("batch", "body", "failed", "headers", "pieces", "status")

    def __init__(
        self, status: int, body: bytes, headers: list[tuple[str, str]], failed: bool = False, batch: int = 1
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.failed = failed
        self.batch = batch
        self.pieces: Generator[bytes, None, None] | None = None


def plain_value(value: Any) -> Any:
    """numpy's and pandas' values as JSON can hold them. Azure's server refuses them; here they simply work."""
    for method in ("tolist", "to_dict", "isoformat"):
        convert = getattr(value, method, None)
        if callable(convert) and not isinstance(value, type):
            if method == "isoformat" and value != value:  # NaT
                return None
            return convert(orient="records") if method == "to_dict" and hasattr(value, "columns") else convert()
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def to_json(value: Any) -> bytes:
    return json.dumps(value, default=plain_value).encode("utf-8")


def scored(body: bytes, elapsed_ms: float, batch: int = 1) -> Outcome:
    headers = [("Content-Type", JSON), (FAILED_HEADER, "False"), (EXEC_HEADER, f"{elapsed_ms:.3f}")]
    return Outcome(200, body, headers, batch=batch)


def error(status: int, message: str, failed: bool = False) -> Outcome:
    headers = [("Content-Type", JSON), (FAILED_HEADER, str(failed))]
    return Outcome(status, to_json({"message": message}), headers, failed)


def model_error(message: str) -> Outcome:
    """The user's code failed: 424, and the status that Azure's own server would have given."""
    outcome = error(424, message, failed=True)
    outcome.headers += [("ms-azureml-model-error-statuscode", "500"), ("ms-azureml-model-error-reason", "model_error")]
    return outcome
