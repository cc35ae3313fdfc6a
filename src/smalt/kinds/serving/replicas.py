"""The processes of a deployment: what they run, their names and logs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from posixpath import normpath
from typing import Any

from sqlalchemy import Connection

from smalt.agent.wire import Limits, Probe, Ref, ServerSpec, TaskSpec
from smalt.arm.cloud import metadata
from smalt.arm.durations import seconds_of
from smalt.arm.errors import invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentPlan, Principal
from smalt.arm.scale import MOST
from smalt.kinds.assets import references
from smalt.kinds.assets.environment import specification
from smalt.kinds.assets.environment_build import given_to_nodes
from smalt.kinds.assets.feeds import feeds_of
from smalt.kinds.assets.model_environment import model_environment
from smalt.kinds.serving import checked_model, collection, hosting
from smalt.sched import hosts, instances, queue
from smalt.sched.sizes import is_own, limits_of, size_of
from smalt.sched.want import Want
from smalt.settings import CLOUD, PLATFORM_ACCOUNT, TENANT
from smalt.store import resources
from smalt.store.resources import Row

PAUSE_MOST_S = 30.0  # before the successor of one that died
_TOKEN_S = 365 * 86400.0
_ACTS_AS = "endpoint:"
_ENDED_KEPT, _ENDED_LOG_BYTES = 10, 1 << 20
GpusOf = Mapping[str, tuple[int, ...] | None]  # by the names of replicas
_LOGS = Ref(PLATFORM_ACCOUNT, "deployments", "")


def target(platform: Platform, row: Row) -> Document:
    """What the deployment's replicas run, with everything resolved. Raises ArmError(400)."""
    workspace = ResourceId.parse(row.written).workspace
    properties = row.properties
    with platform.database.read() as connection:
        version = _version(platform, workspace, properties, connection)
        model = version[1] if version else None
        code = None
        script = properties.get("codeConfiguration") or {}
        if script.get("codeId"):
            found = references.asset(
                connection, workspace, script["codeId"], "codes", "properties.codeConfiguration.codeId"
            )
            place = references.locate(platform, connection, workspace, found.properties["codeUri"], "codeUri")
            code = place.ref(folder=True)
        plan = _plan(platform, connection, workspace, row, model)
        deployment = ResourceId.parse(row.written)
        collected = collection.target(platform, connection, deployment, properties.get("dataCollector"))
    entry = _entry_script(platform, code, script["scoringScript"]) if code else script.get("scoringScript", "")
    requests = properties.get("requestSettings") or {}
    runs: Document = {
        "mode": "script" if script else "mlflow",
        "model": model,
        "code": code,
        "script": entry,
        "variables": {
            key: str(value)
            for key, value in (properties.get("environmentVariables") or {}).items()
            if value is not None
        },
        "concurrency": int(requests.get("maxConcurrentRequestsPerInstance") or 1),
        "timeout_s": seconds_of(requests.get("requestTimeout"), 5.0),
        "size": hosting.size_of(row),
        "probes": [properties.get("readinessProbe"), properties.get("livenessProbe")],
        "plan": plan.document(),
    }
    if collected:  # else the digest is that of earlier versions
        runs["collector"] = collected
    if compute := hosting.compute_of(row):
        runs["compute"] = compute
    digest = hashlib.sha256(json.dumps(runs, sort_keys=True).encode()).hexdigest()[:16]
    checked = checked_model.checked(platform, *version) if version else {}
    return {**runs, **checked, "digest": digest, "max_queue_wait_s": seconds_of(requests.get("maxQueueWait"), 0.5)}


def _plan(
    platform: Platform, connection: Connection, workspace: ResourceId, row: Row, model: Ref | None
) -> EnvironmentPlan:
    """As it was admitted; of a model's own environment, and of a deployment of an older version, made here."""
    if kept := (row.spec.get(OURS) or {}).get("plan"):
        return EnvironmentPlan(**kept)
    if given := row.properties.get("environmentId"):
        environment = references.asset(connection, workspace, given, "environments", "properties.environmentId")
        spec = specification(connection, environment, workspace, platform.clock())
    else:
        assert model is not None, "a deployment without a script was admitted without a model"
        spec = model_environment(platform, model)
        spec = replace(spec, feeds=feeds_of(connection, workspace, spec, platform.clock()))
    return platform.environments.plan(spec, serving=True)


def _entry_script(platform: Platform, code: Ref, given: str) -> str:
    """The script below the code folder; upstream's notebooks also begin its path with the uploaded folder's name."""
    above = code.name.rstrip("/").rpartition("/")[2]
    for entry in (normpath(given), normpath(given.removeprefix(f"{above}/"))):
        if platform.blobs.size(*code.below(entry)) is not None:
            return entry
    raise invalid(
        f"properties.codeConfiguration.scoringScript: there is no '{given}' in the code folder.",
        "properties.codeConfiguration.scoringScript",
    )


def _version(
    platform: Platform, workspace: ResourceId, properties: Mapping[str, Any], connection: Connection
) -> tuple[Row, Ref] | None:
    """The model's version, and its files."""
    if not properties.get("model"):
        return None
    row = references.asset(connection, workspace, properties["model"], "models", "properties.model")
    place = references.locate(platform, connection, workspace, row.properties["modelUri"], "properties.model")
    model = place.ref(folder=False)
    if not platform.blobs.exists(*model):
        raise invalid(f"properties.model: nothing is stored at {row.properties['modelUri']}.", "properties.model")
    return row, model


def limits_of_requests(wanted: Mapping[str, Any]) -> Document:
    """For the gateway: those of the revision, also when a later one of other limits did not come up."""
    return {
        "timeout_s": wanted["timeout_s"],
        "max_concurrent": wanted["concurrency"],
        "max_queue_wait_s": wanted.get("max_queue_wait_s", 0.5),
    }


def _digest(row: Row) -> str:
    return hashlib.sha256(f"{row.id}|{row.created_at!r}".encode()).hexdigest()[:12]


def names(row: Row, wanted: Mapping[str, Any], first: int = 0) -> list[str]:
    """The replicas' task names: deployment, revision, index, attempt."""
    base = f"srv-{_digest(row)}-r{wanted['revision']}"
    return [f"{base}-i{first + at}-a{attempt}" for at, attempt in enumerate(wanted["attempts"])]


def pause_left_s(target: Mapping[str, Any], at: int, now: float) -> float:
    """Seconds until the successor of a replica that died may start."""
    left = float(target.get("deaths", {}).get(str(at), {}).get("again_at", now)) - now
    return left if 0 < left <= PAUSE_MOST_S else 0.0  # more: the clock was set back


def _log_folder(name: str) -> Ref:
    return _LOGS.below(f"{name.split('-')[1]}/{name}/")


def log_of(name: str) -> Ref:
    return _log_folder(name).below("log.txt")


def system_log_of(name: str) -> Ref:
    return _log_folder(name).below("system.txt")


def build_log_of(name: str) -> Ref:
    """Of the environment, where the instance's machine builds it."""
    return _log_folder(name).below("build.txt")


def most(platform: Platform, row: Row) -> int:
    """How many instances a deployment may have: of its size here, or on its cluster's nodes."""
    if compute := hosting.compute_of(row):
        with platform.database.read() as connection:
            return hosting.most_of(connection, resources.get(connection, compute), hosting.size_of(row))
    return instances.most(hosting.size_of(row), platform.engine.capacity().gpus)


def gpus(platform: Platform, row: Row, wanted: Mapping[str, Any], missing: Sequence[str], coming_up: bool) -> GpusOf:
    """Of those that are `missing` the ones that may start, with the indices of their GPUs; None: all of the machine's.

    As with jobs, an instance of a size sees its own GPUs alone, be it none; without a size it sees all.
    """
    size, machine = size_of(str(wanted["size"])), platform.engine.capacity().gpus
    if wanted.get("compute"):
        with platform.database.read() as connection:
            held = hosts.gpus(connection, row.id)
        return {name: held.get(name, tuple(range(size.gpus))) if size else None for name in missing}
    if size is None or not machine:
        return dict.fromkeys(missing)
    if not size.gpus:
        wait_no_more(platform, row)
        return dict.fromkeys(missing, ())
    want = Want(row.id, row.id, max(len(missing), 1), MOST, row.created_at, gpus=size.gpus)
    now = platform.clock()
    with platform.database.write() as connection:
        return dict(instances.hold(connection, want, missing, machine, now, coming_up))


def wait_no_more(platform: Platform, row: Row) -> None:
    """It stands in nobody's way who waits for GPUs."""
    with platform.database.read() as connection:
        waits = queue.place_of(connection, row.id) is not None
    if waits:
        with platform.database.write() as connection:
            queue.leave(connection, row.id, platform.clock())


def give_back(platform: Platform, row: Row, status: Document, names: Sequence[str]) -> None:
    """The GPUs and nodes of those that have ended."""
    hosting.keep(platform, row, status)
    if not platform.engine.capacity().gpus:
        return
    with platform.database.write() as connection:
        instances.release(connection, row.id, names, platform.clock())


def tasks(
    platform: Platform, row: Row, wanted: Mapping[str, Any], missing: GpusOf, machines: Mapping[str, str]
) -> list[TaskSpec]:
    """One task for each replica that is `missing`, with its GPUs, on its machine where it has one."""
    if not missing:
        return []
    build = given_to_nodes(platform, EnvironmentPlan(**wanted["plan"])) if machines else {}
    workspace = ResourceId.parse(row.written).workspace
    endpoint = row.parent.rsplit("/", 1)[-1]
    there = {name: platform.engine.capacity(machines.get(name, "")) for name in missing}
    readiness, liveness = wanted["probes"]
    server = ServerSpec(
        model=_ref(wanted["model"]),
        script=wanted["script"],
        deployment=row.name,
        max_concurrent=wanted["concurrency"],
        request_timeout_s=wanted["timeout_s"],
        files=wanted.get("files") or {},
        sealed=bool(wanted.get("sealed")),
    )
    collecting = partial(collection.spec, platform, wanted.get("collector") or {}, ResourceId.parse(row.written))
    return [
        TaskSpec(
            name=name,
            owner=row.id,
            node=machines.get(name, ""),
            build={**build, "log": build_log_of(name)} if name in machines else {},
            server=replace(server, collector=collector),
            outputs=outputs,
            environment=wanted["plan"]["key"],
            variables={
                **wanted["plan"].get("variables", {}),
                **_variables(platform, row, workspace, endpoint),
                **wanted["variables"],
            },
            documents={platform.settings.metadata_url: metadata(platform.settings)},
            code=_ref(wanted["code"]),
            log=log_of(name),
            system_log=system_log_of(name),
            grace_s=30,
            limits=_limits(wanted, there[name].memory_bytes),
            workspace=workspace.key,
            hostname=name,
            ready=_probe(readiness, "/ready"),
            live=_probe(liveness, "/health"),
            gpus=None if indices is None or (name in machines and not there[name].gpus) else list(indices),
        )
        for name, indices in missing.items()
        for collector, outputs in [collecting(name)]
    ]


def _limits(wanted: Mapping[str, Any], memory: int) -> Limits:
    said = "resources.limits" if is_own(wanted["size"]) else "instance_type"
    return limits_of(wanted["size"], memory, f"{said} of the deployment", shm_bytes=memory // 2)


def _ref(kept: Sequence[str] | None) -> Ref | None:
    return Ref(*kept) if kept else None


def _probe(given: Mapping[str, Any] | None, path: str) -> Probe:
    """Where nothing is given, as Azure has it."""
    values = given or {}
    return Probe(
        path=path,
        initial_delay_s=seconds_of(values.get("initialDelay"), 10),
        period_s=seconds_of(values.get("period"), 10),
        timeout_s=seconds_of(values.get("timeout"), 2),
        failure_threshold=int(values.get("failureThreshold") or 30),
        success_threshold=int(values.get("successThreshold") or 1),
    )


def _principal(row: Row, workspace: ResourceId, endpoint: str) -> Principal:
    """Whom replicas act as: the deployment, until it is deleted."""
    return Principal(
        oid=_digest(row), name=f"{_ACTS_AS}{endpoint}", kind="endpoint", tenant=TENANT, scope=workspace.key
    )


def deployment_of(connection: Connection, principal: Principal) -> Row | None:
    """The deployment whose replicas act as `principal`; None where it is gone, also if another has its name now."""
    endpoint = principal.name.removeprefix(_ACTS_AS)
    above = ResourceId.parse(principal.scope).workspace.child("onlineEndpoints", endpoint)
    keys = resources.children(connection, above.key, f"{above.kind}/deployments")
    rows = resources.get_many(connection, keys).values()
    return next((row for row in rows if _digest(row) == principal.oid), None)


def _variables(platform: Platform, row: Row, workspace: ResourceId, endpoint: str) -> dict[str, str]:
    settings = platform.settings
    principal = _principal(row, workspace, endpoint)
    return {
        "AZUREML_ARM_SUBSCRIPTION": workspace.subscription,
        "AZUREML_ARM_RESOURCEGROUP": workspace.group,
        "AZUREML_ARM_WORKSPACE_NAME": workspace.name,
        "AZUREML_CURRENT_CLOUD": CLOUD,
        "ARM_CLOUD_METADATA_URL": settings.metadata_url,
        "IDENTITY_ENDPOINT": f"{settings.url}/msi/token",
        "IDENTITY_HEADER": platform.identity_headers.mint(principal, _TOKEN_S),
    }


def forget(platform: Platform, status: Document, name: str) -> None:
    """A replica that is gone leaves the end of its logs; of a deployment's many, those of the last few (`ended`)."""
    hosting.forget(status, name)
    for log in (log_of(name), system_log_of(name)):
        platform.blobs.keep_end(*log, _ENDED_LOG_BYTES)
    ended = [*(one for one in status.get("ended", []) if one != name), name]
    for one in ended[:-_ENDED_KEPT]:
        platform.blobs.remove(*_log_folder(one))
    status["ended"] = ended[-_ENDED_KEPT:]


def forget_all(platform: Platform, row: Row) -> None:
    platform.blobs.remove(*_LOGS.below(f"{_digest(row)}/"))
