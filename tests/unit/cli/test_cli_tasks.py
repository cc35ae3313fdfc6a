"""What goes on beside the platform, in words for people."""

from __future__ import annotations

from pathlib import Path

from fakes.platform import WORKSPACE
from smalt.cli.tasks import lines, summary
from smalt.engines.local.survey import RunningTask


def test_a_compute_instance_is_no_job() -> None:
    owners = [f"{WORKSPACE}/computes/desk", f"{WORKSPACE}/jobs/train"]
    running = [RunningTask(f"task-{owner[-4:]}", owner, Path("x"), (1, 2), 1 << 20) for owner in owners]
    assert list(lines(summary(running))) == [
        "  compute instance desk (workspace bank): 1 task, 2 processes, 1 MiB",
        "  job train (workspace bank): 1 node, 2 processes, 1 MiB",
    ]
