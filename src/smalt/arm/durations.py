"""ISO 8601 durations as clients send them (PT2M30S, P1DT2H), in seconds."""

from __future__ import annotations

import re

from smalt.arm.errors import invalid

_WHOLE, _PARTS = r"([0-9]{1,9})", r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
# .NET's TimeSpan.MaxValue; azure-ai-ml reads no list with one that Python's timedelta cannot hold
MOST, MOST_S = "P10675199DT2H48M5.4775807S", 922_337_203_685.4776
_FORM = re.compile(f"P(?:{_WHOLE}D)?(?:T(?:{_WHOLE}H)?(?:{_WHOLE}M)?(?:{_PARTS}S)?)?")


def seconds_of(duration: str | None, default: float, field: str = "") -> float:
    """`default` where none is given. Raises ArmError(400) naming `field` for what is none, or too long a one."""
    if not duration:
        return default
    found = _FORM.fullmatch(str(duration))
    if not found or duration[-1] in "PT":
        raise invalid(f"{field}: '{duration}' is no ISO 8601 duration such as PT2M30S.", field)
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    found_s = days * 86400 + hours * 3600 + minutes * 60 + seconds
    if found_s > MOST_S:
        raise invalid(f"{field}: {duration} is longer than {MOST}.", field)
    return found_s
