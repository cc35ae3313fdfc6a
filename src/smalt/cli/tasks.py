"""What goes on beside a platform's own processes: jobs, replicas, environment builds, in words for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from smalt.arm.ids import NotAnId, ResourceId
from smalt.engines.local.survey import RunningTask, running_tasks
from smalt.settings import Settings

_KINDS = {"build": "environment build", "bytecode": "bytecode of environment", "instance": "compute instance"}


@dataclass(frozen=True)
class TaskStatus:
    """Tasks of one resource: a job's nodes, a deployment's replicas. The contract of `smalt status --json`.

    `kind` is job, deployment, instance, build or bytecode; `name` is ENDPOINT/DEPLOYMENT for a deployment, the
    environment's key for the last two. `tasks` is how many there are, `rss_bytes` the memory of all their processes.
    """

    kind: str
    name: str
    workspace: str
    tasks: int
    processes: int
    rss_bytes: int


def observe_tasks(settings: Settings) -> list[TaskStatus]:
    """What runs on this root, whether or not the platform does; on nodes of the Ray head that it keeps, too."""
    return summary(task for place in (settings, *ray_roots(settings)) for task in running_tasks(place))


def ray_roots(settings: Settings) -> list[Settings]:
    """The nodes' on this machine, each with tasks of its own."""
    return [Settings(one) for one in sorted(settings.ray_nodes.glob("*/*")) if one.is_dir()]


def summary(tasks: Iterable[RunningTask]) -> list[TaskStatus]:
    grouped: defaultdict[tuple[str, str, str], list[RunningTask]] = defaultdict(list)
    for task in tasks:
        grouped[_whose(task)].append(task)
    return [
        TaskStatus(*whose, len(these), sum(len(one.pids) for one in these), sum(one.rss_bytes for one in these))
        for whose, these in sorted(grouped.items())
    ]


def lines(found: Iterable[TaskStatus]) -> Iterator[str]:
    """`  job train-1 (workspace default): 1 task, 3 processes, 120 MiB`"""
    for one in found:
        where = f" (workspace {one.workspace})" if one.workspace else ""
        what = _KINDS.get(one.kind, one.kind)
        tasks = {"job": "node", "deployment": "replica"}.get(one.kind, "task")
        counts = f"{_count(one.tasks, tasks)}, {_count(one.processes, 'process')}"
        yield f"  {what} {one.name}{where}: {counts}, {one.rss_bytes / 2**20:.0f} MiB"


def _count(number: int, noun: str) -> str:
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{plural}"


def _whose(task: RunningTask) -> tuple[str, str, str]:
    try:
        owner = ResourceId.parse(task.owner)
    except NotAnId:  # of no resource: the builder's
        return "bytecode" if task.name.startswith("compile-") else "build", task.owner.rpartition("/")[2], ""
    endpoint = owner.ancestor("onlineEndpoints")
    if endpoint:
        return "deployment", f"{endpoint}/{owner.name}", owner.workspace.name
    return "instance" if owner.ancestor("computes") else "job", owner.name, owner.workspace.name
