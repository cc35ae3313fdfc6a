"""Time zones by Windows' names, which Azure takes (`W. Europe Standard Time`), and by IANA's; local times in them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from tzlocal.windows_tz import win_tz

from smalt.arm.errors import invalid
from smalt.arm.validation import nearest

# Clients know these two, which CLDR has dropped.
_DROPPED = {"Kamchatka Standard Time": "Asia/Kamchatka", "Mid-Atlantic Standard Time": "Etc/GMT+2"}


def zone(name: str, field: str) -> tzinfo:
    """Raises ArmError(400)."""
    key = _names().get(name.lower())
    if key is None:
        hint = nearest(name, sorted([*win_tz, *available_timezones()]))
        raise invalid(f"{field}: '{name[:80]}' is no time zone, neither of Windows nor of IANA.{hint}", field)
    return UTC if key == "UTC" else ZoneInfo(key)


@cache
def _names() -> Mapping[str, str]:
    known = {**{key: key for key in available_timezones()}, **_DROPPED, **win_tz}
    return {name.lower(): key for name, key in known.items()}


def instant(local: datetime, zone: tzinfo) -> datetime:
    """In UTC, when clocks show `local` (naive) there.

    The first time, where they show it twice. Where they skip it, the first minute after that.
    """
    while True:
        found = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if found.astimezone(zone).replace(tzinfo=None) == local:
            return found
        local = local.replace(second=0) + timedelta(minutes=1)
