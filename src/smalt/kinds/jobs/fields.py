"""Errors of a job that stands in another document: with the fields of that."""

from __future__ import annotations

import re

from smalt.arm.errors import ArmError


def moved(error: ArmError, old: str, new: str) -> ArmError:
    """The error with `new` in place of the field `old`, in its message too."""

    def text(said: str) -> str:
        return re.sub(rf"(^|[\s'(]){re.escape(old)}(?=[.:]|\b)", rf"\g<1>{new}", said)

    details = [moved(one, old, new) for one in error.details]
    return ArmError(error.status, error.code, text(error.message), text(error.target or old), details)
