"""A user's scripts, run with the official client against a platform of their own, however that is made.

    scripts/acceptance [--engine ray] [--database postgresql] [--store s3] [--sdk VERSION] FILE…

`--engine ray`: a Ray cluster is started here, a head and two machines of four processors, and `smalt up --ray` is told of it; with `--ray URL` it is
another. `--database postgresql` and `--store s3` start such services here; URLs name others. The exit code is 1 where a script did
not end well; then the folder of the platform stays, and is named.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from live.clients import clean_environment, client_python
from live.platform import Platform
from live.postgres import started as postgresql
from live.ray import RayCluster, own_python_first
from live.s3 import BUCKET, s3_server
from smalt.cli.client_environment import SDK

_MACHINES, _CPUS = 2, 4
_TOLD = ("database", "store", "ray")  # options of `smalt up`


@contextlib.contextmanager
def ray_cluster() -> Iterator[str]:
    """The address of its dashboard."""
    with own_python_first():
        cluster = RayCluster()
        try:
            for _ in range(_MACHINES):
                cluster.add(cpus=_CPUS)
            cluster.wait_for_nodes(_MACHINES + 1)
            yield cluster.url
        finally:
            cluster.end()


def options(given: argparse.Namespace, stack: contextlib.ExitStack) -> list[str]:
    """What `smalt up` is told; the services that are missing are started."""
    told = {name: getattr(given, name) for name in _TOLD}
    if given.engine == "ray" and not told["ray"]:
        told["ray"] = stack.enter_context(ray_cluster())
    if told["database"] == "postgresql":
        told["database"] = stack.enter_context(postgresql()).create()
    if told["store"] == "s3":
        os.environ.update(stack.enter_context(s3_server()).variables)
        told["store"] = f"s3://{BUCKET}/acceptance"
    return [word for name, value in told.items() if value for word in (f"--{name}", value)]


def run(platform: Platform, python: Path, script: Path) -> bool:
    begun = time.monotonic()
    environment = {**clean_environment(), **platform.variables, "PYTHONUNBUFFERED": "1"}
    code = subprocess.run([str(python), script.name], env=environment, cwd=script.parent, check=False).returncode
    print(f"== {script.name}: exit code {code} after {time.monotonic() - begun:.0f} s", flush=True)
    return code == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--ray", default="", help="the dashboard of a Ray cluster that is there")
    parser.add_argument("--database", default="", help="postgresql, or the URL of one that is there")
    parser.add_argument("--store", default="", help="s3, or the URL of a store that is there")
    parser.add_argument("--sdk", default=SDK, help="the version of azure-ai-ml")
    parser.add_argument("scripts", nargs="+", type=Path)
    given = parser.parse_args()
    python = client_python(given.sdk)
    folder = Path(tempfile.mkdtemp(prefix="smalt-acceptance-"))
    with contextlib.ExitStack() as stack:
        platform = Platform(folder / "platform")
        more = options(given, stack)
        with platform.started(*more):
            print(f"== smalt up {' '.join(more)}", flush=True)
            fine = [run(platform, python, one.resolve()) for one in given.scripts]
    if all(fine):
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    print(f"what is left of the platform: {platform.root}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
