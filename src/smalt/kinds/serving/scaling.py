"""Scale settings of deployments: what they may say, how many instances are wanted, and when that changes. All pure.

Azure takes `TargetUtilization` for Kubernetes alone; here it holds for managed deployments, too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smalt.arm import scale
from smalt.arm.durations import seconds_of
from smalt.arm.errors import invalid
from smalt.arm.kind import Document
from smalt.arm.scale import MOST
from smalt.store.resources import Row

DEFAULT, TARGET = "Default", "TargetUtilization"
FIELD = "properties.scaleSettings"
_POLL_MOST_S = 3600.0


@dataclass(frozen=True)
class Limits:
    """`target`: the part (0–1) of what its instances take at once that a deployment is to be busy with.

    `poll_s`: how often that is looked at.
    """

    least: int
    most: int
    target: float
    poll_s: float


def checked(given: Mapping[str, Any] | None) -> Document:
    """`scaleSettings` with their defaults. Raises ArmError(400)."""
    values = {name: value for name, value in (given or {}).items() if value is not None}
    kind = str(values.get("scaleType") or DEFAULT)
    spelled = next((one for one in (DEFAULT, TARGET) if one.lower() == kind.replace("_", "").lower()), None)
    if spelled is None:
        raise invalid(f"{FIELD}.scaleType: '{kind[:80]}' is none of {DEFAULT}, {TARGET}.", f"{FIELD}.scaleType")
    if spelled == DEFAULT:
        return {**values, "scaleType": DEFAULT}
    least = _whole(values, "minInstances", 1, 0, MOST)
    most = _whole(values, "maxInstances", max(least, 1), 1, MOST)
    if least > most:
        raise invalid(f"{FIELD}.minInstances: {least} is more than maxInstances, {most}.", f"{FIELD}.minInstances")
    target = _whole(values, "targetUtilizationPercentage", 70, 1, 100)
    poll = str(values.get("pollingInterval") or "PT1S")
    if not 1 <= seconds_of(poll, 1, f"{FIELD}.pollingInterval") <= _POLL_MOST_S:
        raise invalid(f"{FIELD}.pollingInterval: from 1 s to an hour is possible.", f"{FIELD}.pollingInterval")
    return {
        **values,
        "scaleType": TARGET,
        "minInstances": least,
        "maxInstances": most,
        "targetUtilizationPercentage": target,
        "pollingInterval": poll,
    }


def _whole(values: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    given = values.get(name, default)
    number = int(given) if isinstance(given, str) and given.isascii() and given.isdigit() else given
    if type(number) is not int or not least <= number <= most:
        raise invalid(
            f"{FIELD}.{name}: {str(given)[:80]} is no whole number from {least} to {most}.", f"{FIELD}.{name}"
        )
    return number


def limits_of(properties: Mapping[str, Any]) -> Limits | None:
    """None: the deployment does not scale itself."""
    given = properties.get("scaleSettings") or {}
    if given.get("scaleType") != TARGET or "pollingInterval" not in given:  # an older version stored what it was given
        return None
    return Limits(
        given["minInstances"],
        given["maxInstances"],
        given["targetUtilizationPercentage"] / 100,
        seconds_of(given["pollingInterval"], 1),
    )


def scaled(row: Row) -> bool:
    """Whether something else than the sku says how many instances there are."""
    return limits_of(row.properties) is not None or scale.holds(row)


def count(row: Row) -> int:
    """How many instances there are to be."""
    limits = limits_of(row.properties)
    if limits is None:
        return scale.count(row)
    begin = int(row.spec["sku"]["capacity"])
    return min(max(int(scale.decided(row).get("count", begin)), limits.least), limits.most)


def least(row: Row) -> int:
    """How many instances stay when nothing is asked of them."""
    limits = limits_of(row.properties)
    return limits.least if limits else 1


def wanted(in_flight: int, at_once: int, limits: Limits) -> int:
    """How many instances `in_flight` requests (served and queued) need, each of which takes `at_once`."""
    return min(max(math.ceil(in_flight / (at_once * limits.target)), limits.least), limits.most)


@dataclass
class Trend:
    """What one deployment needed lately: (when, instances), oldest first."""

    seen: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    since: float | None = None

    def decide(self, now: float, needed: int, have: int, calm_s: float) -> int:
        """Out at the first look that needs more; in when for `calm_s` none did, and then only to the most of those."""
        if self.since is None or now < self.since:  # the clock was set back: what was seen is of another time
            self.since = now
            self.seen.clear()
        while self.seen and (self.seen[-1][1] <= needed or self.seen[-1][0] > now):
            self.seen.pop()  # what is followed by as much decides nothing any more
        self.seen.append((now, needed))
        while self.seen[0][0] < now - calm_s:
            self.seen.popleft()
        if needed >= have:
            return needed
        return self.seen[0][1] if now - self.since >= calm_s else have
