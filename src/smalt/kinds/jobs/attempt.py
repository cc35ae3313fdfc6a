"""An attempt: a job's tasks on its nodes, once. A job has as many as it needs until it ends.

    NotStarted → Preparing (environment) → Queued (nodes) → Starting → Running → an outcome

    COMPLETED, FAILED, CANCELED   end the job
    PREEMPTED                     others need its nodes: tidied away, Queued again
    RETRIED                       it failed, and the job type allows another: the same

Each pass observes the tasks by name. Nothing here looks anything up: what the tasks are made from was pinned when the
job was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from sqlalchemy import Connection

from smalt.agent.wire import Outcome, Phase, TaskSpec, TaskState
from smalt.arm.durations import seconds_of
from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError
from smalt.arm.kind import OURS, Document, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentPlan
from smalt.kinds.assets import environment_build
from smalt.kinds.jobs import admission, authors, distribution, gang, launch, life, lineage, provenance, quota
from smalt.kinds.jobs.life import Completed, at, finish
from smalt.kinds.jobs.status import JobStatus
from smalt.sched import placement, queue
from smalt.sched.growth import ray_of
from smalt.sched.queue import Waiting
from smalt.sched.want import MEDIUM, Given, Want
from smalt.store import lineage as written
from smalt.store import nodes, resources
from smalt.store.document import part
from smalt.store.nodes import Machine
from smalt.store.resources import Row


@dataclass(frozen=True)
class Work:
    """What a job type runs: the tasks of an attempt, one for each node, in order.

    `tasks` raises ArmError where they cannot be. `retries`: how often an attempt that failed is followed by another, if
    `mends` says that this may help. `completed` is written in the transaction of the job's end.
    """

    tasks: Callable[[Platform, Row, JobStatus], list[TaskSpec]]
    completed: Completed
    retries: Callable[[Row], int] = lambda row: 0
    mends: Callable[[Sequence[TaskState]], bool] = lambda states: True


class Result(Enum):
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
    PREEMPTED = "Preempted"
    RETRIED = "Retried"


def step(work: Work, platform: Platform, row: Row) -> Step:
    """One pass over a job that is one attempt after the other."""

    def live(platform: Platform, row: Row, status: JobStatus, canceled: bool) -> Step:
        if status.again:
            return _again(platform, row, status)
        if status.tasks:
            return _run(work, platform, row, status, canceled)
        if canceled:
            return finish(platform, row, status, "Canceled")
        return _prepare(platform, row, life.tracked(platform, row, status))

    return life.step(platform, row, live, work.completed)


def _prepare(platform: Platform, row: Row, status: JobStatus) -> Step:
    """A built environment, nodes; then the intent to start. Machines of their own build for themselves."""
    plan, compute = EnvironmentPlan(**row.spec[OURS]["plan"]), row.spec[OURS]["compute"]
    with platform.database.read() as connection:
        machines = nodes.of_compute(connection, compute)
        cluster = resources.get(connection, compute)
    try:
        authors.check_trusted(part(row.spec, OURS), cluster)  # for jobs that others submit
    except ArmError as error:
        return finish(platform, row, status, "Failed", error.body())
    elsewhere = bool(machines or ray_of(cluster))
    ready = not elsewhere and environment_build.ready(platform, plan.key)
    if not elsewhere and not ready:
        return _build(platform, row, status, plan)
    try:
        given, place = _ask_for_nodes(platform, row, compute, bool(ray_of(cluster)))
    except ArmError as error:
        return finish(platform, row, status, "Failed", error.body())
    if given is None:  # whoever gives nodes back wakes the first in the queue
        return at(row, "Queued", status, after=None, reason=f"waits for {_lack(row, place, cluster, machines)}")
    if not ready and any(not one.machine for one in given):  # its machines were taken away meanwhile
        return _build(platform, row, status, plan)
    status, places = _on_nodes(row, status, given), lineage.own_places(row)
    return at(
        row,
        "Starting",
        status,
        after=0,
        reason=f"attempt {status.attempt} on nodes {list(status.nodes)}",
        home=_home(platform, status),
        writes=partial(written.wrote, job=row, places=places) if places else None,
    )


def _ask_for_nodes(
    platform: Platform, row: Row, compute: str, elsewhere: bool
) -> tuple[list[Given] | None, Waiting | None]:
    """What it gets, or where it waits. Raises ArmError."""
    with platform.database.write() as connection:
        most = admission.nodes_most(platform, connection, compute)
        if most is None:
            message = f"The compute '{compute.rsplit('/', 1)[-1]}' was deleted before the job could start."
            raise ArmError(404, "ComputeNotFound", message)
        want = replace(_want(row, most), elsewhere=elsewhere)
        given = placement.acquire(connection, want, platform.engine.capacity().gpus, platform.clock())
        if given is None and elsewhere and row.state != "Queued":  # who makes nodes hears of it
            resources.poke(connection, [compute], platform.clock())
        return given, None if given else queue.place_of(connection, row.id)


def _on_nodes(row: Row, status: JobStatus, given: Sequence[Given]) -> JobStatus:
    """The next attempt, of which nothing runs yet."""
    attempt = status.attempt + 1
    return replace(
        status,
        content={},
        attempt=attempt,
        tasks=tuple(launch.task_name(row, attempt, rank) for rank in range(len(given))),
        nodes=tuple(one.node for one in given),
        machines=tuple(one.machine for one in given) if any(one.machine for one in given) else (),
        addresses=tuple(one.address for one in given) if len(given) > 1 and any(one.machine for one in given) else (),
        ports=tuple(one.port for one in given if one.port is not None),
        gpus=tuple(one.gpus for one in given) if any(one.gpus for one in given) else (),
    )


def _home(platform: Platform, status: JobStatus) -> str:
    """The server that goes on: on whose machine the tasks are, or whom the machine dialled that has them."""
    me = platform.servers.me
    if not any(status.machines):
        return me
    with platform.database.read() as connection:
        dialled = [nodes.get(connection, name) for name in status.machines if name]
    other = next((one.server for one in dialled if one and one.connected and one.server), me)
    return me if platform.servers.lost(other) else other  # asked anew: who was away a moment ago is known late


def _lack(row: Row, place: Waiting | None, cluster: Row | None, machines: Sequence[Machine]) -> str:
    if place is not None and place.lacks_quota:
        return f"the quota of {place.family}, which others of the workspace use"
    if ray_of(cluster):
        wrong = part(cluster.status if cluster else {}, "ray").get("why")
        return f"nodes: {wrong}" if wrong else "nodes"
    count, there = distribution.node_count(row.properties), [one for one in machines if one.connected]
    if machines and not there:
        return "nodes: none of the machines is connected (smalt node list)"
    if len(placement.together(there)) < count <= len(there):
        return "nodes: its machines do not find each other (smalt node list --json; smalt node run --address)"
    return "nodes"


def _want(row: Row, most: int) -> Want:
    ours, count = row.spec[OURS], distribution.node_count(row.properties)
    size = quota.size_of(row.spec)
    return Want(
        ours["compute"],
        row.id,
        count,
        most,
        row.created_at,
        gpus=ours.get("gpus", 0),
        ports=distribution.has_peers(row.properties, count),
        priority=ours.get("priority", MEDIUM),
        preemptible=_is_preemptible(row),
        share=str(row.properties["experimentName"]).lower(),
        limit_s=seconds_of(part(row.properties, "limits").get("timeout"), 0),
        family=size.family if size else "",
        cores=size.cpus if size else 0,
    )


def _is_preemptible(row: Row) -> bool:
    return bool(row.spec[OURS].get("preemptible"))


def _build(platform: Platform, row: Row, status: JobStatus, plan: EnvironmentPlan) -> Step:
    """Wait for the environment; a build that failed after this job asked for it fails the job."""
    with platform.database.read() as connection:
        build = resources.get(connection, environment_build.build_id(platform, plan.key))
    launch.show_build_log(platform, row, plan.key)
    if status.asked_build and build is not None and build.state == "Failed":
        error = build.status.get("error") or {
            "code": "EnvironmentBuildFailed",
            "message": "The environment could not be built.",
        }
        return finish(platform, row, status, "Failed", error)
    return at(
        row,
        "Preparing",
        replace(status, asked_build=True),
        reason="the environment is built",
        writes=environment_build.require(platform, plan, row.id),
    )


def _run(work: Work, platform: Platform, row: Row, status: JobStatus, canceled: bool) -> Step:
    if any(status.machines) and (home := _home(platform, status)) != platform.servers.me:
        return at(row, row.state, status, after=0, home=home)
    observed = _observed(platform, row, status)
    states = [state for state in observed if state is not None]
    preempted = _is_preemptible(row) and _is_reclaimed(platform, row)
    if len(states) < len(observed) and not canceled and not preempted:
        return _start(work, platform, row, status)
    result = _result(work, row, status, states, len(observed), canceled, preempted)
    if result is None:
        return _wait(platform, row, status, states, canceled, preempted)
    error = _error(states) if result in (Result.FAILED, Result.RETRIED) else None
    if result in (Result.PREEMPTED, Result.RETRIED):
        why = str(error["message"])[:300] if error else "others need its nodes"
        retries = status.retries + (result is Result.RETRIED)
        return at(row, row.state, replace(status, again=f"{result.value}: {why}", retries=retries), after=0)
    return finish(platform, row, status, result.value, error)


def _observed(platform: Platform, row: Row, status: JobStatus) -> list[TaskState | None]:
    """The attempt's tasks. What ran on the machine of a server that is lost is lost with it.

    The loop has asked whether it is: this server steps no other's row. To ask again would be another answer perhaps.
    """
    if not any(status.machines) and row.home not in (None, "", platform.servers.me):
        why = "The server on whose machine it ran has not been heard of for too long."
        gone = TaskState("", Phase.EXITED, outcome=Outcome.LOST, error=why, ended_at=platform.clock())
        return [replace(gone, name=name) for name in status.tasks]
    return [platform.engine.observe(name) for name in status.tasks]


def _is_reclaimed(platform: Platform, row: Row) -> bool:
    with platform.database.read() as connection:
        return placement.reclaimed(connection, row.id)


def _start(work: Work, platform: Platform, row: Row, status: JobStatus) -> Step:
    try:
        for task in work.tasks(platform, row, status):
            platform.engine.ensure(task)
    except ArmError as error:
        return finish(platform, row, status, "Failed", error.body())
    # While the agents prepare: to list a folder of a hundred thousand files takes a quarter of a second.
    return at(row, "Starting", replace(status, content=status.content or provenance.taken(platform, row)))


def _result(
    work: Work, row: Row, status: JobStatus, states: Sequence[TaskState], tasks: int, canceled: bool, preempted: bool
) -> Result | None:
    """How the attempt has ended; None: it has not. What was never started has ended too, if it is not to be."""
    if any(state.phase is not Phase.EXITED for state in states):
        return None
    by_itself = len(states) == tasks and not any(map(gang.was_stopped, states))
    if canceled and not by_itself:
        return Result.CANCELED
    if preempted and not by_itself:
        return Result.PREEMPTED
    if gang.is_fine(states):
        return Result.COMPLETED
    again = not canceled and status.retries < work.retries(row) and work.mends(states)
    return Result.RETRIED if again else Result.FAILED


def _wait(
    platform: Platform, row: Row, status: JobStatus, states: Sequence[TaskState], canceled: bool, preempted: bool
) -> Step:
    """Something runs. It is told to end where the job is to, another node's has failed, or it serves none any more."""
    if canceled or preempted or any(map(gang.has_failed, states)) or gang.needs_no_more(states):
        life.stop(platform, status)
        return at(row, life.CANCEL_REQUESTED if canceled else "Running", status)
    running = all(state.phase is not Phase.PREPARING for state in states)
    status = replace(status.begun(states), held=_held(states))
    return at(row, "Running" if running else "Starting", status, reason=_kept_for(status.held))


def _held(states: Sequence[TaskState]) -> Document:
    """Of the node that is kept longest after its command has failed; nothing where none is."""
    kept = [state for state in states if state.held_until and state.phase is Phase.RUNNING]
    if not kept:
        return {}
    last = max(kept, key=lambda state: state.held_until)
    return {"until": last.held_until, "why": _where(last, len(states)) + last.error}


def _kept_for(held: Document) -> str:
    """As people and pages read it (`static/live.js` of the Studio); empty where nothing is."""
    return f"Held until {timestamp(held['until'])[:19]}Z: {held['why']}" if held else ""


def _again(platform: Platform, row: Row, status: JobStatus) -> Step:
    """What is left of the attempt is tidied away, and the job waits for nodes as before; its log goes on."""
    for name in status.tasks:
        platform.engine.remove(name)
    now = platform.clock()

    def writes(connection: Connection) -> None:
        placement.release(connection, row.id, now)

    left = status.without_older_secret()
    fresh = replace(
        left, again="", tasks=(), nodes=(), machines=(), addresses=(), ports=(), gpus=(), services={}, held={}
    )
    why = f"attempt {status.attempt}: {status.again}"
    return at(row, "Queued", fresh, after=0, reason=why, writes=writes, home="")


def _error(states: Sequence[TaskState]) -> Document:
    """Why an attempt failed, for people: what the agent said, and on which node if there are several."""
    first = gang.first_to_fail(states)
    codes = {
        Outcome.EXITED: "UserError",
        Outcome.TIMEOUT: "JobTimeout",
        Outcome.SETUP: "JobSetupFailed",
        Outcome.BUILD: "EnvironmentBuildFailed",
        Outcome.OUT_OF_MEMORY: "OutOfMemory",
        Outcome.OUT_OF_DISK: "OutOfDisk",
        Outcome.LOST: "NodeLost",
    }
    message = _where(first, len(states)) + (first.error or f"The command ended with exit code {first.exit_code}.")
    return {"code": codes.get(first.outcome or Outcome.LOST, "SystemError"), "message": message}


def _where(state: TaskState, nodes: int) -> str:
    return f"Node {state.name.rsplit('-n', 1)[-1]}: " if nodes > 1 else ""
