"""For a person at a terminal, on a real platform: logs that are followed, the queue."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from live.clients import clean_environment
from live.platform import HOME, Platform, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform")).started() as one:
        scale = {"minNodeCount": 0, "maxNodeCount": 1}
        machine = {"vmSize": "Standard_DS3_v2", "scaleSettings": scale}
        one.put("computes/single", {"computeType": "AmlCompute", "properties": machine}, location="local")
        yield one


def begin(platform: Platform, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "smalt.cli", *arguments, "--root", str(platform.root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=clean_environment(), text=True, **pipes)


def test_a_log_is_followed_from_the_queue_to_the_end_and_says_how_it_ended(platform: Platform) -> None:
    gate = platform.shared() / "gate"
    waiting = f"until [ -e {gate} ]; do sleep 0.1; done"
    compute = f"{HOME}/computes/single"
    platform.submit("holds", f"echo begun; {waiting}; echo over", computeId=compute)
    platform.wait_for("holds", "Running", timeout_s=120)
    platform.submit("follows", "echo first; echo last; exit 3", computeId=compute)
    platform.wait_for("follows", "Queued")
    following = begin(platform, "logs", "follows", "--follow")
    (queue,) = json.loads(platform.smalt("top", "--json").stdout)
    assert [one["job"] for one in queue["nodes"]] == ["holds"]
    assert [(one["position"], one["job"]) for one in queue["jobs"]] == [(1, "follows")]
    assert "follows" in platform.smalt("top").stdout
    assert platform.smalt("logs", "holds").stdout == "begun\n"
    gate.touch()
    said, told = following.communicate(timeout=60)
    assert (said, following.returncode) == ("first\nlast\n", 1)
    assert "place 1 in the queue" in told and "exited with status code 3" in told
    eventually(lambda: platform.job("holds")["status"] == "Completed", "the end of the first")
    assert platform.smalt("logs", "holds", "--follow").stdout == "begun\nover\n"


def test_what_cannot_be_shown_is_one_line(platform: Platform) -> None:
    platform.submit("single", "true")
    for arguments, why in ((("logs", "nobody"), "was not found"), (("logs", "single", "--node", "1"), "has 1 node")):
        done = platform.smalt(*arguments)
        assert done.returncode == 1 and why in done.stderr and "Traceback" not in done.stderr
