"""What peers take for the same work, each installed by uv into an environment of its own beside the benchmark's files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))

_METAFLOW = """
from metaflow import FlowSpec, step


class Chain(FlowSpec):
{steps}

if __name__ == "__main__":
    Chain()
"""
_STEP = """
    @step
    def {name}(self):
        {does}
"""
_PREFECT = """
import json, subprocess, sys, time
from prefect import flow, task

@task
def link(before):
    subprocess.run(["true"], check=True)
    return before + 1

@flow
def chain(steps):
    begun, number = time.perf_counter(), 0
    for _ in range(steps):
        number = link(number)
    print("TOOK", json.dumps((time.perf_counter() - begun) / number))

chain(int(sys.argv[1]))
"""
_TUNE = """
import json, subprocess, sys, time
import ray
from ray import tune

trials, at_once, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])

def trial(config):
    time.sleep(seconds)
    tune.report({"score": config["x"]})

ray.init(num_cpus=at_once, include_dashboard=False, log_to_driver=False)
tune.run(tune.with_resources(lambda config: tune.report({"score": 1.0}), {"cpu": 1}), num_samples=at_once, verbose=0)
begun = time.perf_counter()
tune.run(tune.with_resources(trial, {"cpu": 1}), config={"x": tune.uniform(0, 1)}, num_samples=trials, verbose=0)
print("TOOK", json.dumps(time.perf_counter() - begun))
"""


def environment(folder: Path, *packages: str) -> Path:
    """Its interpreter, of this one's version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run([UV, "--project", "/", "venv", "-q", "--python", version, folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([UV, "--project", "/", "pip", "install", "-q", "--python", python, *packages], check=True)
    return python


def metaflow(folder: Path, steps: int) -> float:
    """Seconds a step of a chain of `true` with the local runner, its start and end included as steps."""
    python = environment(folder, "metaflow")
    names = ["start", *(f"s{number}" for number in range(1, steps - 1)), "end"]
    run = 'import subprocess; subprocess.run(["true"], check=True)'
    links = [
        _STEP.format(name=name, does=run if after == "" else f"{run}\n        self.next(self.{after})")
        for name, after in zip(names, [*names[1:], ""], strict=True)
    ]
    script = folder / "chain.py"
    script.write_text(_METAFLOW.format(steps="".join(links)))
    own = {"USERNAME": "bench", "METAFLOW_HOME": str(folder), "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder)}
    return _seconds([str(python), str(script), "run"], folder, own) / steps


def prefect(folder: Path, steps: int) -> float:
    """Seconds a task of a chain of `true`, which it runs in the flow's own process, from the flow's begin."""
    python = environment(folder, "prefect")
    own = {"PREFECT_HOME": str(folder / "home"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    return _told([str(python), "-c", _PREFECT, str(steps)], folder, own)


def tune(folder: Path, trials: int, at_once: int, seconds: float) -> float:
    """Seconds of a run of Ray Tune, on a Ray that has run trials already."""
    python = environment(folder, "ray[tune]")
    return _told([str(python), "-c", _TUNE, str(trials), str(at_once), str(seconds)], folder, {})


def _seconds(command: list[str], folder: Path, own: dict[str, str]) -> float:
    begun = time.perf_counter()
    _run(command, folder, own)
    return time.perf_counter() - begun


def _told(command: list[str], folder: Path, own: dict[str, str]) -> float:
    """What it says that it took."""
    said = [one for one in _run(command, folder, own).splitlines() if one.startswith("TOOK ")]
    return float(json.loads(said[-1].removeprefix("TOOK ")))


def _run(command: list[str], folder: Path, own: dict[str, str]) -> str:
    plain = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        command, cwd=folder, env={**plain, "HOME": str(folder), **own}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command[0]}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout
