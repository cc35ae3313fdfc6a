"""A job's tasks: what runs on each node, with which files and variables.

Names, folders and variables are the ones that Azure's jobs see:
https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-command
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import Connection

from smalt.agent.wire import InputSpec, OutputSpec, Ref, TaskSpec
from smalt.arm.cloud import metadata
from smalt.arm.durations import seconds_of
from smalt.arm.errors import invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document
from smalt.arm.platform import Platform
from smalt.arm.ports import Capacity, EnvironmentPlan, Principal
from smalt.kinds.assets.environment_build import given_to_nodes
from smalt.kinds.assets.references import Place
from smalt.kinds.jobs import distribution, identity, peers, pinned, ranks, services
from smalt.kinds.jobs.admission import EVERYWHERE
from smalt.kinds.jobs.model import FOLDERS, HOLD, MODES, ROOT
from smalt.kinds.jobs.parallel.task import driven
from smalt.kinds.jobs.ranks import Room
from smalt.kinds.jobs.status import JobStatus
from smalt.kinds.process_settings import shm_bytes
from smalt.sched.sizes import SIZES, limits_of
from smalt.settings import ARTIFACT_CONTAINER, CLOUD, PLATFORM_ACCOUNT, REGION, TENANT
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

GRACE_S = 30.0
HOLD_MOST_S = 7 * 86400.0
TOKEN_S = 365 * 86400.0  # of a job without a timeout; a token opens nothing once its job has ended
BUILD_LOG = "azureml-logs/20_image_build_log.txt"
_FILE = "uri_file"
_VERSIONS_MOST_BYTES = 1 << 20


def task_name(row: Row, attempt: int, rank: int) -> str:
    """Deterministic, and new for a job made again under an old name."""
    digest = hashlib.sha256(f"{row.id}|{row.created_at!r}".encode()).hexdigest()[:16]
    return f"job-{digest}-a{attempt}-n{rank}"


def job_oid(row: Row) -> str:
    """The object id of the identity that a job has: another one for a job made again under an old name."""
    return hashlib.sha256(f"{row.id}|{row.created_at!r}".encode()).hexdigest()[:32]


def artifacts_of(connection: Connection, row: Row) -> Ref:
    """The job's artifact folder, straight from the workspace: its datastores may be deleted already."""
    workspace = resources.get(connection, ResourceId.parse(row.written).workspace.key)
    assert workspace is not None, "a job outlived its workspace"
    return Ref(str(workspace.status["account"]), ARTIFACT_CONTAINER, f"ExperimentRun/dcid.{row.name}/")


def show_build_log(platform: Platform, row: Row, key: str) -> None:
    """The environment's build log is among the job's logs, while it grows."""
    with platform.database.read() as connection:
        artifacts = artifacts_of(connection, row)
    platform.blobs.link(platform.environments.log(key), artifacts.below(BUILD_LOG))


def remove_artifacts(platform: Platform, row: Row) -> None:
    with platform.database.read() as connection:
        artifacts = artifacts_of(connection, row)
    platform.blobs.remove(*artifacts)
    if JobStatus.read(row.status).machines:
        platform.blobs.remove(*_versions(row))


def versions(platform: Platform, row: Row) -> dict[str, str] | None:
    """Of packages, as its first node has them, where that is a machine of its own; None: it has not said so (yet)."""
    attempt = JobStatus.read(row.status).attempt
    text = platform.blobs.read(*_versions(row).below(f"{attempt}-0.json"), _VERSIONS_MOST_BYTES)
    try:
        found: Any = json.loads(text or b"null")
    except (ValueError, RecursionError):  # whoever has root there may say anything
        return None
    named = cast("dict[str, Any]", found) if isinstance(found, dict) else None
    return None if named is None else {name: str(version) for name, version in named.items()}


def _versions(row: Row) -> Ref:
    """A place of the platform's own: the job cannot write there."""
    return Ref(PLATFORM_ACCOUNT, "environments", f"versions/{job_oid(row)}/")


def _built(build: Document, row: Row, artifacts: Ref, attempt: int, rank: int) -> Document:
    return {
        **build,
        "log": artifacts.below(_build_log(rank)),
        "versions": _versions(row).below(f"{attempt}-{rank}.json"),
    }


def tasks(platform: Platform, row: Row, status: JobStatus) -> list[TaskSpec]:
    """One task for each node. Raises ArmError(400) where what an older version took is not there any more."""
    workspace = ResourceId.parse(row.written).workspace
    properties, ours = row.properties, row.spec[OURS]
    names, machines = status.tasks, status.machines or ("",) * len(status.tasks)
    if not any(machines) and distribution.type_of(properties):
        distribution.check_nodes(platform, len(names))  # they may have been machines of their own when it was taken
    build = given_to_nodes(platform, EnvironmentPlan(**ours["plan"])) if any(machines) else {}
    with platform.database.read() as connection:
        uses = pinned.of(platform, connection, row)
        artifacts = artifacts_of(connection, row)
        home = resources.get(connection, workspace.key)
    assert home is not None
    inputs = [_input(name, one, uses["inputs"].get(name)) for name, one in properties["inputs"].items()]
    outputs = [_output(name, one, uses["outputs"][name]) for name, one in properties["outputs"].items()]
    driver = driven(platform, row, status, uses, inputs, outputs)
    if driver is not None:
        inputs, outputs = driver.inputs, driver.outputs
    code = Place(**uses["code"]).ref(folder=True) if uses["code"] else None
    variables = _variables(platform, row, workspace, home, len(names))
    own = {key: str(value) for key, value in part(properties, "environmentVariables").items() if value is not None}
    documents = {platform.settings.metadata_url: metadata(platform.settings)}
    size = ours.get("instance_type") or ""
    shm = shm_bytes(part(properties, "resources").get("shmSize"), "properties.resources.shmSize")
    capacities = [platform.engine.capacity(machine) for machine in machines]
    hosts = [_host_name(row, rank) for rank in range(len(names))]
    secret = peers.secret(platform, row, status) if distribution.type_of(properties) in distribution.WITH_SECRET else ""
    addresses = dict(zip(hosts, status.addresses, strict=True)) if status.addresses else {}
    rooms = [_room(size, one) for one in capacities]
    nodes = ranks.nodes(properties, len(names), status.ports, artifacts, secret, rooms, status.addresses)
    return [
        TaskSpec(
            name=name,
            owner=row.id,
            node=machines[rank],
            build=_built(build, row, artifacts, status.attempt, rank) if machines[rank] else {},
            fence=status.attempt,
            command=nodes[rank].command,
            parallel=driver.node(rank) if driver is not None else None,
            environment=ours["plan"]["key"],
            variables={
                **ours["plan"].get("variables", {}),
                **variables,
                **nodes[rank].variables,
                **own,
            },
            documents=documents,
            code=code,
            inputs=inputs,
            outputs=outputs,
            log=nodes[rank].log,
            ranks=[replace(one, variables=_without(one.variables, own)) for one in nodes[rank].ranks],
            mpi=nodes[rank].mpi,
            ray=nodes[rank].ray,
            system_log=artifacts.below(f"system_logs/node-{rank}.log" if len(names) > 1 else "system_logs/node.log"),
            artifacts=artifacts,
            timeout_s=seconds_of(part(properties, "limits").get("timeout"), 0),
            grace_s=GRACE_S,
            hold_s=hold_s(properties),
            services=[] if machines[rank] else services.specs(row, rank),
            limits=limits_of(size, capacities[rank].memory_bytes, _size_setting(ours), shm),
            workspace=workspace.key,
            hostname=hosts[rank],
            hosts=hosts,
            addresses=addresses,
            gpus=_gpus(size, capacities[rank], status.gpus[rank] if status.gpus else ()),
        )
        for rank, name in enumerate(names)
    ]


def _build_log(rank: int) -> str:
    """Each machine builds for itself."""
    return BUILD_LOG if rank == 0 else BUILD_LOG.replace("_log.", f"_log_node-{rank}.")


def _without(variables: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """What the user sets goes over what a rank is given."""
    return {name: value for name, value in variables.items() if name not in own}


def hold_s(properties: Document) -> float:
    """For how long a job's nodes stay where its command fails. Raises ArmError(400)."""
    field = f"properties.properties.{HOLD}"
    found = seconds_of(part(properties, "properties").get(HOLD), 0, field)
    if found > HOLD_MOST_S:
        raise invalid(f"{field}: a failed job's nodes are kept for at most P7D.", field)
    return found


def _size_setting(ours: Document) -> str:
    """What says a node's size."""
    compute = ours["compute"].rpartition("/")[2]
    return "resources.instance_type of the job" if compute in EVERYWHERE else f"the size of compute '{compute}'"


def _input(name: str, given: Document, source: Document | None) -> InputSpec:
    if source is None:
        return InputSpec(name=name, value=str(given["value"]))
    type_, place = given["jobInputType"], Place(**source["place"])
    mode = MODES.get(str(given.get("mode") or "").lower(), "ro_mount")
    ref = place.ref(type_ in FOLDERS) if place.account else None
    return InputSpec(name=name, type=type_, mode=mode, uri=source["uri"], source=ref, url=place.url)


def _output(name: str, given: Document, place: Document) -> OutputSpec:
    mode = MODES.get(str(given.get("mode") or "").lower(), "rw_mount")
    type_ = given.get("jobOutputType", "uri_folder")
    target = Place(**place).ref(type_ in FOLDERS)
    return OutputSpec(name=name, type=type_, mode=mode, uri=place["uri"], target=target)


def _variables(platform: Platform, row: Row, workspace: ResourceId, home: Row, nodes: int) -> dict[str, str]:
    settings, experiment = platform.settings, row.properties["experimentName"]
    principal = Principal(
        oid=job_oid(row),
        name=f"job:{row.name}",
        kind="job",
        tenant=TENANT,
        scope=workspace.key,
    )
    timeout = seconds_of(part(row.properties, "limits").get("timeout"), TOKEN_S)
    lifetime_s = max(timeout + 3600, TOKEN_S)
    token = platform.tokens.issue(principal, settings.url, lifetime_s)
    tracking = f"{settings.url}/mlflow/v1.0{workspace}"
    return {
        "AZUREML_RUN_ID": row.name,
        "AZUREML_ROOT_RUN_ID": row.spec[OURS].get(ROOT) or row.name,
        "AZUREML_ARM_SUBSCRIPTION": workspace.subscription,
        "AZUREML_ARM_RESOURCEGROUP": workspace.group,
        "AZUREML_ARM_WORKSPACE_NAME": workspace.name,
        "AZUREML_ARM_PROJECT_NAME": experiment,
        "AZUREML_WORKSPACE_ID": str(home.status.get("workspaceId", "")),
        "AZUREML_WORKSPACE_SCOPE": str(workspace),
        "AZUREML_EXPERIMENT_SCOPE": f"{workspace}/experiments/{experiment}",
        "AZUREML_EXPERIMENT_NAME": experiment,
        "AZUREML_SERVICE_ENDPOINT": settings.url,
        "AZUREML_DISCOVERY_SERVICE_ENDPOINT": f"{settings.url}/discovery",
        "AZUREML_RUN_HISTORY_SERVICE_ENDPOINT": settings.url,
        "AZUREML_RUN_TOKEN": token,
        "AZUREML_REGION": REGION,
        "AZUREML_NODE_COUNT": str(nodes),
        "AZUREML_CURRENT_CLOUD": CLOUD,
        "ARM_CLOUD_METADATA_URL": settings.metadata_url,
        "AZURE_SUBSCRIPTION_ID": workspace.subscription,
        "MLFLOW_TRACKING_URI": tracking,
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_RUN_ID": platform.tracking.run_id(workspace.key, row.name),
        "MLFLOW_EXPERIMENT_NAME": experiment,
        "IDENTITY_ENDPOINT": f"{settings.url}/msi/token",
        "IDENTITY_HEADER": platform.identity_headers.mint(principal, lifetime_s),
        **identity.lent(platform, row, principal.oid, lifetime_s),
    }


def _gpus(size: str, capacity: Capacity, gpus: Sequence[int]) -> list[int] | None:
    """A node of a size sees its own GPUs alone, be it none; without a size it sees all that the machine has."""
    return list(gpus) if capacity.gpus and size.lower() in SIZES else None


def _room(size: str, capacity: Capacity) -> Room:
    """What a framework that divides a node itself is told of it."""
    known = SIZES.get(size.lower())
    if known is None:
        return Room()
    return Room(min(known.cpus, capacity.cpus), min(known.gpus, capacity.gpus))


def _host_name(row: Row, rank: int) -> str:
    """At most 63 characters, as DNS has it, and another one for each node of all jobs."""
    name = re.sub(r"[^a-z0-9]+", "-", row.name.lower()).strip("-")[:32].strip("-")
    return f"{name or 'job'}-{job_oid(row)[:8]}-node-{rank}"
