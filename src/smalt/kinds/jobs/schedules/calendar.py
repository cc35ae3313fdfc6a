"""`GET WORKSPACE/scheduleDays`: when the schedules that are enabled run next, by the days of a time zone.

Azure has no such route; the Studio's calendar shows it. Of each schedule and day the first times are told, and how the
day goes on is not counted, so that one of every minute costs no more than others.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

from smalt.arm import triggers, zones
from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ML
from smalt.arm.kind import Document, Kind, Request
from smalt.arm.reach import narrowed
from smalt.kinds.jobs.schedules.status import ScheduleStatus
from smalt.store import pages
from smalt.store.resources import Row

DAYS_MOST = 42  # as many as a month's calendar shows
TIMES_SHOWN = 3  # of one schedule on one day
SCHEDULES_MOST = 100
_SCHEDULES = "workspaces/schedules"


def _list(request: Request) -> tuple[int, Any]:
    """`?from=2026-12-01&days=31&zone=Europe/Berlin`; today, 31 and UTC where nothing is said."""
    place = zones.zone(request.query.get("zone") or "UTC", "zone")
    first, count = _first(request, place), _count(request)
    above = request.id.holder.key
    grants = request.platform.grants.reach(request.principal, f"{ML}/{_SCHEDULES}/read")
    with request.platform.database.read() as connection:
        page = pages.page(
            connection, _SCHEDULES, above, most=SCHEDULES_MOST, archived=False, seen=narrowed(grants, above, _SCHEDULES)
        )
    days: list[list[Document]] = [[] for _ in range(count)]
    for row in page.rows:
        for at, shown in _of(row, [first + timedelta(days=one) for one in range(count + 1)], place, request.now):
            days[at].append(shown)
    value = [
        {"date": (first + timedelta(days=at)).isoformat(), "schedules": sorted(of, key=lambda one: one["times"])}
        for at, of in enumerate(days)
    ]
    return 200, {"value": value, "more": page.skip is not None}


def _of(row: Row, days: list[date], place: tzinfo, now: float) -> Iterator[tuple[int, Document]]:
    """The days on which the schedule runs, by number, with its first times on each."""
    at = ScheduleStatus.read(row.status).next
    try:
        trigger = triggers.parsed(row.properties["trigger"], row.created_at)
    except ArmError:  # its zone is known no more
        return
    begins = [_begin(one, place) for one in days]
    for day, (begin, end) in enumerate(pairwise(begins)):
        if end <= now:
            continue
        times: list[int] = []
        at = at if at is None or at >= begin else trigger.next(begin - 1)
        while at is not None and at < end and len(times) < TIMES_SHOWN:
            times.append(at)
            at = trigger.next(at)
        if times:
            title = row.properties.get("displayName") or row.name
            shown = {"name": row.name, "title": title, "times": [timestamp(one) for one in times]}
            yield day, {**shown, "more": at is not None and at < end}


def _begin(day: date, place: tzinfo) -> int:
    return int(zones.instant(datetime(day.year, day.month, day.day), place).timestamp())


def _first(request: Request, place: tzinfo) -> date:
    given = request.query.get("from")
    if not given:
        return datetime.fromtimestamp(request.now, UTC).astimezone(place).date()
    try:
        found = date.fromisoformat(given)
    except ValueError:
        found = None
    if found is None or not triggers.YEARS[0] <= found.year < triggers.YEARS[1]:
        raise invalid(f"from: {given[:60]!r} is no day such as 2026-12-01.", "from")
    return found


def _count(request: Request) -> int:
    given = request.query.get("days") or "31"
    if not given.isdecimal() or len(given) > 3 or not 1 <= int(given) <= DAYS_MOST:
        raise invalid(f"days: give a number from 1 to {DAYS_MOST} (given: {given[:40]!r}).", "days")
    return int(given)


KIND = Kind(path="workspaces/scheduleDays", title="day of schedules", verbs={"LIST": _list}, narrows=True)
