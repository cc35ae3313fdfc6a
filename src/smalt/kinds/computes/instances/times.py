"""When an instance is started and stopped: `schedules.computeStartStop`, with the triggers of schedules of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalt.arm import triggers
from smalt.arm.envelope import timestamp
from smalt.arm.errors import invalid
from smalt.arm.kind import Document
from smalt.arm.triggers import Trigger
from smalt.store.document import part

FIELD = "properties.properties.schedules.computeStartStop"
TICKS = "ticks"  # in the status: by a schedule's id its next time
_MOST = 20


def check(machine: Document, now: float) -> None:
    """Gives each schedule an id that it has not. Raises ArmError(400)."""
    if not part(machine, "schedules").get("computeStartStop"):
        return
    given = machine["schedules"]["computeStartStop"]
    if not isinstance(given, list) or len(given) > _MOST or not all(isinstance(one, dict) for one in given):
        raise invalid(f"{FIELD}: this must be a list of up to {_MOST} schedules.", FIELD)
    ids = {str(one["id"]) for one in given if one.get("id")}
    numbered: list[Document] = []
    for number, one in enumerate(given):
        action = str(one.get("action")).capitalize()  # clients that read YAML write it as people do
        if action not in ("Start", "Stop"):
            raise invalid(f"{FIELD}[{number}].action: it is Start or Stop.", f"{FIELD}[{number}].action")
        _trigger(one, now, f"{FIELD}[{number}]")
        one = {**one, "action": action}
        if not one.get("id"):
            fresh = next(name for at in range(number, number + _MOST + 1) if (name := f"schedule-{at}") not in ids)
            ids.add(fresh)
            one = {**one, "id": fresh}
        numbered.append(one)
    machine["schedules"] = {**machine["schedules"], "computeStartStop": numbered}


def shown(machine: Mapping[str, Any], status: Mapping[str, Any]) -> Document:
    """As the document shows them, with the time that is next."""
    ticks = part(status, TICKS)
    return {
        "computeStartStop": [
            {
                **one,
                "status": one.get("status") or "Enabled",
                "provisioningStatus": "Completed",
                "nextRunTime": timestamp(at) if (at := ticks.get(str(one.get("id")))) else None,
            }
            for one in _schedules(machine)
        ]
    }


def advance(machine: Mapping[str, Any], status: Document, created_at: float, now: float) -> str:
    """Start or Stop where a time has come: of several that were missed the last one's. Notes the next times."""
    known, ticks, come = part(status, TICKS), dict[str, float | None](), list[tuple[float, str]]()
    for one in _schedules(machine):
        if str(one.get("status") or "Enabled").lower() != "enabled":
            continue
        trigger, id_ = _trigger(one, created_at), str(one["id"])
        tick = known.get(id_)
        if tick is not None and tick <= now and (last := trigger.last(now)) is not None and last >= tick:
            come.append((last, str(one["action"])))
        if (
            tick is None or tick <= now or tick > (trigger.next(now) or tick)
        ):  # come, new, changed, or the clock set back
            tick = trigger.next(now)
        ticks[id_] = tick
    status[TICKS] = {name: at for name, at in ticks.items() if at is not None}
    return max(come)[1] if come else ""


def soonest(status: Mapping[str, Any]) -> float | None:
    """When a step is needed next."""
    return min(part(status, TICKS).values(), default=None)


def _schedules(machine: Mapping[str, Any]) -> list[Document]:
    return part(machine, "schedules").get("computeStartStop") or []


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
