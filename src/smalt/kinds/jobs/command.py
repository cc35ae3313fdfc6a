"""Command jobs: a command in an environment on one or more nodes, in as many attempts as it takes (`attempt.py`).

Parallel jobs are command jobs, too (`parallel/`).
"""

from __future__ import annotations

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.durations import seconds_of
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Admitted, Document, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, Texts
from smalt.kinds.assets import references
from smalt.kinds.assets.environment import specification
from smalt.kinds.jobs import admission, attempt, distribution, launch, life, lineage, outputs, pinned, services
from smalt.kinds.jobs.attempt import Work
from smalt.kinds.jobs.distribution import Distribution
from smalt.kinds.jobs.model import JobInput, JobOutput, JobProperties, JobType, WrittenText
from smalt.kinds.jobs.parallel import ended
from smalt.kinds.jobs.parallel.settings import PARALLEL, ParallelSettings
from smalt.kinds.jobs.parallel.settings import check as check_parallel
from smalt.kinds.jobs.pinned import PINNED
from smalt.kinds.jobs.status import JobStatus
from smalt.kinds.process_settings import check_variables, shm_bytes
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row


class JobResources(Properties):
    instance_count: int | None = Field(None, ge=1, le=1000)
    instance_type: str | None = None
    shm_size: str | None = None


class CommandLimits(Properties):
    timeout: str | None = None


class QueueSettings(Properties):
    job_tier: str | None = None
    priority: int | None = None


class CommandProperties(JobProperties):
    command: WrittenText = Field(min_length=1)
    environment_id: str = Field(min_length=1)
    code_id: str | None = None
    inputs: dict[str, JobInput | None] | None = None
    outputs: dict[str, JobOutput | None] | None = None
    environment_variables: Texts | None = None
    resources: JobResources | None = None
    limits: CommandLimits | None = None
    distribution: Distribution | None = None
    queue_settings: QueueSettings | None = None
    parallel: ParallelSettings | None = None


def _admit(request: Request, connection: Connection, properties: Document) -> Admitted:
    """Everything that can be known to be wrong is refused here, before anything waits for anything."""
    platform, workspace = request.platform, request.id.workspace
    checks = admission.Checks()
    environment = checks.run(
        lambda: references.asset(
            connection, workspace, properties["environmentId"], "environments", "properties.environmentId"
        )
    )
    plan = environment and checks.run(
        lambda: platform.environments.plan(specification(connection, environment, workspace, request.now))
    )
    if environment is not None:
        properties["environmentId"] = references.asked_id(
            environment, workspace, properties["environmentId"], "environments", "properties.environmentId"
        )
    code = admission.code(platform, connection, workspace, properties, checks)
    want = distribution.node_count(properties)
    properties["resources"] = {**part(properties, "resources"), "instanceCount": want}
    compute = checks.run(lambda: admission.compute(platform, connection, workspace, properties, want))
    checks.run(lambda: seconds_of(part(properties, "limits").get("timeout"), 0, "properties.limits.timeout"))
    checks.run(lambda: launch.hold_s(properties))
    checks.run(lambda: shm_bytes(part(properties, "resources").get("shmSize"), "properties.resources.shmSize"))
    checks.run(lambda: check_variables(properties.get("environmentVariables"), "properties.environmentVariables"))
    elsewhere = compute is not None and compute.elsewhere
    checks.run(lambda: distribution.check(platform, properties, elsewhere))
    services.check(properties, checks)
    sources = admission.inputs(platform, connection, workspace, properties, checks)
    places = admission.outputs(platform, connection, workspace, request.id.name, properties, checks)
    admission.template(properties, checks)
    if part(properties, PARALLEL):
        check_parallel(platform, properties, sources, code, checks, elsewhere)
    checks.done(f"job '{request.id.name}'")
    assert plan is not None and compute is not None
    kept = resources.get(connection, ResourceId.parse(properties["codeId"]).key) if code else None
    uses = pinned.document(sources, places, code, kept.lookup if kept else None)
    spec = {**request.body, "properties": properties, OURS: {**compute.ours(), "plan": plan.document(), PINNED: uses}}
    status = JobStatus(outputs=admission.output_places(request.id.name, properties))

    def writes(connection: Connection) -> None:
        if sources:
            lineage.note_reads(platform, connection, request.id, uses, request.now)

    return Admitted(spec, state="NotStarted", due=True, status=status.document(), writes=writes)


def _step(platform: Platform, row: Row) -> Step:
    step = attempt.step(WORK, platform, row)
    if step.final:
        ended.tidy(platform, row)
    return step


WORK = Work(launch.tasks, outputs.register, ended.retries, ended.is_lost)
TYPE = JobType(
    name="Command",
    properties=CommandProperties,
    admit=_admit,
    step=_step,
    fail=life.give_up,
    fixed=(
        "jobType",
        "command",
        "codeId",
        "environmentId",
        "inputs",
        "computeId",
        "resources",
        "limits",
        "environmentVariables",
        "distribution",
        "queueSettings",
        PARALLEL,
    ),
)
