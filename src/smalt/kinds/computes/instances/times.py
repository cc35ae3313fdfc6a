"""When an instance is started and stopped: `schedules.computeStartStop`, with the triggers of schedules of jobs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from smalt.arm import triggers
from smalt.arm.envelope import timestamp
from smalt.arm.errors import invalid
from smalt.arm.kind import Document
from smalt.arm.triggers import Trigger
from smalt.store.document import part

log = logging.getLogger("smalt.computes")

FIELD = "properties.properties.schedules.computeStartStop"
TICKS = "ticks"  # in the status: by a schedule's id its next time


def check(machine: Document, created_at: float) -> None:
    """Gives each schedule an id that it has not. Raises ArmError(400)."""
    if not part(machine, "schedules").get("computeStartStop"):
        return
    given = machine["schedules"]["computeStartStop"]
    known = [str(one["id"]) for one in given if one.get("id")]
    ids = set(known)
    if len(ids) < len(known):
        raise invalid(f"{FIELD}: the ids of schedules must differ.", FIELD)
    numbered: list[Document] = []
    for number, one in enumerate(given):
        action = str(one.get("action")).capitalize()  # clients that read YAML write it as people do
        if action not in ("Start", "Stop"):
            raise invalid(f"{FIELD}[{number}].action: it is Start or Stop.", f"{FIELD}[{number}].action")
        _trigger(one, created_at, f"{FIELD}[{number}]")
        one = {**one, "action": action}
        if not one.get("id"):
            fresh = next(name for at in range(number, number + len(given) + 1) if (name := f"schedule-{at}") not in ids)
            ids.add(fresh)
            one = {**one, "id": fresh}
        numbered.append(one)
    machine["schedules"] = {**machine["schedules"], "computeStartStop": numbered}


def shown(machine: Mapping[str, Any], status: Mapping[str, Any]) -> Document | None:
    """As the document shows them, with the time that is next; None: there are none."""
    ticks = part(status, TICKS)
    found = [
        {
            **one,
            "status": one.get("status") or "Enabled",
            "provisioningStatus": "Completed",
            "nextRunTime": timestamp(at) if (at := ticks.get(str(one.get("id")))) else None,
        }
        for one in _schedules(machine)
    ]
    return {"computeStartStop": found} if found else None


def advance(machine: Mapping[str, Any], status: Document, created_at: float, now: float) -> str:
    """Start or Stop where a time has come: of several that were missed the last one's. Notes the next times.

    A schedule of which no time can be told is left out: whatever it is, people can stop the instance.
    """
    known, ticks, come = part(status, TICKS), dict[str, float | None](), list[tuple[float, str]]()
    for one in _schedules(machine):
        if str(one.get("status") or "Enabled").lower() != "enabled":
            continue
        id_ = str(one["id"])
        try:
            ticks[id_], reached = _ticked(_trigger(one, created_at), known.get(id_), now)
        except Exception as error:  # an older version took what cannot be: it may raise anything
            log.warning("schedule '%s' of an instance has no time: %s", id_, error)
            continue
        if reached is not None:
            come.append((reached, str(one["action"])))
    status[TICKS] = {name: at for name, at in ticks.items() if at is not None}
    return max(come)[1] if come else ""


def _ticked(trigger: Trigger, tick: float | None, now: float) -> tuple[float | None, float | None]:
    """The next time, after the one that was noted, and the last one that has come."""
    come = None
    if tick is not None and tick <= now and (last := trigger.last(now)) is not None and last >= tick:
        come = last
    if tick is None or tick <= now or tick > (trigger.next(now) or tick):  # come, new, changed, or the clock set back
        tick = trigger.next(now)
    return tick, come


def soonest(status: Mapping[str, Any]) -> float | None:
    """When a step is needed next."""
    return min(part(status, TICKS).values(), default=None)


def _schedules(machine: Mapping[str, Any]) -> list[Document]:
    """Those of which anything can be told: an older version took what came."""
    schedules: Any = machine.get("schedules")
    given: Any = schedules.get("computeStartStop") if isinstance(schedules, dict) else None  # pyright: ignore
    return [one for one in given if isinstance(one, dict) and one.get("id")] if isinstance(given, list) else []  # pyright: ignore


def _trigger(one: Mapping[str, Any], created_at: float, field: str = FIELD) -> Trigger:
    """Raises ArmError(400)."""
    kind = str(one.get("triggerType") or "")
    if kind.lower() not in ("cron", "recurrence"):
        raise invalid(f"{field}.triggerType: it is Cron or Recurrence.", f"{field}.triggerType")
    named = kind.lower()
    given = part(one, named)
    said: Document = {**given, "triggerType": kind}
    if not said.get("timeZone"):
        said["timeZone"] = "UTC"
    return triggers.parsed(said, created_at, f"{field}.{named}")
