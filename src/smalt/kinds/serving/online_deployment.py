"""Online deployments: replicas of a model behind an endpoint.

Replicas belong to a *revision*: a change of what they run starts new ones beside the old; when all are
ready, the gateway moves over and the old ones end after their last request. A revision that does not come up
fails, and what was live stays.

`status`: `target` (the revision that is wanted), `live` (what the gateway sends requests to), `old` (names to be
drained). While another revision comes up, `live.target` keeps what is live, to be wanted again if that one fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from smalt.agent.wire import Address, Phase, TaskState
from smalt.arm.errors import ArmError
from smalt.arm.kind import SERVING, Action, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentPlan
from smalt.kinds.assets import environment_build, model_content
from smalt.kinds.assets.lineage import READ
from smalt.kinds.serving import checked_model, hosting, reasons, replicas, routing, scaling, served, shares
from smalt.kinds.serving.deployment_admission import DeploymentProperties, admit
from smalt.kinds.serving.deployment_logs import get_logs
from smalt.kinds.serving.place import addresses_here, moved
from smalt.store import resources
from smalt.store.resources import Row

_RESYNC_S = 30.0
_START_S = 600.0  # how long a replica may take to become ready
_LOOK_MOST_S = (
    2 * _RESYNC_S
)  # what counts of it between two looks: a jump of the clock, or a night without server, is no wait
_CHANGING = ("Creating", "Updating")
_HEALTHY_S = 600.0  # a replica that lived so long has no deaths behind it
_PAUSE_S = 0.1
_DRAIN_S = 30.0


def _reconcile(platform: Platform, row: Row) -> Step:
    if there := moved(platform, row):
        return there
    status = dict(row.status)
    if row.deleting:
        return _delete(platform, row, status)
    if status.get("generation") != row.generation:
        return _plan(platform, row, status)
    if status.get("target") is None:
        return _serve(platform, row, status)
    plan = EnvironmentPlan(**status["target"]["plan"])
    if not hosting.compute_of(row) and not environment_build.ready(platform, plan.key):
        return _build(platform, row, status, plan)
    return _resize(platform, row, status) or _serve(platform, row, status)


def _plan(platform: Platform, row: Row, status: Document) -> Step:
    """A new generation: what it runs, and whether that is a new revision or the same with more or fewer replicas."""
    if (awaited := checked_model.awaited(platform, row)) is not None:
        return Step(row.state, status, after=_RESYNC_S, reason="the model's files are hashed", writes=awaited)
    replicas.wait_no_more(platform, row)  # for what was wanted before
    status.pop("failed", None)
    status.pop("asked_build", None)
    status.pop("failed_names", None)
    status.pop("failed_key", None)
    status.pop("error", None)
    status["generation"] = row.generation
    try:
        target = replicas.target(platform, row)
    except ArmError as error:
        return _fail(platform, row, status, error.body())
    before = status.get("target")
    live = status.get("live") or {}
    if before and before["digest"] == target["digest"] and live.get("revision") == before["revision"]:
        target |= {name: before[name] for name in ("revision", "attempts", "deaths", "used") if name in before}
    else:
        if before and before["revision"] != live.get("revision"):  # it never came up
            status["old"] = [*status.get("old", []), *replicas.names(row, before)]
        target["revision"] = int(status.get("revisions", 0)) + 1
        target["attempts"] = []
        if live and before and before["revision"] == live["revision"]:
            status["live"] = {**live, "target": before}
        status["revisions"] = target["revision"]
    status["target"] = target
    least = 0 if target["attempts"] else 1  # what is new has to come up once
    _set_count(row, status, max(_count(platform, row), least))
    return Step(row.state, status, after=0, reason=_warning(target))


def _warning(target: Document) -> str:
    """For the deployment's log."""
    if not (found := target.get("pickles")):
        return ""
    whose = model_content.named(found)
    return f"warning: the model is loaded from pickles ({whose}): whoever wrote them decides what runs"


def _count(platform: Platform, row: Row) -> int:
    """How many instances there are to be; no more than there is room for in all, whoever decided that."""
    return min(scaling.count(row), replicas.most(platform, row))


def _resize(platform: Platform, row: Row, status: Document) -> Step | None:
    """The step to another number of instances of what is live; None: it has as many as it is to have."""
    target, count = status["target"], _count(platform, row)
    have = len(target["attempts"])
    if have == count or (status.get("live") or {}).get("revision") != target["revision"]:
        return None
    _set_count(row, status, count)
    return Step(row.state, status, after=0, reason=f"from {have} to {count} instances")


def _set_count(row: Row, status: Document, count: int) -> None:
    """In `target`. Those that are too many are drained once no request is sent to them.

    `used`: by index, the last attempt of those that were: what is drained must not be taken for what is wanted anew.
    """
    target = status["target"]
    attempts, used = list(target["attempts"]), dict(target.get("used", {}))
    used |= {str(at): attempt for at, attempt in enumerate(attempts) if at >= count}
    more = [used.get(str(at), 0) + 1 for at in range(len(attempts), count)]
    surplus = replicas.names(row, {**target, "attempts": attempts[count:]}, first=count)
    status["old"] = [*status.get("old", []), *surplus]
    status["target"] = {**target, "attempts": [*attempts[:count], *more], "used": used}


def _build(platform: Platform, row: Row, status: Document, plan: EnvironmentPlan) -> Step:
    with platform.database.read() as connection:
        build = resources.get(connection, environment_build.build_id(platform, plan.key))
    if status.get("asked_build") and build is not None and build.state == "Failed":
        error = build.status.get("error") or {"code": "EnvironmentBuildFailed", "message": "?"}
        if status["target"]["revision"] != (status.get("live") or {}).get("revision"):
            return _fail(platform, row, status, error)
        status["asked_build"] = False  # what is live is kept up however long it takes
        return Step(row.state, status, after=_RESYNC_S, reason=str(error["message"])[:500])
    status["asked_build"] = True
    return Step(
        row.state,
        status,
        after=_RESYNC_S,
        reason="the environment is built",
        writes=environment_build.require(platform, plan, row.id),
    )


def _serve(platform: Platform, row: Row, status: Document) -> Step:
    """Keep the wanted replicas running; move the gateway over when all are ready; end the old ones after that."""
    target = status.get("target")
    if target is None:  # it failed, and nothing was live before
        return _settle(platform, row, status, complete=True)
    names = replicas.names(row, target)
    observed = hosting.observe(platform, status, names)
    coming_up = (status.get("live") or {}).get("revision") != target["revision"]
    dead = [at for at, name in enumerate(names) if (one := observed[name]) and one.phase is Phase.EXITED]
    faulty = [at for at in dead if not hosting.is_gone(platform, status.get("machines", {}).get(names[at], ""))]
    if faulty and coming_up:
        return _fail(platform, row, status, reasons.crash(observed[names[faulty[0]]]))
    if dead:
        return _replace(platform, row, status, {at: observed[names[at]] for at in dead}, names)
    pauses = [
        replicas.pause_left_s(target, at, platform.clock()) if observed[name] is None else 0.0
        for at, name in enumerate(names)
    ]
    missing = [name for name, pause in zip(names, pauses, strict=True) if observed[name] is None and not pause]
    if hosting.assign(platform, row, status, names, missing):
        return Step(row.state, status, after=0)
    machines = status.get("machines", {})
    placed = [name for name in missing if name in machines] if hosting.compute_of(row) else missing
    gpus = replicas.gpus(platform, row, target, placed, coming_up)
    for spec in replicas.tasks(platform, row, target, gpus, machines):
        platform.engine.ensure(spec)
    ready = [name for name in names if (one := observed[name]) and one.ready and one.phase is Phase.RUNNING]
    after = [*filter(None, pauses), hosting.look_again_s(platform, status, names)]
    why = ""
    if len(ready) < len(names) and (coming_up or (row.state in _CHANGING and "failed" not in status)):
        lacking = reasons.waiting(platform, row, len(missing) - len(gpus), observed.values())
        why = reasons.starting(names, lacking)
        status["target"] = target = _waited(target, platform.clock(), counts=not hosting.is_waiting(status, observed))
        late = reasons.slow(platform, names, ready, lacking, _START_S) if target["waited_s"] > _START_S else None
        if coming_up and late:
            return _fail(platform, row, status, late)
        if coming_up:
            return Step(row.state, status, after=hosting.least_after(_RESYNC_S, *after), reason=why)
        if late:  # it serves with those that it has, and goes on to try
            status["failed"] = status["error"] = late
    serving = hosting.answering(platform, status, ready)
    _go_live(platform, row, status, {name: one.address for name in serving if (one := observed[name])})
    step = _settle(platform, row, status, complete=len(ready) == len(names))
    soon = hosting.least_after(step.after, *after) if any(after) else step.after
    return replace(step, after=soon, reason=step.reason or why)


def _waited(target: Document, now: float, counts: bool = True) -> Document:
    """`target` with the time that it has been waited for, as the looks at it add up, if this one `counts`."""
    since_s = min(max(now - target.get("looked_at", now), 0.0), _LOOK_MOST_S) if counts else 0.0
    return {**target, "waited_s": target.get("waited_s", 0.0) + since_s, "looked_at": now}


def _go_live(platform: Platform, row: Row, status: Document, serving: dict[str, Address]) -> None:
    """`live` is what the gateway is told; the replicas of the revision before are to be drained.

    Addresses are those of one machine: of another server's, which is lost, none stays.
    """
    target, live = status["target"], status.get("live") or {}
    if not serving and target["attempts"]:
        serving = addresses_here(platform, live)
    if live and live["revision"] != target["revision"]:
        status["old"] = [*status.get("old", []), *live["names"]]
    if live.get("revision") != target["revision"]:
        status["target"] = target = {**target, "waited_s": 0.0}
    status["live"] = {
        "revision": target["revision"],
        "names": replicas.names(row, target),
        "server": platform.servers.me,
        "addresses": serving,
        **replicas.limits_of_requests(target),
    }


def _settle(platform: Platform, row: Row, status: Document, complete: bool) -> Step:
    """Done when requests follow and nothing old is left."""
    state = "Failed" if status.get("failed") else row.state
    if status.get("live") != row.status.get("live"):
        writes = routing.request_change(platform, row.id)
        return Step(state, status, after=_RESYNC_S, writes=writes, reason="ready: requests move over")
    with platform.database.read() as connection:
        routed = routing.routed(platform, connection, row.parent)
    if not routed.settled:
        return Step(state, status, after=_RESYNC_S, writes=routing.request_change(platform, row.id))
    left = status["old"] = _drain(platform, row, status, status.get("old", []))
    if error := status.get("failed") or routed.error:  # what is live is looked after all the same
        again = _RESYNC_S if left or status.get("live") else None
        return Step("Failed", status, done=True, error=error, after=again)
    if not complete:
        return Step(row.state, status, after=_RESYNC_S)
    writes = served.note(platform, row, status)
    return Step("Succeeded", status, done=True, after=_RESYNC_S, writes=writes)


def _drain(platform: Platform, row: Row, status: Document, names: list[str]) -> list[str]:
    """Ask old replicas to end; the names of those that have not yet."""
    left: list[str] = []
    for name in names:
        state = hosting.observe(platform, status, [name])[name]
        if state is not None and state.phase is not Phase.EXITED:
            platform.engine.stop(name, _DRAIN_S)
            left.append(name)
        else:
            platform.engine.remove(name)
            replicas.forget(platform, status, name)
    if len(left) < len(names):
        replicas.give_back(platform, row, status, [name for name in names if name not in left])
    return left


def _replace(
    platform: Platform, row: Row, status: Document, dead: Mapping[int, TaskState | None], names: list[str]
) -> Step:
    """Replicas that died while serving get a successor, sooner or later the more often they die."""
    target = dict(status["target"])
    attempts, deaths, now = list(target["attempts"]), dict(target.get("deaths", {})), platform.clock()
    for at in dead:
        attempts[at] += 1
        before = deaths.get(str(at), {"count": 0, "at": now})
        count = before["count"] + 1 if now - before["at"] < _HEALTHY_S else 1
        pause = min(_PAUSE_S * 2 ** min(count - 1, 10), replicas.PAUSE_MOST_S)
        deaths[str(at)] = {"count": count, "at": now, "again_at": now + pause}
        platform.engine.remove(names[at])
        replicas.forget(platform, status, names[at])
    replicas.give_back(platform, row, status, [names[at] for at in dead])
    target |= {"attempts": attempts, "deaths": deaths}
    status["target"] = target
    live = dict(status.get("live") or {})
    if live.get("revision") == target["revision"]:
        gone = {names[at] for at in dead}
        left = {name: address for name, address in live["addresses"].items() if name not in gone}
        live |= {"addresses": left, "names": replicas.names(row, target)}  # none: requests wait for a successor
        status["live"] = live
    whys = [one.error.splitlines()[0] for one in dead.values() if one and one.error]
    reason = ": ".join(["a replica died", *whys[:1]])[:500]
    return Step(row.state, status, after=0, reason=reason, writes=routing.request_change(platform, row.id))


def _fail(platform: Platform, row: Row, status: Document, error: Document) -> Step:
    """This generation did not come up: its replicas go, what was live stays."""
    replicas.wait_no_more(platform, row)
    live, target = status.get("live") or {}, status.get("target")
    status["failed"] = {"code": error.get("code") or "DeploymentFailed", "message": error.get("message") or "?"}
    status["error"] = status["failed"]
    if target and target["revision"] != live.get("revision"):
        status["failed_names"] = replicas.names(row, target)
        status["failed_key"] = target["plan"]["key"]
        status["old"] = [*status.get("old", []), *status["failed_names"]]
        status["target"] = live.get("target")
    if "target" in live:
        status["live"] = {name: value for name, value in live.items() if name != "target"}
    return Step(row.state, status, after=0, reason=str(status["failed"]["message"])[:500])


def _give_up(platform: Platform, row: Row, error: Document) -> Step:
    """The steps raise again and again: what was coming up fails, what is live is kept up however long it takes."""
    status = dict(row.status)
    live, target = status.get("live") or {}, status.get("target")
    if "failed" in status or (target and target["revision"] == live.get("revision")):
        return Step(row.state, status, after=_RESYNC_S, reason=str(error["message"])[:500])
    return _fail(platform, row, status, error)


def _delete(platform: Platform, row: Row, status: Document) -> Step:
    """First no request comes any more, then the replicas end."""
    replicas.wait_no_more(platform, row)
    with platform.database.read() as connection:
        routed = routing.routed(platform, connection, row.parent)
    if not routed.settled:
        return Step(row.state, status, after=_RESYNC_S, writes=routing.request_change(platform, row.id))
    names = [*status.get("old", []), *(status.get("live") or {}).get("names", [])]
    if target := status.get("target"):
        names += replicas.names(row, target)
    left = _drain(platform, row, status, sorted(set(names)))
    if left:
        return Step(row.state, status, after=_RESYNC_S)
    hosting.keep(platform, row, {"machines": {}})
    replicas.forget_all(platform, row)
    return Step(row.state, status, gone=True)


def _check_delete(request: Request, connection: Connection, row: Row) -> None:
    endpoint = resources.get(connection, row.parent)
    if endpoint is None or endpoint.deleting:
        return
    taken = {name.lower(): share for name, share in (endpoint.properties.get("traffic") or {}).items()}
    if taken.get(row.name.lower()):
        raise ArmError(
            409,
            "Conflict",
            f"Deployment '{row.name}' still takes {taken[row.name.lower()]} % of the traffic. Move it away first.",
            "name",
        )


def _shape(platform: Platform, row: Row, document: Document) -> Document:
    """Of one that is scaled, `sku.capacity` says how many instances take requests now."""
    if not scaling.scaled(row):
        return document
    live, target = row.status.get("live"), row.status.get("target") or {}
    count = len(live["addresses"]) if live else len(target.get("attempts", ()))
    return {**document, "sku": {**document["sku"], "capacity": count}}


def _skus(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    most = replicas.most(request.platform, row)
    capacity: Document = {"minimum": scaling.least(row), "maximum": most, "default": 1, "scaleType": "Manual"}
    if scaling.scaled(row):
        capacity["scaleType"] = "Automatic"
    type_ = "Microsoft.MachineLearning.Services/endpoints/deployments"
    return 200, {"value": [{"resourceType": type_, "capacity": capacity, "sku": {"name": "Default"}}]}


KIND = Kind(
    path="workspaces/onlineEndpoints/deployments",
    tracked=True,
    title="online deployment",
    lane=SERVING,
    properties=DeploymentProperties,
    admit=admit,
    view=served.view,
    reconcile=_reconcile,
    fail=_give_up,
    shape=_shape,
    check_delete=_check_delete,
    deleted=shares.forget,
    origin=served.origin,
    actions={"getLogs": Action(get_logs), "skus": Action(_skus, method="GET"), "lineage": READ},
    long_running=True,
    since={"dataCollector": "2023-02-01-preview", "egressPublicNetworkAccess": "2022-05-01"},
    name_pattern=r"^[a-zA-Z][a-zA-Z0-9\-]{1,30}[a-zA-Z0-9]$",
)
