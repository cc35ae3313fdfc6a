"""Who does whose steps, and how much one transaction of a delete does."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from fakes import rows
from fakes.examples import EXAMPLES, prepare
from fakes.jobs import JOBS, submit
from fakes.platform import WORKSPACE, Harness
from live.patience import PATIENCE_S
from smalt.reconcile.pace import Pace
from smalt.store import resources

DEPLOYMENT = "workspaces/onlineendpoints/deployments"


def serving(harness: Harness) -> str:
    """A live deployment; the name of its one replica."""
    prepare(harness, DEPLOYMENT)
    body = {**EXAMPLES[DEPLOYMENT].body(), "sku": {"name": "Default", "capacity": 1}}
    harness.put(EXAMPLES[DEPLOYMENT].url, body)
    harness.settle()
    (name,) = [name for name in harness.engine.states if name.startswith("srv")]
    harness.engine.start(name)
    harness.engine.ready(name)
    harness.settle()
    return name


@pytest.mark.serial
def test_slow_deletes_hold_up_no_replica(harness: Harness) -> None:
    """Sixteen jobs whose folders take for ever to remove, and a replica that dies."""
    dead = serving(harness)
    names = [f"big{number}" for number in range(16)]
    for name in names:
        submit(harness, name, computeId="local")
    harness.settle()
    for task in [task for task in harness.engine.states if task.startswith("job")]:
        harness.engine.start(task)
        harness.engine.finish(task, 0)
    harness.settle()

    released, removing, replaced = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def remove(self, *_: Any) -> None:
            removing.set()
            released.wait(600)

        def __getattr__(self, name: str) -> Any:
            return getattr(harness.blobs, name)

    real = harness.engine.ensure

    def ensure(task: Any) -> None:
        real(task)
        if task.name.startswith("srv") and task.name != dead:
            replaced.set()

    harness.engine.ensure = ensure  # type: ignore[method-assign]
    ahead = harness.clock() - time.monotonic()
    harness.platform = replace(harness.platform, blobs=Slow(), clock=lambda: time.monotonic() + ahead)
    harness.loop = harness.new_loop()
    thread = threading.Thread(target=harness.loop.run)
    thread.start()
    try:
        for name in names:
            harness.send("DELETE", f"{JOBS}/{name}")
        harness.loop.hint("")
        assert removing.wait(PATIENCE_S)
        began = time.monotonic()
        harness.engine.finish(dead, 1, error="out of memory")
        assert replaced.wait(PATIENCE_S)
        assert time.monotonic() - began < 60, "it waited for the deletes, which take minutes"  # 0.12 s at rest
    finally:
        released.set()
        harness.loop.stop()
        thread.join(PATIENCE_S)


def test_a_delete_goes_in_pieces(harness: Harness) -> None:
    """No transaction marks more rows than `Pace.deleted_at_once`, whatever the workspace holds; and all of it goes."""
    with harness.database.write() as connection:
        job = {"jobType": "Command", "tags": {}, "properties": {}, "inputs": {}, "outputs": {}}
        ended = {"spec": {"properties": job, "smalt": {}}, "status": {"outputs": {}}, "state": "Completed"}
        for number in range(120):
            rows.put(connection, f"{WORKSPACE}/jobs/j{number}", **ended)
        rows.put(connection, f"{WORKSPACE}/data/d")
        for number in range(60):
            rows.put(connection, f"{WORKSPACE}/data/d/versions/{number}")
    counts = [0]

    def begun(*_: Any) -> None:
        counts.append(0)

    def written(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("UPDATE resource SET state", "DELETE FROM resource")):
            counts[-1] += 1

    engine = harness.database._engine  # pyright: ignore[reportPrivateUsage]
    event.listen(engine, "begin", begun)
    event.listen(engine, "before_cursor_execute", written)
    harness.loop = harness.new_loop(Pace(deleted_at_once=10))
    assert harness.send("DELETE", WORKSPACE).status_code == 202
    harness.settle()
    assert harness.get(WORKSPACE).status_code == 404
    assert max(counts) <= 11 and sum(counts) > 180
    with harness.database.read() as connection:
        assert resources.children(connection, WORKSPACE.lower()) == []


def test_queued_jobs_cost_nothing(harness: Harness) -> None:
    """They wait without a time to be looked at; whoever gives a node back wakes the first."""
    from fakes.jobs import cluster, status

    compute = cluster(harness, most=1)
    for number in range(20):
        submit(harness, f"j{number}", computeId=compute)
    harness.settle()
    assert status(harness, "j1") == "Queued"
    (first,) = harness.engine.starts
    harness.engine.start(first)
    harness.settle()
    harness.clock.pass_(59)
    assert harness.loop.run_due() == 0
    harness.clock.pass_(600)
    harness.loop.run_due()
    assert harness.row(f"{JOBS}/j19").due_at is None
    harness.engine.finish(first, 0)
    harness.settle()
    assert status(harness, "j1") == "Starting" and status(harness, "j2") == "Queued"
