"""The times of a recurrence: so much time after each other, or days of a calendar at times of the day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from smalt.arm.zones import instant

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SEARCHED = timedelta(days=50 * 366)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Every:
    """From `start` on, whatever clocks show."""

    start: datetime
    step: timedelta

    def next(self, after: datetime) -> datetime | None:
        return self._at(max(0, (after - self.start) // self.step + 1))

    def last(self, at: datetime) -> datetime | None:
        return None if at < self.start else self._at((at - self.start) // self.step)

    def _at(self, number: int) -> datetime | None:
        try:
            return self.start + number * self.step
        except OverflowError:
            return None


@dataclass(frozen=True)
class Calendar:
    """Every so many days, weeks (from Monday on) or months, counted from the `first` day, in the clocks' time there.

    `clock`: at these times of a day. `weekdays`, from 0 for Monday, or `monthdays`: only on these; a month that does
    not have a day is left out.
    """

    zone: tzinfo
    first: date
    frequency: str  # day, week, month
    interval: int
    clock: tuple[timedelta, ...]
    weekdays: tuple[int, ...] = ()
    monthdays: tuple[int, ...] = ()

    def next(self, after: datetime) -> datetime | None:
        begin = max(self._local_day(after) - _DAY, self.first)
        return next((at for day in self._days(begin, 1) for at in self._times(day) if at > after), None)

    def last(self, at: datetime) -> datetime | None:
        begin = self._local_day(at) + _DAY
        return next((one for day in self._days(begin, -1) for one in reversed(self._times(day)) if one <= at), None)

    def _local_day(self, at: datetime) -> date:
        return at.astimezone(self.zone).date()

    def _days(self, begin: date, direction: int) -> Iterator[date]:
        """Those that it falls on, from `begin` on."""
        day, step, left = begin, direction * _DAY, _SEARCHED.days
        while day >= self.first and left:
            if self._falls_on(day):
                yield day
            if not date.min < day < date.max:
                return
            day, left = day + step, left - 1

    def _falls_on(self, day: date) -> bool:
        if self.frequency == "day":
            return not (day - self.first).days % self.interval
        if self.frequency == "week":
            weeks = ((day - self.first).days + self.first.weekday()) // 7
            return not weeks % self.interval and day.weekday() in self.weekdays
        months = (day.year - self.first.year) * 12 + day.month - self.first.month
        return not months % self.interval and (day.weekday() in self.weekdays or day.day in self.monthdays)

    def _times(self, day: date) -> list[datetime]:
        midnight = datetime.combine(day, time())
        return sorted({instant(midnight + one, self.zone) for one in self.clock})
