"""The one error tree.

Everything that a caller did wrong, or that cannot be done, is an `ArmError`; the HTTP edge maps it once.

    ArmError
      status   the HTTP status
      code     ARM's word for it: UserError, ResourceNotFound, Conflict, ValidationError, …
      target   the field or resource that is meant
      details  more of the same, one for each wrong field

Shape on the wire: https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md#handling-errors
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ArmError(Exception):
    """An answer that is not the one hoped for. `message` says what, which resource, and what to do."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        target: str | None = None,
        details: Sequence[ArmError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details = tuple(details)
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """`{"code", "message", "target", "details"}`, as ARM writes it under `error`."""
        return {
            "code": self.code,
            "message": self.message,
            "target": self.target,
            "details": [one.body() for one in self.details],
        }


def not_found(what: str, name: str) -> ArmError:
    return ArmError(404, "ResourceNotFound", f"{what} '{name}' was not found.", target=name)


def invalid(message: str, target: str | None = None, details: Sequence[ArmError] = ()) -> ArmError:
    return ArmError(400, "ValidationError", message, target, details)


def conflict(message: str, target: str | None = None) -> ArmError:
    return ArmError(409, "Conflict", message, target)


def unauthorized(message: str, code: str = "InvalidAuthenticationToken") -> ArmError:
    return ArmError(401, code, message, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


def forbidden(message: str, target: str | None = None) -> ArmError:
    return ArmError(403, "AuthorizationFailed", message, target)
