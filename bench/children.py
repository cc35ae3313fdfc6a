"""A job with many children against as many single jobs: how long, how many steps of the parent, and their CPU time.

    python bench/children.py [--count 1000] [--nodes 4] [--json]

The platform is made by `smalt up`; then the server's parts run in this process, so that a job type of the tests is known.
Every job is `true` on a cluster; the singles are submitted as fast as the server takes them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sqlalchemy import Connection, func, select

import live
from smalt.app import Server, build
from smalt.arm.crud import Conditions
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Request, Step
from smalt.arm.platform import Platform
from smalt.auth.owner import owner_principal
from smalt.config import read_settings
from smalt.kinds.jobs.model import TYPES
from smalt.store.resources import Row
from smalt.store.tables import resource

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from fakes.parents import FAN  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

JOB = {"jobType": "Command", "command": "true", "environmentId": "azureml:bare:1"}


@dataclass
class Work:
    """What the parent's steps took, in this process's worker threads."""

    steps: int = 0
    cpu_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, cpu_s: float, steps: int = 0) -> None:
        with self.lock:
            self.steps, self.cpu_s = self.steps + steps, self.cpu_s + cpu_s

    def step(self, platform: Platform, row: Row) -> Step:
        begun = time.thread_time()
        step = FAN.step(platform, row)
        self.count(time.thread_time() - begun, 1)
        if step.writes is None:
            return step
        return replace(step, writes=self._timed(step.writes))

    def _timed(self, write: Callable[[Connection], None]) -> Callable[[Connection], None]:
        def timed(connection: Connection) -> None:
            begun = time.thread_time()
            write(connection)
            self.count(time.thread_time() - begun)

        return timed


@dataclass(frozen=True)
class Figures:
    count: int
    nodes: int
    singles_s: float
    parent_s: float
    ratio: float
    parent_steps: int
    parent_cpu_s: float
    load: float


@contextmanager
def serving(root: Path) -> Iterator[Server]:
    server = build(read_settings(root))
    server.loop.resume()
    thread = threading.Thread(target=server.loop.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.loop.stop()
        thread.join()


def put(server: Server, workspace: str, path: str, properties: dict[str, object]) -> None:
    id_ = ResourceId.parse(f"{workspace}{path}")
    principal = owner_principal(server.platform.settings)
    request = Request(server.platform, id_, principal, server.platform.clock(), {"properties": properties})
    server.crud.put(request, Conditions())


def wait(server: Server, prefix: str, count: int) -> None:
    """Until `count` jobs whose names begin so have ended."""
    query = select(func.count()).where(
        resource.c.kind == "workspaces/jobs", resource.c.name.startswith(prefix), resource.c.ended_at.is_not(None)
    )
    while True:
        with server.platform.database.read() as connection:
            if connection.execute(query).scalar_one() >= count:
                return
        time.sleep(0.02)


def measure(root: Path, count: int, nodes: int) -> Figures:
    with live.started(root) as platform:
        platform.warm()
        platform.put("/environments/bare/versions/1", {"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"})
        scale = {"maxNodeCount": nodes, "minNodeCount": nodes}
        machine = {"vmSize": "STANDARD_DS1_V2", "scaleSettings": scale}
        platform.put("/computes/four", {"computeType": "AmlCompute", "properties": machine})
        platform.submit("first", "true", environmentId="azureml:bare:1", computeId="four")
        platform.completed("first")
        workspace = platform.workspace
    job, work = {**JOB, "computeId": f"{workspace}/computes/four"}, Work()
    TYPES[FAN.name] = replace(FAN, step=work.step)
    with serving(root) as server:
        begun = time.perf_counter()
        for number in range(count):
            put(server, workspace, f"/jobs/single-{number}", dict(job))
        wait(server, "single-", count)
        singles_s = time.perf_counter() - begun
        begun = time.perf_counter()
        put(server, workspace, "/jobs/parent", {"jobType": "Fan", "count": count, "child": job})
        wait(server, "parent", count + 1)
        parent_s = time.perf_counter() - begun
    ratio = round(parent_s / singles_s, 3)
    return Figures(
        count, nodes, round(singles_s, 1), round(parent_s, 1), ratio, work.steps, round(work.cpu_s, 2), live.load()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder) / "root", arguments.count, arguments.nodes)
    print(json.dumps(asdict(found)) if arguments.json else "\n".join(f"{k:14} {v}" for k, v in asdict(found).items()))


if __name__ == "__main__":
    main()
