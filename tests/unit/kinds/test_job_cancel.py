"""Cancel at every moment of a job's life, of every type, where each pass of the loop is killed once before it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from fakes import sweeps
from fakes.jobs import JOBS, cluster, status, submit
from fakes.pipelines import component, data, leave, node, says
from fakes.pipelines import submit as submit_pipeline
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Phase, Ref
from smalt.arm.runs import JOBS as JOB_KIND
from smalt.kinds.jobs.accept import type_named
from smalt.kinds.jobs.launch import task_name
from smalt.kinds.jobs.model import TERMINAL
from smalt.reconcile import loop
from smalt.store import resources

IN = "${{parent.inputs.raw}}"
MOVES_MOST = 400


class Moves:
    """One pass of the loop after the other; where none is due, one thing that happens to one task."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        harness.environments.build_at_once = False

    def next(self) -> bool:
        """Whether anything could happen."""
        harness = self._harness
        lanes = harness.loop._lanes  # pyright: ignore[reportPrivateUsage]
        if rows := harness.loop.claim(dict.fromkeys(lanes, 1)):
            for row in rows:
                if row.kind == JOB_KIND and not row.deleting:
                    type_named(row.properties).step(harness.platform, row)  # killed: nothing of it is written
                harness.loop.step(row)
            return True
        live = [name for name, state in harness.engine.states.items() if state.phase is not Phase.EXITED]
        live.sort(key=lambda name: not name.startswith("build-"))  # so that jobs come to wait for nodes
        for name in live[:1]:
            if harness.engine.states[name].phase is Phase.PREPARING and not name.startswith("build-"):
                harness.engine.start(name)
            else:
                self._ends(name)
        harness.clock.pass_(2.0)
        return bool(live)

    def _ends(self, name: str) -> None:
        harness = self._harness
        if name.startswith("build-"):
            harness.environments.ready.add(name.split("-")[1])
        for output in harness.engine.tasks[name].outputs:
            leave(harness, output, {"more": "true", "count": "2"}.get(output.name, "made"))
        harness.engine.finish(name, 0)

    def rest(self) -> None:
        while self.next():
            pass


def environment(harness: Harness, name: str) -> str:
    """One that nobody has built."""
    url = f"{WORKSPACE}/environments/{name}/versions/1"
    assert harness.put(url, {"properties": {"image": f"of-{name}"}}).status_code == 201
    return url


def command(harness: Harness, name: str, **more: Any) -> Any:
    said = {"computeId": f"{WORKSPACE}/computes/cpu", "environmentId": environment(harness, name), **more}
    return submit(harness, name, outputs={"made": {"jobOutputType": "uri_folder"}}, **said)


def parallel(harness: Harness, name: str) -> Any:
    account = harness.row(WORKSPACE).status["account"]
    store = harness.get(f"{WORKSPACE}/datastores/workspaceblobstore").json()["properties"]["containerName"]
    harness.blobs.write(Ref(account, store, "code/count.py"), b"x")
    code = f"{WORKSPACE}/codes/count/versions/1"
    harness.put(code, {"properties": {"codeUri": "azureml://datastores/workspaceblobstore/paths/code/"}})
    said = {"entryScript": "count.py", "inputData": "files", "retrySettings": {"maxRetries": 1}}
    return command(harness, name, codeId=code, parallel=said, inputs={"files": data()})


def sweep(harness: Harness, name: str) -> Any:
    trial = {**sweeps.TRIAL, "environmentId": environment(harness, name)}
    return sweeps.sweep(harness, name, 3, 2, trial=trial, computeId=f"{WORKSPACE}/computes/cpu")


def pipeline(harness: Harness, name: str) -> Any:
    """first → below/(deep), and a loop of two rounds beside them."""
    part = component(harness, f"part-{name}", environment=environment(harness, name))
    count = says(harness, f"count-{name}", more="boolean", count="integer")
    inner = component(
        harness, f"inner-{name}", type="pipeline", inputs={"raw": {"type": "uri_folder"}}, outputs={},
        jobs={"deep": node(part, data=IN)},
    )  # fmt: skip
    jobs = {
        "first": node(part, data=IN),
        "below": node(inner, type="pipeline", raw="${{parent.jobs.first.outputs.made}}"),
        "count": node(count, count=1),
        "again": {"type": "do_while", "body": "${{parent.jobs.count}}", "condition": "more",
                  "mapping": {"${{parent.jobs.count.outputs.count}}": ["count"]}, "limits": {"max_iteration_count": 2}},
    }  # fmt: skip
    settings = {"default_compute": f"{WORKSPACE}/computes/cpu", "force_rerun": True}
    return submit_pipeline(harness, jobs, name, inputs={"raw": data()}, settings=settings)


WAITING, AT_WORK = {"NotStarted", "Preparing", "Queued"}, {"Starting", "Running", "Finalizing"}
PARENTS = {"NotStarted", "Running"}


@pytest.mark.parametrize(
    ("make", "stride", "statuses"),
    [
        (command, 1, WAITING | AT_WORK),
        (parallel, 1, WAITING | AT_WORK),
        (sweep, 5, PARENTS),
        (pipeline, 7, PARENTS),
    ],
)
def test_a_cancel_ends_it_whatever_it_does(
    harness: Harness,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Harness, str], Any],
    stride: int,
    statuses: set[str],
) -> None:
    monkeypatch.setattr(loop, "_AT_A_STRETCH", 1)
    moves, seen = Moves(harness), set[str]()
    cluster(harness, most=1)
    for number in range(0, MOVES_MOST, stride):
        before, name = f"before-{number}", f"job-{number}"
        command(harness, before)  # it has the only node
        while status(harness, before) != "Running":
            assert moves.next()
        assert make(harness, name).status_code == 201
        for _ in range(number):
            moves.next()
        was = status(harness, name)
        if was in TERMINAL:
            break
        seen.add(was)
        canceled(harness, moves, name, was)
    else:
        raise AssertionError("it does not end")
    assert statuses <= seen


def canceled(harness: Harness, moves: Moves, name: str, was: str) -> None:
    had_ended = was == "Finalizing" or [
        task
        for task in harness.row(f"{JOBS}/{name}").status.get("tasks", ())
        if (state := harness.engine.observe(task)) is not None and state.phase is Phase.EXITED
    ]
    answer = harness.send("POST", f"{JOBS}/{name}/cancel")
    assert answer.status_code == 202, was
    begun, below = tasks_of(harness, name), children_of(harness, name)
    moves.rest()
    assert status(harness, name) == ("Completed" if had_ended else "Canceled"), was
    assert harness.get(answer.headers["azure-asyncoperation"]).json()["status"] == "Succeeded"
    assert tasks_of(harness, name) == begun and children_of(harness, name) == below, "something began after it"
    assert {row.state for row in job_rows(harness)} <= TERMINAL
    assert all(row.due_at is None for row in job_rows(harness)), "what has ended still costs something"
    with harness.database.read() as connection:
        assert not connection.execute(text("SELECT * FROM allocation WHERE owner IS NOT NULL")).all()
        assert not connection.execute(text("SELECT * FROM queue")).all()
    assert not [task for task in harness.engine.states if task.startswith("job-")], "tasks are left"
    run = harness.tracking.runs.get((WORKSPACE.lower(), name))
    assert run is None or run["status"] == ("FINISHED" if had_ended else "KILLED")


def tasks_of(harness: Harness, name: str) -> list[str]:
    """All that ever began of this job itself."""
    begin = task_name(harness.row(f"{JOBS}/{name}"), 1, 0).rpartition("-a1")[0]
    return [task for task in harness.engine.starts if task.startswith(begin)]


def children_of(harness: Harness, name: str) -> set[str]:
    parent = harness.row(f"{JOBS}/{name}").id
    return {row.name for row in job_rows(harness) if row.parent == parent}


def job_rows(harness: Harness) -> list[resources.Row]:
    with harness.database.read() as connection:
        return list(resources.get_many(connection, resources.keys_of_kind(connection, JOB_KIND)).values())
