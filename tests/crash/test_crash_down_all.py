"""`smalt down`: what goes on is named; `--all` ends it, and the next `up` finds jobs that failed and endpoints to start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.marks import Marks
from live.platform import Platform


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Platform]:
    """A platform of this test's own: it does not come back as it was."""
    with Platform(tmp_path / "root").started() as one:
        yield one


def test_down_names_what_goes_on_and_all_ends_it(own: Platform) -> None:
    marks = Marks(own.shared())
    own.submit("train-1", f"trap '' TERM; {marks.command}")
    marks.wait_until_running(own, "train-1")
    own.submit("queued", "true", resources={"instanceCount": 1})

    down = own.smalt("down")
    assert down.returncode == 0, down.stderr
    assert "smalt down --all" in down.stdout
    assert "job train-1 (workspace default): 1 node, " in down.stdout
    assert "MiB" in down.stdout
    asked = own.smalt("status", "--json")
    assert asked.returncode == 3
    running = {one["name"]: one for one in json.loads(asked.stdout)["tasks"] if one["kind"] == "job"}
    assert running["train-1"]["rss_bytes"] > 1_000_000
    assert running["train-1"]["tasks"] == 1
    assert own.processes()

    ended = own.smalt("down", "--all")
    assert ended.returncode == 0, ended.stderr
    assert "job train-1" in ended.stdout
    assert own.processes() == []
    assert json.loads(own.smalt("status", "--json").stdout)["tasks"] == []
    again = own.smalt("down", "--all")
    assert (again.returncode, again.stdout) == (0, f"Smalt is not running on {own.root}.\n")

    own.up()
    assert own.wait_for("train-1", "Failed")["status"] == "Failed"
    assert "ended (SIGTERM)" in own.job_error("train-1")
    assert marks.lines == ["began"]
    assert own.wait_for("queued", "Completed", "Failed")
    own.submit("after", "true")
    own.wait_for("after", "Completed")


def test_all_ends_a_running_platform_too(own: Platform) -> None:
    marks = Marks(own.shared())
    own.submit("train-2", marks.command)
    marks.wait_until_running(own, "train-2")
    assert {one["name"] for one in own.status()["processes"]} == {"supervisor", "server", "envoy"}, (
        "nobody asked MLflow"
    )
    ended = own.smalt("down", "--all")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("Smalt has stopped.\n")
    assert "job train-2" in ended.stdout
    assert own.processes() == []
