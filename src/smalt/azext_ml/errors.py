"""What goes wrong in a command, in the words and with the exit codes of Microsoft's CLI."""

from __future__ import annotations

from typing import Any


class MLError(Exception):
    """Told in a few lines on standard error. `status` is that of an answer of the server, None where it gave none."""

    def __init__(self, message: str, status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code

    @classmethod
    def answered(cls, status: int, body: Any) -> MLError:
        """From the server's answer; `body` is its JSON, or what came instead."""
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict) or not error.get("message"):
            return cls(f"The server answered with status {status}: {str(body)[:300]}", status)
        code, message = str(error.get("code") or status), str(error["message"])
        details = [
            str(one["message"]) for one in error.get("details") or () if isinstance(one, dict) and "message" in one
        ]
        lines = [f"({code}) {message}", *details, f"Code: {code}", f"Message: {message}"]
        return cls("\n".join(lines), status, code)


class UsageError(MLError):
    """Options that do not go together, or values that are none."""


class NoSDK(MLError):
    """A command needs azure-ai-ml, and this interpreter has none. Nothing was done yet."""


def is_absent(error: MLError) -> bool:
    """What was named is not there: `az` ends with 3 then. A kind that the server does not have is another matter."""
    return error.status == 404 and error.code != "InvalidResourceType"


def exit_code(error: MLError) -> int:
    """As `az`. What the parser refuses is 2."""
    return 3 if is_absent(error) else 1
