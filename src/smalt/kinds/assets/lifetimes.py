"""How long a signature (SAS) lasts that the platform hands out.

It cannot be taken back but with its key, so that what a job or a replica gets is short: it may outlive who asked for it
by no more than this.
"""

from __future__ import annotations

from typing import Any

from smalt.arm.errors import invalid
from smalt.arm.ports import Principal

HOURS = 24.0  # unless something else is asked for
HOURS_MOST = 24.0 * 7
HOURS_OF_TASKS = 4.0  # the most for jobs and replicas


def signature_hours(principal: Principal, asked: Any = None) -> float:
    """For `principal`, who asks for `asked` hours (None: as usual). Raises ArmError(400)."""
    if asked is None:
        hours = HOURS
    elif isinstance(asked, int | float) and not isinstance(asked, bool) and 0 < asked <= HOURS_MOST:
        hours = float(asked)
    else:
        raise invalid(
            f"expireAfterHours: this must be a number of hours above 0 and up to {HOURS_MOST:g}.", "expireAfterHours"
        )
    return min(hours, HOURS_OF_TASKS) if principal.acts_for_what_runs else hours
