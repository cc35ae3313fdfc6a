"""When a schedule runs: `CronTrigger` and `RecurrenceTrigger` as times that follow each other, in whole seconds.

What the words mean: https://learn.microsoft.com/azure/machine-learning/how-to-schedule-pipeline-job
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from math import floor
from typing import Annotated, Any, Protocol

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from smalt.arm.errors import invalid
from smalt.arm.recurrence import WEEKDAYS, Calendar, Every
from smalt.arm.validation import Properties, nearest
from smalt.arm.zones import instant, zone
from smalt.store.document import part

FIELD = "properties.trigger"
_ELAPSED = {"minute": 60, "hour": 3600}
_CALENDAR = ("day", "week", "month")
_FIELDS_OF_CRON = 5
YEARS = (1970, 9000)  # the first and the last that a time may be in


def _spelled(day: str) -> str:
    """As the service gives it back: `Monday`. What is no day is refused with the trigger."""
    return day.capitalize() if day.lower() in WEEKDAYS else day


class Pattern(Properties):
    hours: list[Annotated[int, Field(ge=0, le=23)]] | None = None
    minutes: list[Annotated[int, Field(ge=0, le=59)]] | None = None
    week_days: list[Annotated[str, AfterValidator(_spelled)]] | None = None
    month_days: list[Annotated[int, Field(ge=1, le=31)]] | None = None


class TriggerProperties(Properties):
    trigger_type: str
    start_time: str | None = None
    end_time: str | None = None
    time_zone: str | None = None
    expression: str | None = None
    frequency: str | None = None
    interval: int | None = Field(None, ge=1, le=1_000_000)
    schedule: Pattern | None = None


class Times(Protocol):
    """Times in UTC, without a beginning or an end. None: there is none, or not within 50 years."""

    def next(self, after: datetime) -> datetime | None:
        """The first one after that."""
        ...

    def last(self, at: datetime) -> datetime | None:
        """The last one up to that."""
        ...


@dataclass(frozen=True)
class Cron:
    """Times that name their hour follow the clocks there. Those of every hour, or every few minutes, go on regardless.

    So does Debian's cron.
    """

    expression: str
    zone: tzinfo

    def next(self, after: datetime) -> datetime | None:
        return self._first(CronSim(self.expression, after.astimezone(self.zone)), lambda at: at > after)

    def last(self, at: datetime) -> datetime | None:
        behind = (at + timedelta(seconds=1)).astimezone(self.zone)
        return self._first(CronSim(self.expression, behind, reverse=True), lambda one: one <= at)

    @staticmethod
    def _first(times: CronSim, fits: Callable[[datetime], bool]) -> datetime | None:
        """One that the clocks show twice may come first, and be over."""
        return next((found for local in times if fits(found := local.astimezone(UTC))), None)


@dataclass(frozen=True)
class Trigger:
    """`start` and `end` are included; seconds since the epoch, as all times here."""

    times: Times
    start: int
    end: float | None = None

    def next(self, after: float) -> int | None:
        """The first time after that; None: there will be none."""
        found = self.times.next(_utc(max(floor(after), self.start - 1)))
        return None if found is None or (self.end is not None and found.timestamp() > self.end) else _seconds(found)

    def last(self, at: float) -> int | None:
        """The last time up to that."""
        found = self.times.last(_utc(at if self.end is None else min(at, self.end)))
        return None if found is None or found.timestamp() < self.start else _seconds(found)


def parsed(given: Mapping[str, Any], created_at: float, at: str = FIELD) -> Trigger:
    """`created_at`: where no start is given, it is that. `at`: the field that it is of. Raises ArmError(400)."""
    place = zone(given.get("timeZone") or "UTC", f"{at}.timeZone")
    start = _time(given, "startTime", place, at)
    begin = floor(created_at if start is None else start)
    end = _time(given, "endTime", place, at)
    if end is not None and end < begin:
        message = f"{at}.endTime: {given['endTime']} is before the schedule begins."
        raise invalid(message, f"{at}.endTime")
    kind = str(given.get("triggerType")).lower()
    if kind == "cron":
        return Trigger(_cron(given, place, at), begin, end)
    if kind == "recurrence":
        return Trigger(_recurrence(given, begin, place, at), begin, end)
    raise invalid(
        f"{at}.triggerType: '{given.get('triggerType')}' is neither Cron nor Recurrence.", f"{at}.triggerType"
    )


def _cron(given: Mapping[str, Any], place: tzinfo, at: str) -> Cron:
    expression, field = str(given.get("expression") or ""), f"{at}.expression"
    fields = "MINUTES HOURS DAYS MONTHS DAYS-OF-WEEK"
    if len(expression.split()) != _FIELDS_OF_CRON:
        raise invalid(f"{field}: '{expression[:80]}' must have the five fields {fields}, such as 15 16 * * 1.", field)
    try:
        CronSim(expression, datetime.now(UTC))
    except CronSimError as error:
        raise invalid(f"{field}: '{expression[:80]}': {error}. The fields are {fields}.", field) from None
    return Cron(expression, place)


def _recurrence(given: Mapping[str, Any], start: int, place: tzinfo, at: str) -> Times:
    frequency, interval = str(given.get("frequency") or "").lower(), given.get("interval")
    if frequency not in (*_ELAPSED, *_CALENDAR):
        field, known = f"{at}.frequency", ("Minute", "Hour", "Day", "Week", "Month")
        message = f"{field}: '{given.get('frequency')}' is none of {', '.join(known)}."
        raise invalid(message + nearest(frequency.capitalize(), known), field)
    if interval is None:
        raise invalid(f"{at}.interval is missing: how many of the frequency's units.", f"{at}.interval")
    pattern = {name: value for name, value in part(given, "schedule").items() if value}
    _check_pattern(frequency, pattern, f"{at}.schedule")
    if frequency in _ELAPSED:
        return Every(_utc(start), timedelta(seconds=interval * _ELAPSED[frequency]))
    begin = _utc(start).astimezone(place).replace(tzinfo=None)
    days = tuple(_weekday(one, f"{at}.schedule.weekDays") for one in pattern.get("weekDays", ()))
    if frequency == "week" and not days:
        days = (begin.weekday(),)
    return Calendar(
        place,
        begin.date(),
        frequency,
        interval,
        clock=_clock(begin, pattern),
        weekdays=days,
        monthdays=tuple(pattern.get("monthDays", ())) or (() if days else (begin.day,)),
    )


def _check_pattern(frequency: str, pattern: Mapping[str, Any], field: str) -> None:
    allowed = {
        "day": ("hours", "minutes"),
        "week": ("hours", "minutes", "weekDays"),
        "month": ("hours", "minutes", "weekDays", "monthDays"),
    }.get(frequency, ())
    for name in ("hours", "minutes", "weekDays", "monthDays"):
        if name in pattern and name not in allowed:
            raise invalid(f"{field}.{name} has no meaning with the frequency {frequency}.", f"{field}.{name}")
    if "weekDays" in pattern and "monthDays" in pattern:
        raise invalid(f"{field}.monthDays cannot stand beside weekDays: give one of them.", f"{field}.monthDays")


def _clock(begin: datetime, pattern: Mapping[str, Any]) -> tuple[timedelta, ...]:
    """Times of the day. What the pattern does not say is as at the start."""
    second = 0 if "hours" in pattern or "minutes" in pattern else begin.second
    hours, minutes = pattern.get("hours") or [begin.hour], pattern.get("minutes") or [begin.minute]
    return tuple(
        timedelta(hours=hour, minutes=minute, seconds=second)
        for hour in sorted(set(hours))
        for minute in sorted(set(minutes))
    )


def _weekday(name: str, field: str) -> int:
    if name.lower() not in WEEKDAYS:
        raise invalid(f"{field}: '{name[:40]}' is no day of the week.{nearest(name.lower(), WEEKDAYS)}", field)
    return WEEKDAYS.index(name.lower())


def _time(given: Mapping[str, Any], name: str, place: tzinfo, at: str) -> float | None:
    """`2022-06-01T10:00:00`, there; with an offset, as it says."""
    text = given.get(name)
    if not text:
        return None
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        found = None
    if found is None or not YEARS[0] <= found.year <= YEARS[1]:
        field = f"{at}.{name}"
        raise invalid(f"{field}: '{str(text)[:80]}' is no time such as 2022-06-01T10:00:00.", field)
    return (instant(found.replace(microsecond=0), place) if found.tzinfo is None else found).timestamp()


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
