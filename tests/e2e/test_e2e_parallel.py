"""A parallel job whose workers and nodes are killed: it ends right, each result is there once, what was done stays done."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from live.clients import Client
from live.platform import Platform, eventually
from live.processes import command_of

pytestmark = pytest.mark.e2e
FILES = 60


def nodes(platform: Platform) -> dict[str, dict[str, Any]]:
    """The running nodes of parallel jobs, by their tasks' names."""
    return {
        name: state
        for name, state in platform.agents().items()
        if state["phase"] == "running" and "start.py" in command_of(state["pid"])
    }


def test_a_parallel_job_survives_workers_and_nodes_that_are_killed(
    platform: Platform, client: Client, scripts: Path
) -> None:
    shared = platform.shared()
    gate, ran = shared / "gate", shared / "ran"
    ran.mkdir()
    for one in (shared, ran):
        one.chmod(0o777)

    def reach(goal: int) -> None:
        """So many mini-batches have run, and no more do for now."""
        (shared / "next").write_text(str(goal))
        (shared / "next").replace(gate)
        eventually(lambda: len(list(ran.iterdir())) >= goal, f"{goal} mini-batches")

    gate.write_text("0")
    name = client.run(scripts / "parallel.py", "slow", str(shared)).split()[-1]
    reach(5)
    first = eventually(lambda: len(found := nodes(platform)) == 2 and found, "two nodes")
    victim = next(state for task, state in first.items() if task.endswith("-n1"))

    def workers() -> list[int]:
        below = psutil.Process(victim["pid"]).children(recursive=True)
        return [one.pid for one in below if " work " in command_of(one.pid)]

    os.kill(eventually(workers, "a worker")[0], signal.SIGKILL)
    reach(15)
    os.kill(victim["agent_pid"], signal.SIGKILL)
    again = eventually(lambda: len(found := nodes(platform)) == 2 and set(found) != set(first) and found, "an attempt")
    reach(35)
    leader = next(state for task, state in again.items() if task.endswith("-n0"))
    os.kill(leader["agent_pid"], signal.SIGKILL)
    reach(FILES)
    assert client.run(scripts / "parallel.py", "check", name).rstrip().endswith("PASSED")
    times = {path.name: len(path.read_text()) for path in ran.iterdir()}
    assert len(times) == FILES
    again_ran = sum(count - 1 for count in times.values())
    assert again_ran <= 3 * 2 * 4, f"{again_ran} ran twice: more than what the workers had when they were killed"
