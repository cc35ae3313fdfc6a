"""What walls cost: a task in the open and one behind walls, in turns; and whole jobs of two platforms, in turns.

    python bench/isolation.py [--rounds 30] [--jobs 20]

A task is `true` through `LocalEngine`, from `ensure` to its end as the state says it. A job is a command `true` through the API,
from its PUT to `Completed`, on a platform with `--isolation off` and one with `auto` (`--jobs 0` leaves it out). Prints medians in
milliseconds, and what the walls add.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import live
from live import Live
from smalt.agent.wire import Phase, Ref, TaskSpec
from smalt.engines.local import Finder, LocalEngine
from smalt.settings import Settings

LEVELS = ("off", "auto")
SMALT = Path(sys.executable).with_name("smalt")


class Node:
    """An engine with walls or without."""

    def __init__(self, root: Path, level: str) -> None:
        self.root = root
        settings = Settings(root=root, isolation=level)
        settings.tls.mkdir(parents=True)
        (settings.tls / "bundle.pem").touch()
        self._number = 0
        self._changed = threading.Event()
        self.engine = LocalEngine(settings, Finder(lambda *ref: Path(ref[2]), Path))
        self.engine.watch(lambda _: self._changed.set())
        self.engine.isolation()  # what the machine allows is tried once

    def task(self) -> float:
        """Milliseconds from `ensure` to the end."""
        self._number += 1
        log, system_log, artifacts = (
            Ref("files", "here", str(self.root / name)) for name in ("log", "system", "files")
        )
        spec = TaskSpec(name=f"t{self._number}", owner="/bench", command="true", workspace="/w", log=log)
        spec = replace(spec, system_log=system_log, artifacts=artifacts)
        begun = time.time()
        self.engine.ensure(spec)
        while (state := self.engine.observe(spec.name)) is None or state.phase is not Phase.EXITED:
            self._changed.wait(10)
            self._changed.clear()
        if state.exit_code != 0:
            raise SystemExit(state.error)
        self.engine.remove(spec.name)
        return 1000 * (state.ended_at - begun)


def job(platform: Live, number: int) -> float:
    """Milliseconds from the PUT to the end."""
    begun = time.perf_counter()
    properties = {"jobType": "Command", "command": "true", "environmentId": "azureml:bare:1"}
    platform.put(f"/jobs/job-{number:05}", properties)
    while platform.get(f"/jobs/job-{number:05}")["properties"]["status"] not in live.ENDED:
        time.sleep(0.005)
    return 1000 * (time.perf_counter() - begun)


def in_turns(rounds: int, measures: dict[str, Callable[[int], float]]) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure(number))
    return taken


def show(what: str, taken: dict[str, list[float]]) -> None:
    middles = {name: statistics.median(ones) for name, ones in taken.items()}
    for name, ones in taken.items():
        print(f"{what}, {name:<5} {middles[name]:7.1f}   (min {min(ones):.1f}, max {max(ones):.1f})")
    print(f"{what}, added {middles['auto'] - middles['off']:6.1f}")


def tasks(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        nodes = {level: Node(Path(folder) / level, level) for level in LEVELS}
        for node in nodes.values():
            node.task()
        show("task", in_turns(rounds, {level: lambda _, node=node: node.task() for level, node in nodes.items()}))
        for node in nodes.values():
            node.engine.close()


def jobs(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        platforms: dict[str, Live] = {}
        for level in LEVELS:
            root = str(Path(folder) / level)
            smalt("up", "--root", root, "--detach", "--port", str(live.free_port()), "--isolation", level)
            stack.callback(smalt, "down", "--root", root)
            platforms[level] = stack.enter_context(Live.on(Path(root)))
        first = {}
        for level, platform in platforms.items():
            platform.warm()
            image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
            platform.put("/environments/bare/versions/1", {"image": image})
            first[level] = job(platform, 0)
            job(platform, 1)
            platform.at_rest()
        print("the first job:", ", ".join(f"{level} {taken:.1f}" for level, taken in first.items()))
        taken = {level: lambda number, one=one: job(one, number + 2) for level, one in platforms.items()}
        show("job", in_turns(rounds, taken))


def smalt(*arguments: str) -> None:
    subprocess.run([SMALT, *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=20)
    options = parser.parse_args()
    if options.rounds:
        tasks(options.rounds)
    if options.jobs:
        jobs(options.jobs)


if __name__ == "__main__":
    main()
