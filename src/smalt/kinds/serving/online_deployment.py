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
from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import OURS, SERVING, Action, Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentPlan
from smalt.arm.validation import Properties, nearest
from smalt.kinds.assets import environment_build, references
from smalt.kinds.assets.environment import specification
from smalt.kinds.assets.lineage import READ
from smalt.kinds.process_settings import check_isolation, check_variables
from smalt.kinds.serving import collection, replicas, routing, served
from smalt.kinds.serving.place import addresses_here, moved
from smalt.kinds.serving.serving_settings import CodeConfiguration, ProbeSettings, RequestSettings, given
from smalt.sched.sizes import SIZES
from smalt.store import resources
from smalt.store.resources import Row

_RESYNC_S = 30.0
_START_S = 600.0  # how long a replica may take to become ready
_LOOK_MOST_S = (
    2 * _RESYNC_S
)  # what counts of it between two looks: a jump of the clock, or a night without server, is no wait
_HEALTHY_S = 600.0  # a replica that lived so long has no deaths behind it
_PAUSE_S, _PAUSE_MOST_S = 0.1, 30.0
_DRAIN_S = 30.0


class DeploymentProperties(Properties):
    model: str | None = None
    environment_id: str | None = None
    code_configuration: CodeConfiguration | None = None
    environment_variables: dict[str, str | None] | None = None
    instance_type: str | None = None
    endpoint_compute_type: str | None = None
    scale_settings: dict[str, Any] | None = None
    request_settings: RequestSettings | None = None
    liveness_probe: ProbeSettings | None = None
    readiness_probe: ProbeSettings | None = None
    data_collector: collection.DataCollectorProperties | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = dict(request.body["properties"])
    workspace, platform = request.id.workspace, request.platform
    check_isolation(platform, request.principal)
    if (compute := properties.get("endpointComputeType")) and compute.lower() != "managed":
        raise invalid(
            f"properties.endpointComputeType: '{compute}' cannot be had here; use Managed.",
            "properties.endpointComputeType",
        )
    size = properties.get("instanceType")
    if size and size.lower() not in SIZES:
        raise invalid(
            f"properties.instanceType: the size '{size}' is not known.{nearest(size.lower(), list(SIZES))}",
            "properties.instanceType",
        )
    sku = {"name": "Default", "capacity": 1, **given(request.body.get("sku"))}
    if type(sku["capacity"]) is not int or not 1 <= sku["capacity"] <= 50:
        raise invalid(f"sku.capacity: {sku['capacity']} instances; 1 to 50 are possible.", "sku.capacity")
    model = plan = None
    if properties.get("model"):
        model = references.asset(connection, workspace, properties["model"], "models", "properties.model")
        _check_place(request, connection, model)
        properties["model"] = model.written
    script = properties.get("codeConfiguration")
    if script is None and (model is None or model.properties.get("modelType") != "mlflow_model"):
        raise invalid(
            "properties.codeConfiguration: a scoring script is needed unless the model is an mlflow_model.",
            "properties.codeConfiguration",
        )
    if script is not None and not properties.get("environmentId"):
        raise invalid("properties.environmentId: a scoring script needs an environment.", "properties.environmentId")
    if properties.get("environmentId"):
        environment = references.asset(
            connection, workspace, properties["environmentId"], "environments", "properties.environmentId"
        )
        plan = platform.environments.plan(specification(connection, environment, request.now), serving=True)
        properties["environmentId"] = references.asked_id(
            environment, workspace, properties["environmentId"], "environments", "properties.environmentId"
        )
    if script is not None and script.get("codeId"):
        code = references.asset(connection, workspace, script["codeId"], "codes", "properties.codeConfiguration.codeId")
        properties["codeConfiguration"] = {**script, "codeId": code.written}
    check_variables(properties.get("environmentVariables"), "properties.environmentVariables")
    writes = collection.admit(request, connection, properties)
    properties["scaleSettings"] = {"scaleType": "Default", **(properties.get("scaleSettings") or {})}
    properties.setdefault("endpointComputeType", "Managed")
    spec = {**request.body, "properties": properties, "sku": sku, "location": request.body.get("location") or "local"}
    spec.pop(OURS, None)
    if plan is not None:
        spec[OURS] = {"plan": plan.document()}
    return Admitted(spec, state="Updating" if old else "Creating", due=True, writes=writes)


def _check_place(request: Request, connection: Connection, model: Row) -> None:
    """Raises ArmError(400) where the model's files are not in this platform's storage."""
    uri = str(model.properties["modelUri"])
    if not references.locate(request.platform, connection, request.id.workspace, uri, "properties.model").account:
        raise invalid(
            f"properties.model: its files are at {uri[:200]}, outside of this platform;"
            " register them from a local folder or a datastore.",
            "properties.model",
        )


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
    if not environment_build.ready(platform, plan.key):
        return _build(platform, row, status, plan)
    return _serve(platform, row, status)


def _plan(platform: Platform, row: Row, status: Document) -> Step:
    """A new generation: what it runs, and whether that is a new revision or the same with more or fewer replicas."""
    status.pop("failed", None)
    status.pop("asked_build", None)
    status.pop("failed_names", None)
    status.pop("error", None)
    status["generation"] = row.generation
    try:
        target = replicas.target(platform, row)
    except ArmError as error:
        return _fail(platform, row, status, error.body())
    before = status.get("target")
    live = status.get("live") or {}
    if before and before["digest"] == target["digest"] and live.get("revision") == before["revision"]:
        target |= {"revision": before["revision"], "attempts": before["attempts"], "deaths": before.get("deaths", {})}
    else:
        if before and before["revision"] != live.get("revision"):  # it never came up
            status["old"] = [*status.get("old", []), *replicas.names(row, before)]
        target["revision"] = int(status.get("revisions", 0)) + 1
        target["attempts"] = []
        if live and before and before["revision"] == live["revision"]:
            status["live"] = {**live, "target": before}
        status["revisions"] = target["revision"]
    count = int(row.spec["sku"]["capacity"])
    surplus = replicas.names(row, {**target, "attempts": target["attempts"][count:]}, first=count)
    status["old"] = [*status.get("old", []), *surplus]
    target["attempts"] = (target["attempts"] + [1] * count)[:count]
    status["target"] = target
    return Step(row.state, status, after=0)


def _build(platform: Platform, row: Row, status: Document, plan: EnvironmentPlan) -> Step:
    with platform.database.read() as connection:
        build = resources.get(connection, environment_build.build_id(platform, plan.key))
    if status.get("asked_build") and build is not None and build.state == "Failed":
        return _fail(
            platform, row, status, build.status.get("error") or {"code": "EnvironmentBuildFailed", "message": "?"}
        )
    status["asked_build"] = True
    return Step(
        row.state, status, after=_RESYNC_S, reason="the environment is built",
        writes=environment_build.require(platform, plan, row.id),
    )  # fmt: skip


def _serve(platform: Platform, row: Row, status: Document) -> Step:
    """Keep the wanted replicas running; move the gateway over when all are ready; end the old ones after that."""
    target = status.get("target")
    if target is None:  # it failed, and nothing was live before
        return _settle(platform, row, status, complete=True)
    names = replicas.names(row, target)
    observed = {name: platform.engine.observe(name) for name in names}
    coming_up = (status.get("live") or {}).get("revision") != target["revision"]
    dead = [at for at, name in enumerate(names) if (one := observed[name]) and one.phase is Phase.EXITED]
    if dead and coming_up:
        return _fail(platform, row, status, _crash(observed[names[dead[0]]]))
    if dead:
        return _replace(platform, row, status, {at: observed[names[at]] for at in dead}, names)
    pauses = [
        _pause_left(target, at, platform.clock()) if observed[name] is None else 0.0 for at, name in enumerate(names)
    ]
    missing = [name for name, pause in zip(names, pauses, strict=True) if observed[name] is None and not pause]
    for spec in replicas.tasks(platform, row, target, missing):
        platform.engine.ensure(spec)
    ready = [name for name in names if (one := observed[name]) and one.ready and one.phase is Phase.RUNNING]
    if coming_up and len(ready) < len(names):
        status["target"] = target = _waited(target, platform.clock())
        if target["waited_s"] > _START_S:
            return _fail(platform, row, status, _slow(names, ready))
        return Step(row.state, status, after=_RESYNC_S, reason=f"{len(names)} instances start")
    _go_live(platform, row, status, {name: one.address for name in ready if (one := observed[name])})
    step = _settle(platform, row, status, complete=len(ready) == len(names))
    return replace(step, after=min(filter(None, [*pauses, step.after]))) if any(pauses) else step


def _pause_left(target: Document, at: int, now: float) -> float:
    """Seconds until the successor of a replica that died may start."""
    left = target.get("deaths", {}).get(str(at), {}).get("again_at", now) - now
    return left if 0 < left <= _PAUSE_MOST_S else 0.0  # more: the clock was set back


def _waited(target: Document, now: float) -> Document:
    """`target` with the time that it has been waited for, as the looks at it add up."""
    since_s = min(max(now - target.get("looked_at", now), 0.0), _LOOK_MOST_S)
    return {**target, "waited_s": target.get("waited_s", 0.0) + since_s, "looked_at": now}


def _go_live(platform: Platform, row: Row, status: Document, serving: dict[str, Address]) -> None:
    """`live` is what the gateway is told; the replicas of the revision before are to be drained.

    Addresses are those of one machine: of another server's, which is lost, none stays.
    """
    target, live = status["target"], status.get("live") or {}
    if live and live["revision"] != target["revision"]:
        status["old"] = [*status.get("old", []), *live["names"]]
    status["live"] = {
        "revision": target["revision"],
        "names": replicas.names(row, target),
        "server": platform.servers.me,
        "addresses": serving or addresses_here(platform, live),
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
    left = status["old"] = _drain(platform, status, status.get("old", []))
    if error := status.get("failed") or routed.error:  # what is live is looked after all the same
        again = _RESYNC_S if left or status.get("live") else None
        return Step("Failed", status, done=True, error=error, after=again)
    if not complete:
        return Step(row.state, status, after=_RESYNC_S)
    writes = served.note(platform, row, status)
    return Step("Succeeded", status, done=True, after=_RESYNC_S, writes=writes)


def _drain(platform: Platform, status: Document, names: list[str]) -> list[str]:
    """Ask old replicas to end; the names of those that have not yet."""
    left: list[str] = []
    for name in names:
        state = platform.engine.observe(name)
        if state is not None and state.phase is not Phase.EXITED:
            platform.engine.stop(name, _DRAIN_S)
            left.append(name)
        else:
            platform.engine.remove(name)
            replicas.forget(platform, status, name)
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
        pause = min(_PAUSE_S * 2 ** min(count - 1, 10), _PAUSE_MOST_S)
        deaths[str(at)] = {"count": count, "at": now, "again_at": now + pause}
        platform.engine.remove(names[at])
        replicas.forget(platform, status, names[at])
    target |= {"attempts": attempts, "deaths": deaths}
    status["target"] = target
    live = dict(status["live"])
    gone = {names[at] for at in dead}
    left = {name: address for name, address in live["addresses"].items() if name not in gone}
    live |= {"addresses": left or live["addresses"], "names": replicas.names(row, target)}
    status["live"] = live
    whys = [one.error.splitlines()[0] for one in dead.values() if one and one.error]
    reason = ": ".join(["a replica died", *whys[:1]])[:500]
    return Step(row.state, status, after=0, reason=reason, writes=routing.request_change(platform, row.id))


def _fail(platform: Platform, row: Row, status: Document, error: Document) -> Step:
    """This generation did not come up: its replicas go, what was live stays."""
    live, target = status.get("live") or {}, status.get("target")
    status["failed"] = {"code": error.get("code") or "DeploymentFailed", "message": error.get("message") or "?"}
    status["error"] = status["failed"]
    if target and target["revision"] != live.get("revision"):
        status["failed_names"] = replicas.names(row, target)
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


def _crash(state: TaskState | None) -> Document:
    message = state.error if state and state.error else "The scoring process ended before it was ready."
    return {"code": "ScoringProcessCrashed", "message": f"The deployment did not come up. {message}"}


def _slow(names: list[str], ready: list[str]) -> Document:
    message = (
        f"{len(names) - len(ready)} of {len(names)} instances were not ready after {_START_S:.0f} s; see get_logs."
    )
    return {"code": "DeploymentTimeout", "message": message}


def _delete(platform: Platform, row: Row, status: Document) -> Step:
    """First no request comes any more, then the replicas end."""
    with platform.database.read() as connection:
        routed = routing.routed(platform, connection, row.parent)
    if not routed.settled:
        return Step(row.state, status, after=_RESYNC_S, writes=routing.request_change(platform, row.id))
    names = [*status.get("old", []), *(status.get("live") or {}).get("names", [])]
    if target := status.get("target"):
        names += replicas.names(row, target)
    left = _drain(platform, status, sorted(set(names)))
    if left:
        return Step(row.state, status, after=_RESYNC_S)
    replicas.forget_all(platform, row)
    return Step(row.state, status, gone=True)


def _check_delete(request: Request, connection: Connection, row: Row) -> None:
    endpoint = resources.get(connection, row.parent)
    if endpoint is None or endpoint.deleting:
        return
    shares = {name.lower(): share for name, share in (endpoint.properties.get("traffic") or {}).items()}
    if shares.get(row.name.lower()):
        raise ArmError(
            409, "Conflict",
            f"Deployment '{row.name}' still takes {shares[row.name.lower()]} % of the traffic. Move it away first.",
            "name",
        )  # fmt: skip


def _logs(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    tail = request.body.get("tail")
    lines = tail if isinstance(tail, int) and tail > 0 else 5000
    return 200, {"content": replicas.logs(request.platform, row, lines)}


def _skus(request: Request, row: Row | None) -> tuple[int, Any]:
    capacity = {"minimum": 1, "maximum": 50, "default": 1, "scaleType": "Manual"}
    type_ = "Microsoft.MachineLearning.Services/endpoints/deployments"
    return 200, {"value": [{"resourceType": type_, "capacity": capacity, "sku": {"name": "Default"}}]}


KIND = Kind(
    path="workspaces/onlineEndpoints/deployments",
    tracked=True,
    title="online deployment",
    lane=SERVING,
    properties=DeploymentProperties,
    admit=_admit,
    reconcile=_reconcile,
    fail=_give_up,
    check_delete=_check_delete,
    origin=served.origin,
    actions={"getLogs": Action(_logs), "skus": Action(_skus, method="GET"), "lineage": READ},
    long_running=True,
    since={"dataCollector": "2023-02-01-preview", "egressPublicNetworkAccess": "2022-05-01"},
    name_pattern=r"^[a-zA-Z][a-zA-Z0-9\-]{1,30}[a-zA-Z0-9]$",
)
