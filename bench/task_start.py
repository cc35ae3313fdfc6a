"""How much later does a task's first line come than that of the same script started by hand?

    python bench/task_start.py [--rounds 20] [--environment PREFIX]

Both write the time as their first output; what is compared is the time from the call to that line. The task has what a
job has: code, a mounted input, artifacts, limits and (with --environment) an overlay. Prints medians in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from smalt.agent.wire import InputSpec, Limits, Phase, Ref, TaskSpec
from smalt.engines.local import Finder, LocalEngine
from smalt.settings import Settings

SCRIPT = "import time\nprint(time.time(), flush=True)\n"


def by_hand(folder: Path, python: str, rounds: int) -> list[float]:
    taken = []
    for _ in range(rounds):
        begun = time.time()
        command = ["bash", "-c", f"{python} train.py"]
        out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        taken.append(float(out) - begun)
    return taken


def ref(path: Path) -> Ref:
    return Ref("files", "here", str(path))


class Bench:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.code = root / "code"
        self.data = root / "data"
        for folder in (self.code, self.data):
            folder.mkdir()
        (self.code / "train.py").write_text(SCRIPT)
        self.engine = LocalEngine(Settings(root=root / "smalt"), Finder(lambda *ref: Path(ref[2]), Path))
        self._changed = threading.Event()
        self.engine.watch(lambda _: self._changed.set())

    def task(self, index: int, environment: str, python: str, bare: bool) -> tuple[float, float, float]:
        """Seconds from `ensure` to: its return, the command's start, the first line."""
        log = self.root / "logs" / f"{index}.txt"
        log.unlink(missing_ok=True)
        spec = TaskSpec(name=f"t{index}", owner="/bench", log=ref(log), system_log=ref(log.with_suffix(".sys")))
        values = {**spec.__dict__, "code": ref(self.code), "command": f"{python} train.py"}
        if not bare:
            values |= {
                "command": f"{'python' if environment else python} train.py --data ${{{{inputs.data}}}}",
                "environment": environment,
                "inputs": [InputSpec("data", "uri_folder", "ro_mount", source=ref(self.data))],
                "artifacts": ref(self.root / "artifacts" / str(index)),
                "limits": Limits(cpu_weight=400, memory_bytes=4 << 30),
            }
        begun = time.time()
        self.engine.ensure(TaskSpec(**values))
        returned = time.time()
        while (state := self.engine.observe(spec.name)) is None or state.phase is not Phase.EXITED:
            self._changed.wait(10)
            self._changed.clear()
        if state.exit_code != 0:
            raise SystemExit(state.error)
        self.engine.remove(spec.name)
        return returned - begun, state.started_at - begun, float(log.read_text()) - begun

    def killed(self, index: int) -> float:
        """Seconds from kill -9 of the agent to `changed` with the task LOST."""
        spec = TaskSpec(name=f"k{index}", owner="/bench", command="sleep 60", log=ref(self.root / "k.txt"))
        self.engine.ensure(spec)
        while (state := self.engine.observe(spec.name)) is None or state.phase is not Phase.RUNNING:
            self._changed.wait(10)
            self._changed.clear()
        begun = time.time()
        subprocess.run(["/bin/kill", "-9", str(state.agent_pid)], check=True)
        while (state := self.engine.observe(spec.name)) is None or state.phase is not Phase.EXITED:
            self._changed.wait(10)
            self._changed.clear()
        taken = time.time() - begun
        self.engine.remove(spec.name)
        return taken


def show(what: str, seconds: list[float]) -> float:
    ordered = sorted(seconds)
    middle = statistics.median(ordered)
    print(f"{what:<58} {middle * 1000:7.1f}   (min {ordered[0] * 1000:.1f}, max {ordered[-1] * 1000:.1f})")
    return middle


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--environment", default="", help="prefix of a built virtual environment")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        rounds = range(options.rounds)
        python = f"{options.environment}/bin/python" if options.environment else sys.executable
        hand = show("by hand, to the first line", by_hand(bench.code, python, options.rounds))
        for bare in (True, False):
            taken = [bench.task(index, options.environment, python, bare) for index in rounds]
            kind = "task with code only" if bare else "job: code, input, artifacts, limits, environment"
            show(f"{kind}: ensure() returns", [one[0] for one in taken])
            show(f"{kind}: command started", [one[1] for one in taken])
            line = show(f"{kind}: first line", [one[2] for one in taken])
            print(f"{kind + ': added':<58} {(line - hand) * 1000:7.1f}")
        show("kill -9 of an agent: LOST, nothing left, noticed", [bench.killed(index) for index in rounds])
        bench.engine.close()


if __name__ == "__main__":
    main()
