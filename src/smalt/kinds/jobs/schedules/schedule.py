"""Schedules: a job that is submitted again and again, at the times of a trigger.

A step that finds a time come submits its job and notes the next time, in one transaction. Times that were missed have
one job together, the last one's. A job that is refused is noted, and does not end the schedule.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from smalt.arm import occasions, triggers
from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError, conflict, invalid, not_found
from smalt.arm.kind import OURS, Action, Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.triggers import Trigger, TriggerProperties
from smalt.arm.validation import Properties, Texts
from smalt.kinds.jobs import authors
from smalt.kinds.jobs.schedules import actions, history, submission
from smalt.kinds.jobs.schedules.definition import Occasion
from smalt.kinds.jobs.schedules.history import REFUSED, SUBMITTED
from smalt.kinds.jobs.schedules.status import ScheduleStatus, refused, submitted
from smalt.store import resources
from smalt.store.resources import Lock, Row

_TIMES_SHOWN = 10


class ActionProperties(Properties):
    action_type: str
    job_definition: dict[str, Any] | None = None
    endpoint_invocation_definition: dict[str, Any] | None = None


class ScheduleProperties(Properties):
    description: str | None = None
    display_name: str | None = None
    tags: Texts | None = None
    properties: Texts | None = None
    is_enabled: bool | None = None
    trigger: TriggerProperties
    action: ActionProperties


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties, now = dict(request.body["properties"]), request.now
    enabled, was = properties.get("isEnabled"), old is None or _is_enabled(old)
    enabled = was if enabled is None else bool(enabled)
    trigger = triggers.parsed(properties["trigger"], old.created_at if old else now)
    same = old is not None and _meaning(old.properties.get("trigger")) == _meaning(properties["trigger"])
    action = actions.complete(request, connection, properties["action"], old)
    changed = old is None or action != old.properties.get("action")
    if old is None or (enabled and (changed or not was)):  # one whose job cannot run any more can be disabled
        what = Occasion.of(request.id.name, int(now))
        actions.taken(request, connection, action, request.id.name, what)
    status = ScheduleStatus.read(old.status if old else {})
    if not (same and was and enabled):  # else what has come already, and is not submitted yet, stays so
        first = trigger.next(trigger.start - 1 if old is None and not properties["trigger"].get("startTime") else now)
        if first is None and (enabled or not same):
            _never(properties["trigger"], trigger, now)
        status = replace(status, next=first if enabled else None)
    if old is not None and not changed and (request.patched or not enabled):
        author = authors.inherited(old)
    else:  # who puts what is to run vouches for it
        author = authors.of(request, connection)
    spec = {**request.body, "properties": {**properties, "isEnabled": enabled, "action": action}, OURS: author}
    return Admitted(spec, state="Succeeded", due=True, status=status.document(), archived=not enabled)


def _is_enabled(row: Row) -> bool:
    return not row.archived


def _meaning(trigger: Mapping[str, Any] | None) -> Document:
    return {name: value for name, value in (trigger or {}).items() if value is not None}


def _never(given: Mapping[str, Any], trigger: Trigger, now: float) -> None:
    if trigger.end is not None and trigger.end <= now:
        raise invalid(f"properties.trigger.endTime: {given['endTime']} is in the past.", "properties.trigger.endTime")
    raise invalid("properties.trigger: there is no time at which this schedule would run.", "properties.trigger")


def _trigger_of(row: Row) -> Trigger:
    return triggers.parsed(row.properties["trigger"], row.created_at)


def _reconcile(platform: Platform, row: Row) -> Step:
    if row.deleting:
        return Step(row.state, row.status, gone=True)
    status, now = ScheduleStatus.read(row.status), platform.clock()
    if (asked := _asked(row, status)) is not None:
        return _submits(platform, row, *asked, now)
    if status.next is None:
        return _waits(row, status, now)
    trigger = _trigger_of(row)
    if now < status.next:  # planned anew: the clock may have been set back
        return _waits(row, replace(status, next=trigger.next(now)), now)
    occasion = _come(row, status.next, trigger, now)
    return _submits(platform, row, occasion, replace(status, next=trigger.next(now)), now)


def _submits(platform: Platform, row: Row, occasion: Occasion, status: ScheduleStatus, now: float) -> Step:
    def writes(connection: Connection) -> None:
        submission.submit(platform, connection, row, occasion)

    step = _waits(row, replace(status, last=submitted(occasion)), now)
    return replace(step, reason=f"{SUBMITTED}{occasion.name}", writes=writes)


def _asked(row: Row, status: ScheduleStatus) -> tuple[Occasion, ScheduleStatus] | None:
    """The job that somebody waits for at another time (`arm/occasions.py`), and the status without it."""
    for key, who, at in occasions.asked(status.rest):
        occasion = Occasion.of(row.name, at)
        rest = {name: value for name, value in status.rest.items() if name != key}
        return replace(occasion, name=f"{occasion.name}-{who[:8]}"), replace(status, rest=rest)
    return None


def _come(row: Row, first: int, trigger: Trigger, now: float) -> Occasion:
    """The last of the times that have come, from `first` on."""
    return Occasion.of(row.name, max(first, trigger.last(now) or first))


def _waits(row: Row, status: ScheduleStatus, now: float) -> Step:
    after = None if status.next is None else max(status.next - now, 0.0)
    after = 0.0 if occasions.asked(status.rest) else after
    return Step("Succeeded", status.document(), done=True, after=after)


def _fail(platform: Platform, row: Row, error: Document) -> Step:
    """The job of this time is refused, or cannot be submitted: the schedule goes on with the next."""
    status, now = ScheduleStatus.read(row.status), platform.clock()
    if (asked := _asked(row, status)) is not None:
        return _refused(row, *asked, error, now)
    try:
        trigger = _trigger_of(row)
    except ArmError:  # a time zone that is known no more
        return _waits(row, replace(status, next=None, last={"error": error}), now)
    if status.next is None or now < status.next:
        return _waits(row, status, now)
    occasion = _come(row, status.next, trigger, now)
    return _refused(row, occasion, replace(status, next=trigger.next(now)), error, now)


def _refused(row: Row, occasion: Occasion, status: ScheduleStatus, error: Document, now: float) -> Step:
    reason = f"{REFUSED}{occasion.written}: {error['message']}"[:500]
    return replace(_waits(row, replace(status, last=refused(occasion, error)), now), reason=reason)


def _check_delete(request: Request, connection: Connection, row: Row) -> None:
    """As the service does: what would submit jobs is disabled first. Raises ArmError(409)."""
    if _is_enabled(row):
        message = f"Cannot delete an active trigger: schedule '{row.name}' is enabled. Disable it first"
        raise conflict(f"{message} (ml_client.schedules.begin_disable, or: az ml schedule disable).", "isEnabled")


def _view(platform: Platform, row: Row) -> Document:
    status = ScheduleStatus.read(row.status)
    return {
        "action": actions.shown(row.properties["action"]),
        "isEnabled": _is_enabled(row),
        "nextRunTime": None if status.next is None else timestamp(status.next),
        "lastRun": status.last or None,
    }


def _detail(platform: Platform, row: Row) -> Document:
    """`nextRunTimes`: the next times, of one that is enabled."""
    at, times = ScheduleStatus.read(row.status).next, list[str]()
    try:
        trigger = _trigger_of(row)
    except ArmError:  # its zone is known no more
        return {}
    while at is not None and len(times) < _TIMES_SHOWN:
        times.append(timestamp(at))
        at = trigger.next(at)
    return {"nextRunTimes": times}


def _run_now(request: Request, row: Row | None) -> tuple[int, Any]:
    """`scheduleTime`: the time that the job is for; now where none is given."""
    assert row is not None
    platform, at = request.platform, _schedule_time(request)
    with platform.database.write() as connection:
        current = resources.get(connection, row.id, Lock.WRITE)
        if current is None:
            raise not_found("Schedule", row.name)
        if current.deleting:
            raise conflict(f"Schedule '{row.name}' is being deleted.", "name")
        occasion = Occasion.of(current.name, at)
        occasion = replace(occasion, name=f"{occasion.name}-{secrets.token_hex(4)}")
        submission.submit(platform, connection, current, occasion)
    return 200, {"submissionId": occasion.name, "scheduleActionType": actions.type_of(current.properties["action"])}


def _schedule_time(request: Request) -> int:
    given = request.body.get("scheduleTime")
    if given is None:
        return int(request.now)
    try:
        found = datetime.fromisoformat(str(given))
    except ValueError:
        found = None
    if found is None or not triggers.YEARS[0] <= found.year <= triggers.YEARS[1]:
        message = f"scheduleTime: '{str(given)[:80]}' is no time such as 2022-06-01T10:00:00Z."
        raise invalid(message, "scheduleTime")
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


KIND = Kind(
    path="workspaces/schedules",
    title="schedule",
    properties=ScheduleProperties,
    admit=_admit,
    reconcile=_reconcile,
    fail=_fail,
    view=_view,
    detail=_detail,
    actions={"trigger": Action(_run_now), "history": history.READ},
    long_running=True,
    check_delete=_check_delete,
    delete_at_once=True,
    by_the_clock=True,
    views={"EnabledOnly": False, "DisabledOnly": True, "All": None},
    name_pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,199}$",
)
