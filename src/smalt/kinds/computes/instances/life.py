"""The life of a compute instance: what people, schedules and idleness want of it (`want`), and the step to that.

    Creating → Running ⇄ Stopping → Stopped → Starting → Running;  Restarting → Running

`status`: `want` (power, and a serial number for each time that somebody wanted something), `serial` (up to which that
was done), `task` (named before it is started), `attempt`, `shown` (Azure's word), `last` (the last operation), `up`
(this attempt answered), `created` (one did), `ports`, `active_at` (the last work known), `error`, `deaths`,
`kernels` and `asked_kernels` (`kernels.py`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from smalt.agent.service_spec import RUNNING as LISTENS
from smalt.agent.wire import Outcome, Phase, TaskState
from smalt.arm import instances
from smalt.arm.envelope import timestamp
from smalt.arm.instances import LAB, TOKEN
from smalt.arm.kind import OURS, Document, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentPlan, EnvironmentSpec
from smalt.kinds.assets import environment_build
from smalt.kinds.computes.instances import idle, kernels, mounts, times
from smalt.kinds.computes.instances import task as tasks
from smalt.kinds.computes.instances.settings import CREATION, STARTUP, idle_s, script
from smalt.sched import placement, turns
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

RUN, STOP = "Running", "Stopped"
USER, SCHEDULE, IDLE = "User", "Schedule", "IdleShutdown"
SCRIPT_FAILED = "SetupScriptFailed"
_NAMES = {RUN: "Start", STOP: "Stop"}
_ENVIRONMENT = "compute-instance"
_RESYNC_S = 60.0
_START_S = 180.0  # from the beginning of its processes to JupyterLab's answer, besides what scripts may take
_STOP_S = 10.0
_HEALTHY_S, _DEATHS_MOST, _PAUSE_S, _PAUSE_MOST_S = 600.0, 5, 0.2, 30.0


def plan(platform: Platform) -> Document:
    return platform.environments.plan(EnvironmentSpec(name=_ENVIRONMENT, curated=_ENVIRONMENT)).document()


def want(status: Mapping[str, Any], power: str, name: str, trigger: str, now: float) -> Document:
    """`status`, with this wanted from now on; `name` as Azure calls the operation."""
    serial = int(part(status, "want").get("serial", 0)) + 1
    last = {
        "operationName": name,
        "operationTime": timestamp(now),
        "operationStatus": "InProgress",
        "operationTrigger": trigger,
    }
    return {**status, "want": {"power": power, "serial": serial}, "last": last}


def step(platform: Platform, row: Row) -> Step:
    status, now = dict(row.status), platform.clock()
    if row.deleting:
        return _delete(platform, row, status)
    if not status.get("want"):  # one that an older version remembered: it runs once it is started
        return Step("Succeeded", status, done=True)
    due = times.advance(part(row.properties, "properties"), status, row.created_at, now)
    power = {"Start": RUN, "Stop": STOP}.get(due)
    if power and power != status["want"]["power"]:
        status = want(status, power, _NAMES[power], SCHEDULE, now)
    return _planned(row, _next(platform, row, status), now)


def _planned(row: Row, step: Step, now: float) -> Step:
    """Looked at when the next schedule's time comes, at the latest. The feed tells of each change of what is shown."""
    shown = step.status.get("shown")
    if shown != row.status.get("shown") and not step.reason:
        step = replace(step, reason=f"it is {shown}")
    tick = times.soonest(step.status)
    if tick is None:
        return step
    left = max(tick - now, 0.05)
    return replace(step, after=left if step.after is None else min(step.after, left))


def _next(platform: Platform, row: Row, status: Document) -> Step:
    wanted = status["want"]
    news = wanted["serial"] != status.get("serial")
    if status.get("task") and (news or wanted["power"] == STOP) and not _ended(platform, row, status):
        status["shown"] = "Restarting" if wanted["power"] == RUN else "Stopping"
        return Step(row.state, {**status, "ports": {}}, after=_RESYNC_S)
    if news:
        status |= {"serial": wanted["serial"], "deaths": {}, "error": None, "asked_build": False, kernels.ASKED: []}
        status["shown"] = _begins(status) if wanted["power"] == RUN else STOP
    return _rest(row, status) if wanted["power"] == STOP else _run(platform, row, status)


def _begins(status: Mapping[str, Any]) -> str:
    if not status.get("created"):
        return "Creating"
    return "Restarting" if part(status, "last").get("operationName") == "Restart" else "Starting"


def _rest(row: Row, status: Document) -> Step:
    """Stopped, because somebody wanted it or because it failed."""
    error = status.get("error")
    status |= {"ports": {}, "shown": _failed(status) if error else STOP}
    status["last"] = {**part(status, "last"), "operationStatus": _outcome(status, bool(error))}
    return Step("Failed" if error else "Succeeded", status, done=True, error=error, home="")


def _outcome(status: Mapping[str, Any], failed: bool) -> str:
    return f"{part(status, 'last').get('operationName')}Failed" if failed else "Succeeded"


def _run(platform: Platform, row: Row, status: Document) -> Step:
    build, now = EnvironmentPlan(**row.spec[OURS]["plan"]), platform.clock()
    if not status.get("task"):
        found = kernels.wanted(platform, row)
        lacks = kernels.missing(platform, found, status.get(kernels.ASKED) or [])
        if not environment_build.ready(platform, build.key):
            return _build(platform, row, status, build, lacks)
        if (pause := float(part(status, "deaths").get("again_at", 0)) - now) > 0 and pause <= _PAUSE_MOST_S:
            return Step(row.state, status, after=pause)
        if lacks:
            return _built(platform, row, status, lacks, "the environments of its kernels are built")
        status |= kernels.chosen(platform, found) | {mounts.MOUNTS: mounts.inputs(platform, row)[2]}
        attempt = int(status.get("attempt") or 0) + 1
        status |= {"attempt": attempt, "task": instances.task_name(row, attempt), "begun_at": now, "up": False}
        reason = f"attempt {attempt} of JupyterLab"
        return Step(row.state, status, after=0, reason=reason, home=platform.servers.me)
    state = platform.engine.observe(status["task"])
    if state is None:  # it was named and not begun, or is on the machine of a server that is lost
        if not environment_build.ready(platform, build.key):
            return _build(platform, row, status, build)
        platform.engine.ensure(tasks.task(platform, row, status["attempt"], _token(platform, row)))
        return Step(row.state, status, after=_RESYNC_S, home=platform.servers.me)
    if state.phase is Phase.EXITED:
        return _died(platform, row, status, state)
    ports = {name: one.port for name, one in state.services.items() if one.status == LISTENS and one.port}
    if LAB not in ports:
        return _starting(row, status, state, now)
    return _up(platform, row, status, ports)


def _build(
    platform: Platform, row: Row, status: Document, build: EnvironmentPlan, more: Sequence[EnvironmentPlan] = ()
) -> Step:
    """`more`: what else is built meanwhile."""
    with platform.database.read() as connection:
        found = resources.get(connection, environment_build.build_id(platform, build.key))
    if status.get("asked_build") and found is not None and found.state == "Failed":
        error = found.status.get("error") or {"code": "EnvironmentBuildFailed", "message": "It could not be built."}
        return _fail(row, status, error)
    status["asked_build"] = True
    return _built(platform, row, status, [build, *more], "its environment is built")


def _built(platform: Platform, row: Row, status: Document, plans: Sequence[EnvironmentPlan], reason: str) -> Step:
    """Each of them wakes it. Those of kernels that fail are not among `plans` again, until the next start."""
    status[kernels.ASKED] = sorted({*(status.get(kernels.ASKED) or []), *(one.key for one in plans)})
    writes = kernels.require(platform, plans, row.id)
    return Step(row.state, status, after=_RESYNC_S, reason=reason, writes=writes)


def _starting(row: Row, status: Document, state: TaskState, now: float) -> Step:
    if state.phase is Phase.PREPARING:  # what it needs is fetched
        return Step(row.state, {**status, "begun_at": now, "ports": {}}, after=_RESYNC_S)
    machine, lab = part(row.properties, "properties"), state.services.get(LAB)
    limit_s = _START_S + sum(script(machine, one)[1] for one in (CREATION, STARTUP))
    left = status["begun_at"] + limit_s - now
    if left > limit_s:  # the clock was set back
        status["begun_at"], left = now, limit_s
    if left <= 0 and not status.get("up"):
        why = f" {lab.error}" if lab is not None and lab.error else ""
        message = f"JupyterLab did not answer within {limit_s:.0f} s.{why} Its log says more (getLogs)."
        return _fail(row, status, {"code": "ComputeStartTimeout", "message": message})
    status["ports"] = {}
    return Step(row.state, status, after=min(_RESYNC_S, max(left, 1.0)))


def _up(platform: Platform, row: Row, status: Document, ports: Mapping[str, int]) -> Step:
    now = platform.clock()
    if not status.get("up"):
        status |= {"up": True, "created": True, "up_at": now, "active_at": now}
        status["last"] = {**part(status, "last"), "operationStatus": "Succeeded"}
    status |= {"ports": dict(ports), "shown": RUN, "error": None}
    after, limit_s = _RESYNC_S, idle_s(part(row.properties, "properties"))
    if limit_s and now >= status["active_at"] + limit_s:
        status["active_at"] = max(status["active_at"], idle.last_work(platform, row, now))
        if now >= status["active_at"] + limit_s:
            status = want(status, STOP, "Stop", IDLE, now)
            return Step("Succeeded", status, done=True, after=0, reason=f"nobody worked there for {limit_s:.0f} s")
    if limit_s:
        after = min(after, max(status["active_at"] + limit_s - now, 1.0))
    return Step("Succeeded", status, done=True, after=after, home=platform.servers.me)


def _died(platform: Platform, row: Row, status: Document, state: TaskState) -> Step:
    """By itself: once more, unless what it was to do failed or it dies again and again."""
    now, deaths = platform.clock(), part(status, "deaths")
    healthy = status.get("up") and now - float(status.get("up_at", now)) >= _HEALTHY_S
    count = 1 if healthy else int(deaths.get("count", 0)) + 1
    _away(platform, row, status)
    if state.exit_code in (tasks.CREATION_FAILED, tasks.STARTUP_FAILED) and not status["up"]:
        which = "creation" if state.exit_code == tasks.CREATION_FAILED else "startup"
        message = f"The {which} script of the instance failed. {state.error}".strip()
        return _fail(row, status, {"code": SCRIPT_FAILED, "message": message})
    lost = state.outcome is Outcome.LOST
    if count > _DEATHS_MOST or (not status["up"] and not lost):
        message = f"JupyterLab ended. {state.error}".strip()
        return _fail(row, status, {"code": "ComputeInstanceEnded", "message": message})
    pause = min(_PAUSE_S * 2 ** (count - 1), _PAUSE_MOST_S)
    status |= {"deaths": {"count": count, "again_at": now + pause}, "shown": "Restarting"}
    why = (state.error.splitlines() or ["it ended"])[0]
    return Step(row.state, status, after=0, reason=f"JupyterLab is started anew: {why}"[:500])


def _fail(row: Row, status: Document, error: Mapping[str, Any]) -> Step:
    """It is wanted no more. What is left of it ends first."""
    status["error"] = {"code": error["code"], "message": error["message"]}
    status["want"] = {**status["want"], "power": STOP}
    return Step(row.state, status, after=0) if status.get("task") else _rest(row, status)


def _failed(status: Mapping[str, Any]) -> str:
    if part(status, "error").get("code") == SCRIPT_FAILED:
        return "UserSetupFailed"
    return "Unusable" if status.get("created") else "CreateFailed"


def _ended(platform: Platform, row: Row, status: Document) -> bool:
    """Whether the task has ended by now; it is asked to."""
    state = platform.engine.observe(status["task"])
    if state is not None and state.phase is not Phase.EXITED:
        platform.engine.stop(status["task"], _STOP_S)
        if (state := platform.engine.observe(status["task"])) and state.phase is not Phase.EXITED:
            return False
    _away(platform, row, status)
    return True


def _away(platform: Platform, row: Row, status: Document) -> None:
    platform.engine.remove(status["task"])
    tasks.forget(platform, row, int(status["attempt"]))
    status |= {"task": None, "ports": {}, kernels.KERNELS: [], kernels.LEFT_OUT: []}


def _token(platform: Platform, row: Row) -> str:
    """The same for all attempts, so that pages that are open go on."""
    with platform.database.write() as connection:
        found = platform.secrets.of(connection, row.id).get(TOKEN)
        if found is None:
            found = secrets.token_hex(32)
            platform.secrets.set(connection, row.id, TOKEN, found)
    return found


def _delete(platform: Platform, row: Row, status: Document) -> Step:
    if status.get("task") and not _ended(platform, row, status):
        return Step(row.state, status, after=_RESYNC_S)

    def writes(connection: Connection) -> None:
        placement.release_idle(connection, row.id, platform.clock(), idle_s=0, least=0)
        turns.forget(connection, row.id)

    if row.lookup:
        tasks.forget_all(platform, row)
    return Step(row.state, status, gone=True, writes=writes)
