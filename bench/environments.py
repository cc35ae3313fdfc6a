"""Building an environment, against `uv pip install` of the same lock: what do locking, logging and our own process cost?

    python bench/environments.py [--name sklearn-1.5] [--rounds 4]

Three states of the cache: cold (empty), warm (everything is there, the environment's own lock is not), known (the lock is
there too: the environment was deleted and is built again). The baseline is `uv venv` and `uv pip install -r LOCK`, with a
cache in the same state and the same index settings. Who goes first alternates, each has a cache of its own, and every
round is printed: wall time follows the network and the neighbours, processor time (user + system, children included)
hardly does. `--anew` hides the shipped lock, so that versions have to be chosen, as for a specification of a user's own.
Last: the same environment again, which is `plan()` and `built()` only.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import uv

from smalt.arm.ports import EnvironmentPlan, EnvironmentSpec
from smalt.environments import UvEnvironments
from smalt.environments.uv.machine_index import has_several_indexes, with_pip_settings
from smalt.settings import Settings

Figures = dict[str, list[tuple[float, float]]]  # state → (wall seconds, processor seconds) of each round


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="sklearn-1.5", help="a curated environment")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--anew", action="store_true", help="choose versions, as without a shipped lock")
    arguments = parser.parse_args()
    ours: Figures = {"cold": [], "warm": [], "known": []}
    theirs: Figures = {"cold": [], "warm": [], "known": []}
    again: list[float] = []
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as scratch:
        spec = EnvironmentSpec(curated=arguments.name)
        lock = make_lock(Path(scratch) / "first", spec, arguments.anew)
        for number in range(arguments.rounds):
            folder = Path(scratch) / str(number)
            sides = [
                lambda folder=folder: measure_ours(folder / "ours", spec, arguments.anew, ours, again),
                lambda folder=folder: measure_theirs(folder / "theirs", spec, lock, theirs),
            ]
            for side in sides if number % 2 == 0 else reversed(sides):
                side()
            shutil.rmtree(folder)
    for state in ours:
        report(state, ours[state], theirs[state])
    print(f"again  plan() and built(): {statistics.median(again) * 1000:.0f} ms (limit 300)")
    print(f"load   {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors at the end")


def report(state: str, ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> None:
    for index, name in ((0, "wall"), (1, "cpu")):
        a, b = [one[index] for one in ours], [one[index] for one in theirs]
        ratio = statistics.median(a) / statistics.median(b)
        print(f"{state:6} {name:4} ours {_row(a)}   by hand {_row(b)}   ratio of medians {ratio:.2f}")


def make_lock(scratch: Path, spec: EnvironmentSpec, anew: bool) -> Path:
    environments, plan = planned(scratch, spec, anew)
    build(environments, plan)
    kept = scratch.parent / "lock.txt"
    shutil.copy(scratch / "envs" / "locks" / f"{plan.key}.txt", kept)
    shutil.rmtree(scratch)
    return kept


def planned(root: Path, spec: EnvironmentSpec, anew: bool) -> tuple[UvEnvironments, EnvironmentPlan]:
    environments = UvEnvironments(Settings(root))
    plan = environments.plan(spec)
    if anew:  # a key that no shipped lock has
        other = plan.key[::-1]
        plan = replace(plan, key=other, definition={**plan.definition, "plain_key": other})
    return environments, plan


def measure_ours(root: Path, spec: EnvironmentSpec, anew: bool, into: Figures, again: list[float]) -> None:
    environments, plan = planned(root, spec, anew)
    into["cold"].append(timed(lambda: build(environments, plan)))
    shutil.rmtree(root / "envs" / "venvs")
    into["known"].append(timed(lambda: build(environments, plan)))
    shutil.rmtree(root / "envs" / "venvs")
    (root / "envs" / "locks" / f"{plan.key}.txt").unlink()
    into["warm"].append(timed(lambda: build(environments, plan)))
    started = time.perf_counter()
    fresh, same = planned(root, spec, anew)
    assert fresh.built(same.key) is not None
    again.append(time.perf_counter() - started)


def measure_theirs(root: Path, spec: EnvironmentSpec, lock: Path, into: Figures) -> None:
    interpreter = str(UvEnvironments(Settings(root)).plan(spec).definition["interpreter"])
    for state in ("cold", "known", "warm"):
        into[state].append(timed(lambda: by_hand(root, lock, interpreter)))
        shutil.rmtree(root / "venv")


def build(environments: UvEnvironments, plan: EnvironmentPlan) -> None:
    """The task as an agent runs it."""
    task = environments.task(plan, "/bench", 1)
    subprocess.run(task.argv, env={**os.environ, **task.variables}, check=True, stdout=subprocess.DEVNULL)
    assert environments.built(plan.key) is not None


def by_hand(root: Path, lock: Path, interpreter: str) -> None:
    """What a person would do with the lock."""
    variables = with_pip_settings(os.environ)
    strategy = ["--index-strategy", "unsafe-best-match"] if has_several_indexes(variables, []) else []
    venv, cache = str(root / "venv"), ["--cache-dir", str(root / "cache")]
    binary, python = uv.find_uv_bin(), str(root / "venv" / "bin" / "python")
    for arguments in (
        ["venv", *cache, "--python", interpreter, venv],
        ["pip", "install", *cache, "--python", python, "--link-mode", "hardlink", *strategy, "-r", str(lock)],
    ):
        subprocess.run([binary, "--project", "/", "--quiet", *arguments], env=variables, check=True)


def timed(work: Callable[[], None]) -> tuple[float, float]:
    before, started = _processor_s(), time.perf_counter()
    work()
    return time.perf_counter() - started, _processor_s() - before


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _row(values: list[float]) -> str:
    return " ".join(f"{value:5.2f}" for value in values)


if __name__ == "__main__":
    main()
