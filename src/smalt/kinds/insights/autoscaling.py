"""What an autoscale setting decides: which profile holds now, and to how many instances its rules lead. All pure.

https://learn.microsoft.com/azure/azure-monitor/autoscale/autoscale-understanding-settings
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from smalt.arm.zones import instant
from smalt.kinds.insights.conditions import Condition

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
INCREASE, DECREASE = "Increase", "Decrease"
COUNT, PERCENT, EXACT = "ChangeCount", "PercentChangeCount", "ExactCount"
Read = Callable[[Condition], float | None]


@dataclass(frozen=True)
class Rule:
    condition: Condition
    direction: str
    type: str
    value: int
    cooldown_s: float

    @property
    def grows(self) -> bool:
        return self.direction == INCREASE

    def leads_to(self, count: int) -> int:
        if self.type == EXACT:
            return self.value
        by = self.value if self.type == COUNT else max(1, math.ceil(count * self.value / 100))
        return count + by if self.grows else count - by


@dataclass(frozen=True)
class Fixed:
    """From one time (s since the epoch) to another."""

    begin: float
    end: float


@dataclass(frozen=True)
class Recurring:
    """It begins on these days of the week at these hours and minutes (in order), and holds until another one begins."""

    zone: tzinfo
    days: tuple[int, ...]
    times: tuple[tuple[int, int], ...]

    def began(self, now: float) -> float:
        """When it began last."""
        local = datetime.fromtimestamp(now, UTC).astimezone(self.zone).replace(tzinfo=None)
        for back in range(8):
            day = local - timedelta(days=back)
            if day.weekday() in self.days:
                for hour, minute in reversed(self.times):
                    at = instant(day.replace(hour=hour, minute=minute, second=0, microsecond=0), self.zone).timestamp()
                    if at <= now:
                        return at
        return float("-inf")


@dataclass(frozen=True)
class Profile:
    name: str
    least: int
    most: int
    default: int
    rules: tuple[Rule, ...] = ()
    when: Fixed | Recurring | None = None


@dataclass(frozen=True)
class Decision:
    count: int
    profile: str
    reason: str


def current(profiles: Sequence[Profile], now: float) -> Profile | None:
    """A fixed date before what recurs, of that what began last, before what holds always; None: nothing holds now."""
    for one in profiles:
        if isinstance(one.when, Fixed) and one.when.begin <= now < one.when.end:
            return one
    recurring = [(one.when.began(now), at) for at, one in enumerate(profiles) if isinstance(one.when, Recurring)]
    if recurring and (latest := max(recurring))[0] > float("-inf"):
        return profiles[latest[1]]
    return next((one for one in profiles if one.when is None), None)


def decide(
    profile: Profile, read: Read, count: int, now: float, acted: Mapping[str, float], live: int | None = None
) -> Decision:
    """`acted`: when the number was last changed, by direction; `live`: how many take requests now (None: all).

    Out where any rule says so, and to the most that one asks for; in only where all rules that lead in say so, to the
    most again, and neither while some are still to come up nor where a rule that leads out would hold with so few.
    """
    within = min(max(count, profile.least), profile.most)
    if within != count:
        return Decision(within, profile.name, f"from {profile.least} to {profile.most} instances are allowed")
    values = {rule: read(rule.condition) for rule in profile.rules}
    if profile.rules and all(value is None for value in values.values()) and 0 < count < profile.default:
        return Decision(profile.default, profile.name, "no metric could be read")
    ago_s = now - max(acted.values(), default=float("-inf"))
    met = [rule for rule, value in values.items() if value is not None and rule.condition.holds(value)]
    out = [rule for rule in met if rule.grows and ago_s >= rule.cooldown_s and rule.leads_to(count) > count]
    if out:
        best = max(out, key=lambda rule: rule.leads_to(count))
        return _to(profile, best, values, best.leads_to(count))
    inward = [rule for rule in profile.rules if not rule.grows]
    coming_up = live is not None and live < count
    if coming_up or not inward or any(rule not in met or ago_s < rule.cooldown_s for rule in inward):
        return Decision(count, profile.name, "")
    best = max(inward, key=lambda rule: rule.leads_to(count))
    fewer = max(best.leads_to(count), profile.least)
    if fewer >= count or _flaps(profile, values, count, fewer):
        return Decision(count, profile.name, "")
    return _to(profile, best, values, fewer)


def _flaps(profile: Profile, values: Mapping[Rule, float | None], count: int, fewer: int) -> bool:
    """Whether what each instance has to do with so few would lead out again at once."""
    for rule in profile.rules:
        value, one = values[rule], rule.condition
        shared = one.divide or one.metric.endswith("Percentage")
        if rule.grows and value is not None and shared and one.holds(value * count / max(fewer, 1)):
            return True
    return False


def _to(profile: Profile, rule: Rule, values: Mapping[Rule, float | None], count: int) -> Decision:
    one, value = rule.condition, values[rule]
    within = min(max(count, profile.least), profile.most)
    reason = f"{one.metric} is {value:g}: {one.operator} {one.threshold:g}"
    return Decision(within, profile.name, reason)
