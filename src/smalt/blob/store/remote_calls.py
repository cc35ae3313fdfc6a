"""What an object store answers when it fails: not reached, too slow, a refusal. One kind of error, without secrets.

The library tries again by itself (`opening.RETRIES`); what comes here has failed for good.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from smalt.arm.outage import StoreAway

MISSING = (NotFoundError, FileNotFoundError)
_ANSWERS = (*MISSING, AlreadyExistsError, PreconditionError)
_STATUS = re.compile(r"status code: (\d{3}[^:]*)|HTTP status \w+ error \((\d{3}[^)]*)\)|status: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_REASONS = (
    ("dns error", "its name is not resolved"),
    ("refused", "the connection is refused"),
    ("timed out", "it does not answer in time"),
    ("kind: timeout", "it does not answer in time"),
    ("certificate", "its certificate is not trusted"),
    ("http scheme", "its address is not https"),
    ("non-partial response", "it does not serve parts of objects, and answers a range with 200"),
    ("169.254.", "there are no credentials: none in the environment, and no identity of this machine"),
)


@contextmanager
def asked() -> Iterator[None]:
    """Around a call: lets pass what is an answer (missing, exists, changed), and makes the rest a StoreAway."""
    try:
        yield
    except _ANSWERS:
        raise
    except (BaseError, OSError) as error:
        raise StoreAway(words_for(error)) from None  # the library's text has addresses, with a SAS perhaps


def words_for(error: Exception) -> str:
    """Why, in a few words of ours: the library's own may hold what opens the store."""
    said = str(error)
    if isinstance(error, PermissionDeniedError):
        return f"it refuses these credentials 403{_code(said)}"
    if isinstance(error, UnauthenticatedError):
        return f"it does not know these credentials 401{_code(said)}"
    lowered = said.lower()
    for sign, reason in _REASONS:
        if sign in lowered:
            return reason
    if found := _STATUS.search(said):
        status = next(one for one in found.groups() if one)[:3]
        verb = "it refuses these credentials" if status in ("401", "403") else "it answers"
        return f"{verb} {status}{_code(said)}"
    if "error sending request" in lowered or "connect" in lowered:
        return "it is not reached"
    return f"a request to it failed ({type(error).__name__})"


def _code(said: str) -> str:
    found = _CODE.search(said)
    return f" {found[1]}" if found else ""
