"""Building an environment, against `uv pip install` of the same lock: how much does choosing versions, locking, logging cost?

    python bench/environments.py [--name sklearn-1.5] [--rounds 3]

Three states of the cache: cold (empty), warm (everything is there), and known (the lock is there too: the environment was
deleted and is built again). For each, the baseline is `uv venv` and `uv pip install -r LOCK` with a cache in the same
state. Last: the same environment again, which is `plan()` and `built()` only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uv

from smalt.arm.ports import EnvironmentPlan, EnvironmentSpec
from smalt.environments import UvEnvironments
from smalt.environments.uv.machine_index import has_several_indexes, with_pip_settings
from smalt.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="sklearn-1.5", help="a curated environment")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as scratch:
        ours: dict[str, list[float]] = {"cold": [], "warm": [], "known": []}
        theirs: dict[str, list[float]] = {"cold": [], "warm": []}
        again: list[float] = []
        for number in range(arguments.rounds):
            one_round(Path(scratch) / str(number), EnvironmentSpec(curated=arguments.name), ours, theirs, again)
    for state, ours_s in ours.items():
        baseline = theirs["warm" if state == "known" else state]
        a, b = statistics.median(ours_s), statistics.median(baseline)
        print(f"{state:6} build {a:6.2f} s   uv pip install {b:6.2f} s   ratio {a / b:.2f}")
    print(f"again  plan() and built() {statistics.median(again) * 1000:.1f} ms (limit 300)")


def one_round(
    scratch: Path,
    spec: EnvironmentSpec,
    ours: dict[str, list[float]],
    theirs: dict[str, list[float]],
    again: list[float],
) -> None:
    environments = UvEnvironments(Settings(scratch / "root"))
    plan = environments.plan(spec)
    envs = scratch / "root" / "envs"
    ours["cold"].append(build(environments, plan))
    lock = envs / "locks" / f"{plan.key}.txt"
    kept = scratch / "lock.txt"
    shutil.copy(lock, kept)
    theirs["cold"].append(install(scratch, kept, plan))
    shutil.rmtree(envs / "venvs")
    ours["known"].append(build(environments, plan))
    shutil.rmtree(envs / "venvs")
    lock.unlink()
    ours["warm"].append(build(environments, plan))
    theirs["warm"].append(install(scratch, kept, plan))
    started = time.perf_counter()
    fresh = UvEnvironments(Settings(scratch / "root"))
    assert fresh.built(fresh.plan(spec).key) is not None
    again.append(time.perf_counter() - started)
    shutil.rmtree(scratch)


def build(environments: UvEnvironments, plan: EnvironmentPlan) -> float:
    """The task as an agent runs it: seconds from its start to its end."""
    task = environments.task(plan, "/bench", 1)
    started = time.perf_counter()
    subprocess.run(task.argv, env={**os.environ, **task.variables}, check=True, stdout=subprocess.DEVNULL)
    assert environments.built(plan.key) is not None
    return time.perf_counter() - started


def install(scratch: Path, lock: Path, plan: EnvironmentPlan) -> float:
    """What a person would do by hand with the lock."""
    prefix = scratch / "by-hand"
    shutil.rmtree(prefix, ignore_errors=True)
    binary, cache = uv.find_uv_bin(), str(scratch / "cache")
    variables = with_pip_settings(os.environ)
    strategy = ["--index-strategy", "unsafe-best-match"] if has_several_indexes(variables, []) else []
    quiet = {"env": variables, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = time.perf_counter()
    subprocess.run(
        [binary, "venv", "--cache-dir", cache, "--python", plan.definition["interpreter"], str(prefix)],
        check=True,
        **quiet,
    )
    python = str(prefix / "bin" / "python")
    subprocess.run(
        [
            binary,
            "pip",
            "install",
            "--cache-dir",
            cache,
            "--python",
            python,
            "--link-mode",
            "hardlink",
            *strategy,
            "-r",
            str(lock),
        ],
        check=True,
        **quiet,
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
