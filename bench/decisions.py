"""What the scheduler's decisions cost, without an engine: for jobs that wait, and for an event beside many ended jobs.

    python bench/decisions.py [--jobs 1000] [--nodes 100] [--ended 1000 10000 100000] [--json]

First the decisions alone. The rows of the rest are those of a platform, in SQLite: `--jobs` jobs of one node that wait for
a cluster with `--nodes` are placed as the server does it, each in its own transaction, as many as there are nodes at a time,
which then end; they are of 20 experiments, which take turns. Then, with so many ended jobs in the same workspace, an
event: a job ends, its node is given back, the next in the queue is found, woken and given it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from smalt.sched import placement
from smalt.sched.backfill import Held, gap
from smalt.sched.placement import Node, available
from smalt.sched.want import Want
from smalt.store.database import Database
from smalt.store.migrate import migrate
from smalt.store.tables import resource

WORKSPACE = "/subscriptions/s/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w"
COMPUTE = f"{WORKSPACE}/computes/cpu"
EXPERIMENTS = 20
EVENTS = 200


def job(number: int, nodes: int) -> Want:
    share = f"experiment-{number % EXPERIMENTS}"
    return Want(COMPUTE, f"{WORKSPACE}/jobs/job-{number:07}", 1, nodes, float(number), share=share)


def rows(database: Database, first: int, count: int, state: str) -> None:
    """Jobs as the platform stores them, a few kB each."""
    spec = json.dumps({"properties": {"jobType": "Command", "command": "python train.py", "experimentName": "x" * 40}})
    with database.write() as connection:
        connection.execute(
            insert(resource),
            [
                {
                    "id": f"{WORKSPACE}/jobs/job-{number:07}",
                    "written": f"{WORKSPACE}/jobs/job-{number:07}",
                    "kind": "workspaces/jobs",
                    "parent": WORKSPACE,
                    "name": f"job-{number:07}",
                    "spec": spec,
                    "status": "{}",
                    "state": state,
                    "generation": 1,
                    "observed": 1,
                    "archived": False,
                    "deleting": False,
                    "failures": 0,
                    "created_at": float(number),
                    "changed_at": float(number),
                    "ended_at": float(number),
                    "created_by": "bench",
                    "changed_by": "bench",
                }
                for number in range(first, first + count)
            ],
        )


def acquire(database: Database, want: Want) -> bool:
    with database.write() as connection:
        return placement.acquire(connection, want, 0, time.time()) is not None


def release(database: Database, want: Want) -> None:
    with database.write() as connection:
        placement.release(connection, want.owner, time.time())


def placed(database: Database, jobs: int, nodes: int) -> dict[str, float]:
    """Seconds: until all wait, and until all of them have had their node, the time in which they end not counted."""
    wants = [job(number, nodes) for number in range(jobs)]
    blocker = Want(COMPUTE, f"{WORKSPACE}/jobs/blocker", nodes, nodes, -1.0)
    assert acquire(database, blocker)
    begun = time.perf_counter()
    for want in wants:
        assert not acquire(database, want)
    waiting = time.perf_counter() - begun
    release(database, blocker)
    placing, left = 0.0, {want.owner: want for want in wants}
    while left:
        begun, given = time.perf_counter(), list[Want]()
        while len(given) < nodes and left:
            with database.read() as connection:
                ahead = placement.queue.next_(connection, COMPUTE)
            assert ahead is not None
            want = left.pop(ahead.owner)
            assert acquire(database, want)
            given.append(want)
        placing += time.perf_counter() - begun
        for want in given:
            release(database, want)
    return {"until all wait s": round(waiting, 3), "placed s": round(placing, 3)}


def decided_s(jobs: int, nodes: int) -> float:
    """The decisions alone, of rows that are in memory: each job asks once as one of those that wait, and once as the first."""
    taken = [Node(number, "someone", 0.0, until=1e9 + number) for number in range(nodes)]
    begun = time.perf_counter()
    for number in range(jobs):
        there = [*taken[: number % nodes], *taken[number % nodes + 1 :]]  # one node is free
        free = available(there, nodes)
        beside = gap(len(free), 4, [Held(node.until, node.preemptible) for node in there], reclaims=True)
        assert beside is not None and not beside.takes(1, False, 0.0, 0.0)
        assert available(there, nodes)[:1] == [number % nodes]
    return time.perf_counter() - begun


def event_ms(database: Database, nodes: int) -> float:
    """The median of an end and the start that follows from it, with a full cluster and as many who wait as events."""
    running = [job(number, nodes) for number in range(nodes)]
    for want in running:
        assert acquire(database, want)
    waiting = [job(nodes + number, nodes) for number in range(EVENTS)]
    for want in waiting:
        assert not acquire(database, want)
    by_owner, taken = {want.owner: want for want in waiting}, list[float]()
    for _ in range(EVENTS):
        begun = time.perf_counter()
        release(database, running.pop(0))
        with database.read() as connection:
            ahead = placement.queue.next_(connection, COMPUTE)
        assert ahead is not None
        assert acquire(database, by_owner[ahead.owner])
        taken.append(time.perf_counter() - begun)
        running.append(by_owner[ahead.owner])
    for want in running:
        release(database, want)
    return statistics.median(taken) * 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--ended", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as folder:
        database = Database(f"sqlite:///{Path(folder) / 'smalt.db'}")
        migrate(database)
        found: dict[str, Any] = {"decided, rows in memory s": round(decided_s(options.jobs, options.nodes), 3)}
        found |= placed(database, options.jobs, options.nodes)
        there = 0
        for ended in sorted(options.ended):
            rows(database, 1_000_000 + there, ended - there, "Completed")
            there = ended
            found[f"an event beside {ended} ended jobs ms"] = round(event_ms(database, options.nodes), 2)
        database.close()
    print(json.dumps(found, indent=1) if options.json else "\n".join(f"{key:45} {one}" for key, one in found.items()))


if __name__ == "__main__":
    main()
