"""What must be left of jobs that have ended: nothing but their rows, their runs and one end in the feed."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil

from live.platform import HOME, TERMINAL, Platform, eventually
from live.servers import Servers

_RUNS = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}
_JOBS = "kind = 'workspaces/jobs'"
_LEFT = {
    "node that somebody has": "SELECT compute_id, node, owner FROM allocation WHERE owner IS NOT NULL",
    "job in a queue": "SELECT owner FROM queue",
    "task of a machine": "SELECT name, owner FROM node_task",
    "job with a lease": f"SELECT id, lease FROM resource WHERE {_JOBS} AND lease IS NOT NULL",
    "job that is due": f"SELECT id, state, due_at FROM resource WHERE {_JOBS} AND due_at IS NOT NULL",
    "job with a home": f"SELECT id, home FROM resource WHERE {_JOBS} AND home IS NOT NULL",
    "job without an end": f"SELECT id, state FROM resource WHERE {_JOBS} AND ended_at IS NULL",
    "waiter for a job": "SELECT id, on_id FROM waiter WHERE id LIKE '%/jobs/%'",
    "operation on a job that goes on": "SELECT resource_id, action FROM operation WHERE resource_id LIKE '%/jobs/%' AND ended_at IS NULL",
    "count of children that is wrong": (
        "SELECT parent, state, SUM(number) FROM ("
        " SELECT parent, state, number FROM child_count"
        " UNION ALL SELECT parent, state, -COUNT(*) FROM resource WHERE counted GROUP BY parent, state"
        " UNION ALL SELECT parent, '', -COUNT(*) FROM resource WHERE counted AND ended_at IS NULL GROUP BY parent"
        ") AS counts GROUP BY parent, state HAVING SUM(number) <> 0"
    ),
}


def check_nothing_is_left(servers: Servers, jobs: Sequence[str]) -> None:
    """No node is leased, nobody waits for one, no step is under way, no task or process of the jobs lies about."""
    for what, query in _LEFT.items():
        _none(lambda query=query: servers.rows(query), what)
    for one in servers.all:
        _none(lambda one=one: list(one.root.glob("tasks/*job-*")), f"task of a job on {one.root}")
    _none(lambda: _processes(jobs), "process of a job")
    for one in servers.all:
        _none(lambda one=one: _agents(one), "agent of a job")


def _none(left: Callable[[], Sequence[Any]], what: str) -> None:
    last: list[Any] = []

    def is_gone() -> bool:
        last[:] = left()
        return not last

    with contextlib.suppress(AssertionError):
        eventually(is_gone, what, pause_s=0.2)
    assert not last, f"there is a {what}: {last}"


def _agents(platform: Platform) -> list[str]:
    """Where those stand that look after a job's task."""
    found: list[str] = []
    for process in platform.processes():
        with contextlib.suppress(psutil.Error):
            found.append(process.cwd())
    return [one for one in found if "/tasks/job-" in one]


def _processes(jobs: Sequence[str]) -> list[str]:
    """Those that have a job's name, or that of a job above it, among their variables."""
    found: list[str] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            variables = process.environ()
            if variables.get("AZUREML_ROOT_RUN_ID") in jobs and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid}: {' '.join(process.cmdline())[:300]}")
    return found


def check_runs(platform: Platform, jobs: Sequence[str]) -> None:
    """MLflow's run of each has ended as the job has. Who was canceled before it began may have none."""
    for name in jobs:
        answer = platform.call("GET", f"/mlflow/v1.0{HOME}/api/2.0/mlflow/runs/get?run_id={name}")
        state = platform.job(name)["status"]
        if answer.status_code != 404 or state != "Canceled":
            assert answer.status_code == 200, f"the run of {name}, which is {state}: {answer.text}"
            info = answer.json()["run"]["info"]
            assert (info["status"], "end_time" in info) == (_RUNS[state], True), f"{name} is {state}, its run {info}"


class Feed:
    """The feed of changes from now on."""

    def __init__(self, platform: Platform) -> None:
        self._from = platform.get("changes?after=now")["cursor"]

    def check(self, servers: Servers, jobs: Sequence[str], starts: Mapping[str, int]) -> list[str]:
        """Each server tells the same, and each job has come to its end once. The names of all jobs, children too.

        `jobs`: names that must be among them. `starts`: how often the script of a job that may be begun again was
        started: once an attempt at most.
        """
        told = [self._read(one) for one in servers.all]
        cursors = Counter(one["cursor"] for one in told[0])
        assert not [one for one, count in cursors.items() if count > 1], "a cursor comes twice"
        assert all(_as_a_bag(one) == _as_a_bag(told[0]) for one in told), "the servers' feeds differ"
        ends = Counter(one["resourceId"] for one in told[0] if _is_end(one))
        created = [one["resourceId"] for one in told[0] if one["what"] == "created"]
        untold = {*jobs} - {one.rpartition("/")[2] for one in created}
        assert not untold, f"jobs that the feed does not tell: {sorted(untold)}"
        wrong = {job: ends[job] for job in created if ends[job] != 1}
        assert not wrong, f"jobs with another number of ends than one: {wrong}"
        attempts = Counter(_name(one) for one in told[0] if " on nodes " in one.get("reason", ""))
        for job, count in starts.items():
            assert count <= attempts[job], f"{job}: {attempts[job]} attempts, and {count} starts of its script"
        return [_name(one) for one in told[0] if one["what"] == "created"]

    def _read(self, platform: Platform) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = self._from
        while True:
            page = platform.get(f"changes?kind=workspaces/jobs&$top=1000&after={cursor}")
            found += page["value"]
            cursor = page["cursor"]
            if "nextLink" not in page:
                return found


def _name(change: Mapping[str, Any]) -> str:
    return change["resourceId"].rpartition("/")[2]


def _is_end(change: Mapping[str, Any]) -> bool:
    before, after = change.get("from"), change.get("to")
    return change["what"] in ("state", "created") and after in TERMINAL and before != after


def _as_a_bag(changes: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Two readers may be told what happened to two resources in another order."""
    return Counter(repr(sorted((key, value) for key, value in one.items() if key != "cursor")) for one in changes)
