"""Ray makes the nodes of a cluster: one Ray cluster of two machines for all of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fakes.distributed import ALL_REDUCE
from live.files import files_below
from live.platform import HOME, Platform, eventually
from live.ray import RayCluster, own_python_first

pytestmark = pytest.mark.e2e
CLUSTER = "rays"
COMPUTE = f"{HOME}/computes/{CLUSTER}"
OUT = {"out": {"jobOutputType": "uri_folder"}}


@pytest.fixture(scope="module")
def ray() -> Iterator[RayCluster]:
    with own_python_first():
        one = RayCluster()
        try:
            for _ in range(2):
                one.add(cpus=1)
            one.wait_for_nodes(3)
            yield one
        finally:
            one.end()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform")).started() as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the nodes have on their machines."""
    one = tmp_path_factory.mktemp("nodes")
    yield one
    for process in psutil.process_iter(["cmdline"]):
        if str(one) in " ".join(process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def attached(platform: Platform, ray: RayCluster, folder: Path) -> Iterator[Platform]:
    done = platform.smalt(
        "compute",
        "attach",
        CLUSTER,
        "--ray",
        ray.url,
        "--size",
        "Standard_DS1_v2",
        "--max",
        "2",
        "--idle",
        "600",
        "--folder",
        str(folder),
    )
    assert done.returncode == 0, done.stderr
    yield platform
    for job in ("long", "doomed"):  # of a test that failed
        platform.call("POST", f"jobs/{job}/cancel")
        if platform.call("GET", f"jobs/{job}").status_code == 200:
            eventually(lambda job=job: platform.job(job)["status"] in ("Completed", "Failed", "Canceled"), job, 90)
    done = platform.smalt("compute", "detach", CLUSTER, timeout_s=200)
    assert done.returncode == 0, done.stderr
    eventually(lambda: not ray.groups(), "Ray's room given back", 60)


def why(platform: Platform, folder: Path) -> str:
    """What there is to read after a failure."""
    logs = "\n".join(one.read_text()[-1500:] for one in folder.glob("*/*.log"))
    errors = platform.get(f"computes/{CLUSTER}")["properties"]["provisioningErrors"]
    return f"{errors}\n{logs}\n{platform.log('server', 2000)}"


def run(platform: Platform, name: str, command: str, folder: Path, **more: Any) -> None:
    answer = platform.submit(name, command, computeId=COMPUTE, **more)
    assert answer.status_code in (200, 201), answer.text
    try:
        platform.wait_for(name, "Running", "Completed", timeout_s=240)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{why(platform, folder)}") from error


def nodes(platform: Platform) -> list[dict[str, Any]]:
    return platform.call("POST", f"computes/{CLUSTER}/listNodes").json()["nodes"]


def printed(platform: Platform, job: str, words: str) -> None:
    eventually(lambda: words in platform.job_log(job), f"{words!r} in the log of {job}", 180)


def actor(platform: Platform, ray: RayCluster, job: str, but: int = 0) -> dict[str, Any]:
    """That of the node which the job has, once it is alive and not the process `but`."""
    (node,) = [one["nodeId"] for one in nodes(platform) if one["runId"] == job]

    def alive() -> dict[str, Any] | None:
        found = [one for one in ray.actors() if one["state"] == "ALIVE" and one["pid"] != but and one["name"] == node]
        return found[0] if found else None

    return eventually(alive, f"an actor of {node}", 180)


def shells(words: str) -> list[psutil.Process]:
    """The shells that run such a command."""
    found: list[psutil.Process] = []
    for one in psutil.process_iter(["name", "cmdline"]):
        if one.info["name"] in ("sh", "bash", "dash") and words in " ".join(one.info["cmdline"] or ()):
            found.append(one)
    return found


def tell(found: list[psutil.Process]) -> None:
    """SIGUSR1. What a shell forks looks like it until it has become its program, or has ended."""
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGUSR1)


def test_jobs_run_and_their_nodes_are_made_and_ended(attached: Platform, ray: RayCluster, folder: Path) -> None:
    platform = attached
    assert not ray.groups() and nodes(platform) == []
    run(platform, "first", "echo begun in $(pwd); sleep 2; echo said > ${{outputs.out}}/first.txt", folder, outputs=OUT)
    printed(platform, "first", f"begun in {folder}")
    platform.wait_for("first", "Completed", timeout_s=120)
    (left,) = files_below(platform.root / "blobs", "first.txt")
    assert left.read_text() == "said\n"
    assert len(ray.groups()) == 1 and [one["name"] for one in ray.actors()] == [nodes(platform)[0]["nodeId"]]
    on_both(platform, ray, folder)


def on_both(platform: Platform, ray: RayCluster, folder: Path) -> None:
    """A job on two nodes has the second one made, too, and they find each other."""
    two = {"distribution": {"distributionType": "PyTorch", "processCountPerInstance": 2}}
    two |= {"resources": {"instanceCount": 2}, "environmentVariables": {"CODE": ALL_REDUCE}}
    run(platform, "wide", 'python -c "$CODE"', folder, **two)
    platform.wait_for("wide", "Completed", timeout_s=120)
    said = [platform.job_log("wide", f"user_logs/std_log_process_{rank}.txt").split() for rank in range(4)]
    assert said == [[str(rank), str(rank % 2), str(rank // 2), "10"] for rank in range(4)]
    assert len(ray.groups()) == 2

    def machines() -> int:
        return len({one["node_id"] for one in ray.actors() if one["state"] == "ALIVE"})

    eventually(lambda: machines() == 2, "actors on two machines", 120)  # Ray may say it later than the job ends


def test_a_job_goes_on_while_its_actor_and_then_the_server_are_killed(
    attached: Platform, ray: RayCluster, folder: Path
) -> None:
    platform = attached
    command = (
        "trap over=1 USR1; i=0; until [ $over ]; do i=$((i+1)); echo tick $i; sleep 0.5; done;"
        " echo $i > ${{outputs.out}}/long.txt"
    )
    run(platform, "long", command, folder, outputs=OUT)
    printed(platform, "long", "tick 1\n")
    first = actor(platform, ray, "long")
    os.kill(first["pid"], signal.SIGKILL)
    again = actor(platform, ray, "long", but=first["pid"])
    assert again["actor_id"] == first["actor_id"]
    ticks = platform.job_log("long").count("tick")
    printed(platform, "long", f"tick {ticks + 5}\n")
    platform.restarted("server", platform.kill("server"))
    platform.wait_until_it_answers()
    ticks = platform.job_log("long").count("tick")
    printed(platform, "long", f"tick {ticks + 5}\n")
    tell(shells("trap over=1"))
    platform.wait_for("long", "Completed", timeout_s=120)
    (left,) = files_below(platform.root / "blobs", "long.txt")
    lines = [line for line in platform.job_log("long").splitlines() if line.startswith("tick")]
    assert lines == [f"tick {n}" for n in range(1, int(left.read_text()) + 1)], "each line once"


def test_a_job_is_lost_with_its_ray_node(attached: Platform, ray: RayCluster, folder: Path) -> None:
    platform = attached
    run(platform, "doomed", "echo begun; sleep 600", folder)
    printed(platform, "doomed", "begun")
    lost = actor(platform, ray, "doomed")
    ray.kill(next(one for one in ray.machines if one.node_id == lost["node_id"]))
    begun = time.monotonic()

    def away() -> bool:
        return [one["nodeState"] for one in nodes(platform) if one["nodeId"] == lost["name"]] in ([], ["unusable"])

    eventually(away, "its node being away", 60)
    print(f"   seen after {time.monotonic() - begun:.1f} s")
    platform.wait_for("doomed", "Failed", timeout_s=150)
    assert "Node 'rays-" in platform.job_error("doomed")
    print(f"   lost after {time.monotonic() - begun:.1f} s: {platform.job_error('doomed')}")
    run(platform, "next", "echo next", folder)
    platform.wait_for("next", "Completed", timeout_s=120)


def test_what_ray_cannot_give_is_said(platform: Platform, ray: RayCluster, folder: Path) -> None:
    def attach(url: str, *more: str) -> Any:
        return platform.smalt("compute", "attach", "wide", "--ray", url, "--folder", str(folder), *more)

    away = attach("http://127.0.0.1:1")
    assert away.returncode == 1 and "cannot be reached" in away.stderr
    other = attach(platform.url.replace("https", "http"))
    assert other.returncode == 1 and other.stderr.count("\n") == 1, other.stderr
    assert attach(ray.url, "--size", "Standard_DS4_v2").returncode == 0
    assert platform.submit("patient", "true", computeId=f"{HOME}/computes/wide").status_code in (200, 201)

    def wrong() -> str:
        found = platform.get("computes/wide")["properties"]["provisioningErrors"]
        return found[0]["error"]["message"] if found else ""

    eventually(lambda: "no room now for a node of 8 CPU" in wrong(), f"Ray's word: {wrong()}", 120)
    platform.call("POST", "jobs/patient/cancel")
    platform.wait_for("patient", "Canceled")
    assert platform.smalt("compute", "detach", "wide", timeout_s=200).returncode == 0
    eventually(lambda: not ray.groups(), "nothing waiting in Ray", 60)


def test_a_head_that_the_platform_starts_outlives_it_with_its_jobs(platform: Platform) -> None:
    """Last: the platform is stopped in the end."""
    platform.down()
    platform.up("--ray", "local")
    scale = {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT600S"}
    machine = {"vmSize": "Standard_DS1_v2", "scaleSettings": scale}
    platform.put("computes/own", {"computeType": "AmlCompute", "properties": machine})
    command = "trap over=1 USR1; i=0; until [ $over ]; do i=$((i+1)); echo own $i; sleep 0.2; done; echo last $i"
    answer = platform.submit("own", command, computeId=f"{HOME}/computes/own")
    assert answer.status_code in (200, 201), answer.text
    try:
        platform.wait_for("own", "Running", timeout_s=120)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{platform.log('ray')}\n{platform.log('server')}") from error
    printed(platform, "own", "own 1\n")
    said = platform.smalt("down").stdout
    assert "job own (workspace default): 1 node" in said and "Ray's head" in said
    platform.up()
    ticks = platform.job_log("own").count("own")
    printed(platform, "own", f"own {ticks + 5}\n")
    tell(shells("echo own $i"))
    platform.wait_for("own", "Completed", timeout_s=60)
    done = platform.smalt("down", "--all")
    assert done.returncode == 0, done.stderr
    heads = [
        one for one in psutil.process_iter(["cmdline"]) if str(platform.root) in " ".join(one.info["cmdline"] or ())
    ]
    assert not heads
