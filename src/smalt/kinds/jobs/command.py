"""Command jobs: a command in an environment on one or more nodes.

    NotStarted → Preparing (environment) → Queued (nodes) → Starting → Running → Finalizing
    → Completed | Failed | Canceled

`status` holds what was decided and found: `attempt`, `tasks` (names, recorded before the first is started), `nodes`,
`ports`, `outputs`, `error`, `ending`. Each pass observes the tasks by name. Once `ending` is there it says how the job
ends, whatever is asked later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from smalt.agent.wire import Outcome, Phase, TaskState
from smalt.arm.durations import seconds_of
from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Admitted, Document, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentPlan, RunSpec
from smalt.arm.runs import shared_tags
from smalt.arm.validation import Properties
from smalt.kinds.assets import environment_build, references
from smalt.kinds.assets.environment import specification
from smalt.kinds.jobs import admission, launch, outputs
from smalt.kinds.jobs.model import CANCEL, TERMINAL, JobInput, JobOutput, JobProperties, JobType
from smalt.kinds.process_settings import check_variables
from smalt.sched import placement
from smalt.store import resources
from smalt.store.resources import Row

RESYNC_S = 60.0


class JobResources(Properties):
    instance_count: int = Field(1, ge=1, le=1000)
    instance_type: str | None = None


class CommandLimits(Properties):
    timeout: str | None = None


class Distribution(Properties):
    distribution_type: str
    process_count_per_instance: int | None = Field(None, ge=1)
    worker_count: int | None = Field(None, ge=1)
    parameter_server_count: int | None = Field(None, ge=0)


class CommandProperties(JobProperties):
    command: str = Field(min_length=1)
    environment_id: str = Field(min_length=1)
    code_id: str | None = None
    inputs: dict[str, JobInput | None] | None = None
    outputs: dict[str, JobOutput | None] | None = None
    environment_variables: dict[str, str | None] | None = None
    resources: JobResources | None = None
    limits: CommandLimits | None = None
    distribution: Distribution | None = None


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
        lambda: platform.environments.plan(specification(connection, environment, request.now))
    )
    if environment is not None:
        properties["environmentId"] = references.asked_id(
            environment, workspace, properties["environmentId"], "environments", "properties.environmentId"
        )
    code = admission.code(platform, connection, workspace, properties, checks)
    want = (properties.get("resources") or {}).get("instanceCount", 1)
    properties["resources"] = {**(properties.get("resources") or {}), "instanceCount": want}
    compute = checks.run(lambda: admission.compute(platform, connection, workspace, properties, want))
    checks.run(lambda: seconds_of((properties.get("limits") or {}).get("timeout"), 0, "properties.limits.timeout"))
    checks.run(lambda: check_variables(properties.get("environmentVariables"), "properties.environmentVariables"))
    checks.run(lambda: admission.distribution(properties.get("distribution") or {}))
    sources = admission.inputs(platform, connection, workspace, properties, checks)
    places = admission.outputs(platform, connection, workspace, request.id.name, properties, checks)
    admission.template(properties, checks)
    checks.done(f"job '{request.id.name}'")
    assert plan is not None and compute is not None
    ours = {"plan": plan.document(), "compute": compute.key, "instance_type": compute.size}
    pinned = launch.pinned(sources, places, code)
    spec = {**request.body, "properties": properties, OURS: {**ours, "pinned": pinned}}
    return Admitted(
        spec, state="NotStarted", due=True, status={"outputs": admission.output_places(request.id.name, properties)}
    )


def _step(platform: Platform, row: Row) -> Step:
    if row.deleting:
        return _delete(platform, row)
    if row.state in TERMINAL:
        return Step(row.state, row.status, done=True)
    status = dict(row.status)
    if "ending" in status:
        return _end(platform, row, status)
    canceled = bool(row.spec[OURS].get(CANCEL))
    if "tasks" not in status:
        if canceled:
            return _finish(platform, row, status, "Canceled", None)
        return _prepare(platform, row, status)
    return _run(platform, row, status, canceled)


def _prepare(platform: Platform, row: Row, status: Document) -> Step:
    """A run in the tracking server, a built environment, nodes; then the intent to start."""
    if not status.get("tracked"):
        platform.tracking.ensure_run(_run_spec(row))
        status["tracked"] = True
    ours = row.spec[OURS]
    plan = EnvironmentPlan(**ours["plan"])
    if platform.environments.built(plan.key) is None:
        return _build(platform, row, status, plan)
    want = int((row.properties.get("resources") or {}).get("instanceCount") or 1)
    with platform.database.write() as connection:
        most = admission.nodes_most(platform, connection, ours["compute"])
        nodes = None
        if most is not None:
            nodes = placement.acquire(connection, ours["compute"], row.id, want, most, row.created_at, platform.clock())
            if nodes and launch.has_peers(row.properties, want):
                status["ports"] = placement.assign_ports(connection, row.id)
    if most is None:
        name = ours["compute"].rsplit("/", 1)[-1]
        message = f"The compute '{name}' was deleted before the job could start."
        return _finish(platform, row, status, "Failed", {"code": "ComputeNotFound", "message": message})
    if nodes is None:
        return Step("Queued", status, reason="waits for nodes")  # whoever gives nodes back wakes the first in the queue
    attempt = int(status.get("attempt", 0)) + 1
    names = [launch.task_name(row, attempt, rank) for rank in range(want)]
    status.update(attempt=attempt, tasks=names, nodes=nodes)
    return Step("Starting", status, after=0, reason=f"attempt {attempt} on nodes {nodes}")


def _build(platform: Platform, row: Row, status: Document, plan: EnvironmentPlan) -> Step:
    """Wait for the environment; a build that failed after this job asked for it fails the job."""
    with platform.database.read() as connection:
        build = resources.get(connection, environment_build.build_id(plan.key))
    launch.link_build_log(platform, row, plan.key)
    if status.get("asked_build") and build is not None and build.state == "Failed":
        error = build.status.get("error") or {
            "code": "EnvironmentBuildFailed",
            "message": "The environment could not be built.",
        }
        return _finish(platform, row, status, "Failed", error)
    status["asked_build"] = True
    return Step(
        "Preparing", status, after=RESYNC_S, reason="the environment is built",
        writes=environment_build.require(plan, row.id, platform.clock()),
    )  # fmt: skip


def _run(platform: Platform, row: Row, status: Document, canceled: bool) -> Step:
    observed = {name: platform.engine.observe(name) for name in status["tasks"]}
    missing = [name for name, state in observed.items() if state is None]
    if missing and not canceled:
        try:
            for task in launch.tasks(platform, row, status):
                platform.engine.ensure(task)
        except ArmError as error:
            return _finish(platform, row, status, "Failed", error.body())
        return Step("Starting", status, after=RESYNC_S)
    states = [state for state in observed.values() if state is not None]
    over = not missing and all(state.phase is Phase.EXITED for state in states)
    if over and all(state.outcome is not Outcome.STOPPED for state in states):
        canceled = False  # it had ended by itself when the cancel came
    failed = [state for state in states if state.phase is Phase.EXITED and not _fine(state)]
    if (failed or canceled) and any(state.phase is not Phase.EXITED for state in states):
        for state in states:
            if state.phase is not Phase.EXITED:
                platform.engine.stop(state.name, launch.GRACE_S)
        return Step("CancelRequested" if canceled else "Running", status, after=RESYNC_S)
    if canceled:
        return _finish(platform, row, status, "Canceled", None)
    if failed:
        own = [
            state for state in failed if state.outcome is not Outcome.STOPPED
        ] or failed  # the others were told to stop
        return _finish(platform, row, status, "Failed", _error(min(own, key=lambda state: state.ended_at), states))
    if over:
        return _finish(platform, row, status, "Completed", None)
    started = [state.started_at for state in states if state.started_at]
    if started:
        status["started_at"] = min(started)
    running = all(state.phase is not Phase.PREPARING for state in states)
    return Step("Running" if running else "Starting", status, after=RESYNC_S)


def _fine(state: TaskState) -> bool:
    return state.outcome is Outcome.EXITED and state.exit_code == 0


def _error(first: TaskState, states: Sequence[TaskState]) -> Document:
    """Why a job failed, for people: what the agent said, and on which node if there are several."""
    codes = {
        Outcome.EXITED: "UserError",
        Outcome.TIMEOUT: "JobTimeout",
        Outcome.SETUP: "JobSetupFailed",
        Outcome.OUT_OF_MEMORY: "OutOfMemory",
        Outcome.LOST: "NodeLost",
    }
    where = f"Node {first.name.rsplit('-n', 1)[-1]}: " if len(states) > 1 else ""
    message = where + (first.error or f"The command ended with exit code {first.exit_code}.")
    return {"code": codes.get(first.outcome or Outcome.LOST, "SystemError"), "message": message}


def _finish(platform: Platform, row: Row, status: Document, state: str, error: Mapping[str, Any] | None) -> Step:
    """Record how it ended, before anything is tidied away: what is removed must never look as if it had not started."""
    ended = [task for name in status.get("tasks", ()) if (task := platform.engine.observe(name)) is not None]
    status["ended_at"] = max((task.ended_at for task in ended), default=0) or platform.clock()
    if starts := [task.started_at for task in ended if task.started_at]:
        status["started_at"] = min(starts)
    if error:
        status["error"] = dict(error)
    status["ending"] = state
    return Step("Finalizing" if state == "Completed" else row.state, status, after=0)


def _give_up(platform: Platform, row: Row, error: Document) -> Step:
    """The steps raise again and again: the job fails, and ends as every job does.

    Its end is never given up: it holds nodes.
    """
    if "ending" in row.status:
        return Step(row.state, row.status, after=RESYNC_S)
    status = {**row.status, "ended_at": platform.clock(), "error": error, "ending": "Failed"}
    return Step(row.state, status, after=0, reason=str(error["message"])[:500])


def _end(platform: Platform, row: Row, status: Document) -> Step:
    """The end: tracked, outputs registered, nodes given back, what ran tidied away."""
    state = str(status["ending"])
    _end_run(platform, row, state, status["ended_at"])
    for name in status.get("tasks", ()):
        platform.engine.remove(name)
    now = platform.clock()

    def writes(connection: Connection) -> None:
        placement.release(connection, row.id, now)
        if state == "Completed":
            outputs.register(connection, row, now)

    reason = str((status.get("error") or {}).get("message", ""))[:500]
    return Step(state, status, done=True, final=True, reason=reason, writes=writes)


def _end_run(platform: Platform, row: Row, state: str, ended_at: float) -> None:
    if row.status.get("tracked"):
        words = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}
        platform.tracking.end_run(ResourceId.parse(row.written).workspace.key, row.name, words[state], ended_at)


def _delete(platform: Platform, row: Row) -> Step:
    names = row.status.get("tasks", ())
    live = [name for name in names if (state := platform.engine.observe(name)) and state.phase is not Phase.EXITED]
    for name in live:
        platform.engine.stop(name, launch.GRACE_S)
    if live:
        return Step(row.state, row.status, after=RESYNC_S)
    now = platform.clock()
    _end_run(platform, row, row.status.get("ending", "Canceled"), row.status.get("ended_at", now))
    for name in names:
        platform.engine.remove(name)
    with platform.database.write() as connection:
        placement.release(connection, row.id, now)
    launch.remove_artifacts(platform, row)
    return Step(row.state, row.status, gone=True)


def _run_spec(row: Row) -> RunSpec:
    workspace = ResourceId.parse(row.written).workspace
    return RunSpec(
        workspace=workspace.key,
        name=row.name,
        experiment=row.properties["experimentName"],
        display_name=row.properties["displayName"],
        user=row.created_by,
        tags=shared_tags(row.properties),
        started_at=row.created_at,
        description=row.properties.get("description") or "",
    )


TYPE = JobType(
    name="Command",
    properties=CommandProperties,
    admit=_admit,
    step=_step,
    fail=_give_up,
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
    ),
)
