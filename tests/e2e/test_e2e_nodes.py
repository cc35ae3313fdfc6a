"""Another machine as the node of a cluster: a service with a root of its own dials in, and the official client sends jobs."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.clients import Client, client_python
from live.nodes import Node, started
from live.platform import HOME, Platform, eventually
from live.processes import working_on

pytestmark = pytest.mark.e2e
CLUSTER = "far"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform")).started() as one:
        scale = {"minNodeCount": 0, "maxNodeCount": 2}
        machine = {"vmSize": "Standard_DS3_v2", "scaleSettings": scale}
        one.put(f"computes/{CLUSTER}", {"computeType": "AmlCompute", "properties": machine}, location="local")
        yield one


@pytest.fixture
def node(platform: Platform, tmp_path: Path) -> Iterator[Node]:
    with started(platform, tmp_path, "far-1", CLUSTER, "127.0.0.2") as one:
        yield one


def test_the_official_client_uses_it(platform: Platform, node: Node, scripts: Path) -> None:
    client = Client(client_python(), platform.variables)
    said = client.run(scripts / "nodes.py", CLUSTER, node.name)
    print(said)
    assert "PASSED" in said.splitlines()[-1]
    built = [path.parent.name for path in node.root.glob("envs/venvs/*/.complete")]
    assert len(built) == 1
    assert not list(platform.root.glob("envs/venvs/*/.complete")), "the platform's machine built nothing"


def test_jobs_on_two_machines(platform: Platform, node: Node, tmp_path: Path, scripts: Path) -> None:
    with started(platform, tmp_path, "far-2", CLUSTER, "127.0.0.3") as other:
        assert [one.listed()["address"] for one in (node, other)] == ["127.0.0.2", "127.0.0.3"]
        client = Client(client_python(), platform.variables)
        said = client.run(scripts / "gangs.py", CLUSTER, "127.0.0.2", "127.0.0.3")
        print(said)
        assert "PASSED" in said.splitlines()[-1]


def test_a_job_outlives_server_and_node_service_and_waits_while_no_machine_is_there(
    platform: Platform, node: Node
) -> None:
    compute = f"{HOME}/computes/{CLUSTER}"
    platform.submit("long", "echo begun; sleep 600", computeId=compute)
    platform.wait_for("long", "Running")
    eventually(lambda: "begun" in platform.job_log("long"), "its first line")
    node.end(signal.SIGKILL)
    platform.restarted("server", platform.kill("server"))
    platform.wait_until_it_answers()
    platform.submit("later", "echo later", computeId=compute)
    platform.wait_for("later", "Queued")
    (shown,) = platform.call("POST", f"computes/{CLUSTER}/listNodes").json()["nodes"]
    assert shown["nodeState"] == "unusable"
    node.start()
    assert platform.job("long")["status"] == "Running"
    (adopted,) = node.root.glob("tasks/job-*/state.json")
    assert json.loads(adopted.read_text())["phase"] == "running"
    platform.call("POST", "jobs/long/cancel")
    platform.wait_for("long", "Canceled")
    platform.wait_for("later", "Completed")


def test_a_node_that_is_removed_loses_what_it_ran(platform: Platform, node: Node) -> None:
    platform.submit("orphan", "echo begun; sleep 600", computeId=f"{HOME}/computes/{CLUSTER}")
    platform.wait_for("orphan", "Running")
    assert platform.smalt("node", "remove", node.name).returncode == 0
    platform.wait_for("orphan", "Failed")
    assert "was removed" in platform.job_error("orphan")
    assert node.wait() == 3
    eventually(lambda: not working_on(node.root), "the end of all that ran there")
