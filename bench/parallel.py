"""A parallel job's driver against a bare multiprocessing pool, on the same mini-batches in the same run.

    python bench/parallel.py [--batches 10000] [--processes 4] [--milliseconds 10] [--busy] [--json]

Each mini-batch is one small file, which is read, and then so many milliseconds: asleep, or with `--busy` at work. The pool gets the
same files one by one (`imap_unordered`, chunks of 1) and the same function; its results are gathered in memory. The driver also keeps
each result on disk, one row of a file. Both times are from the first mini-batch's start to the last result: starting interpreters is not in them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from smalt.agent.parallel import START

TARGET = 0.95
SCRIPT = """
import time

def init():
    global pause, busy, log
    import argparse, os
    parser = argparse.ArgumentParser()
    parser.add_argument("--pause", type=float), parser.add_argument("--busy")
    said, _ = parser.parse_known_args()
    pause, busy = said.pause, said.busy == "yes"
    log = open(f"began-{os.getpid()}", "a")

def work(path):
    with open(path) as file:
        text = file.read()
    end = time.perf_counter() + pause
    if not busy:
        time.sleep(pause)
    while time.perf_counter() < end:
        pass
    return text

def run(mini_batch):
    if log.tell() == 0:
        print(time.time(), file=log, flush=True)
    return [work(path) for path in mini_batch]
"""


@dataclass(frozen=True)
class Figures:
    batches: int
    processes: int
    milliseconds: float
    busy: bool
    pool_s: float
    driver_s: float
    ratio: float
    load: float


def _work(given: tuple[str, float, bool]) -> tuple[float, float, str]:
    path, pause, busy = given
    began = time.time()
    text = Path(path).read_text()
    end = time.perf_counter() + pause
    if not busy:
        time.sleep(pause)
    while time.perf_counter() < end:
        pass
    return began, time.time(), text


def pool(files: Sequence[str], processes: int, pause: float, busy: bool) -> float:
    with multiprocessing.get_context("spawn").Pool(processes) as workers:
        found = list(workers.imap_unordered(_work, [(file, pause, busy) for file in files]))
        ended = time.time()
    assert len(found) == len(files)
    return ended - min(began for began, _, _ in found)


def driver(folder: Path, files: Path, count: int, processes: int, pause: float, busy: bool) -> float:
    work = folder / "work"
    work.mkdir()
    (work / "entry.py").write_text(SCRIPT)
    said = {
        "script": str(work / "entry.py"),
        "input": str(files),
        "logs": str(work / "logs"),
        "size": 1,
        "slots": processes,
        "append_to": str(folder / "rows.txt"),
        "arguments": ["--pause", str(pause), "--busy", "yes" if busy else "no"],
    }
    (folder / "config.json").write_text(json.dumps(said))
    subprocess.run([sys.executable, str(START), "run", str(folder / "config.json")], cwd=work, check=True, stdout=2)
    ledger = work / "logs" / "azureml" / "mini_batches"
    ended = max(path.stat().st_mtime for path in ledger.iterdir())
    assert len((folder / "rows.txt").read_text().splitlines()) == count
    return ended - min(float(path.read_text()) for path in work.glob("began-*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--milliseconds", type=float, default=10)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, pause = Path(scratch), asked.milliseconds / 1000
        files = folder / "in"
        files.mkdir()
        for at in range(asked.batches):
            (files / f"{at:06}").write_text(str(at))
        pool_s = pool(sorted(map(str, files.iterdir())), asked.processes, pause, asked.busy)
        driver_s = driver(folder, files, asked.batches, asked.processes, pause, asked.busy)
    found = Figures(
        asked.batches,
        asked.processes,
        asked.milliseconds,
        asked.busy,
        round(pool_s, 2),
        round(driver_s, 2),
        round(pool_s / driver_s, 3),
        round(os.getloadavg()[0], 1),
    )
    print(json.dumps(asdict(found)) if asked.json else "\n".join(f"{k:14} {v}" for k, v in asdict(found).items()))


if __name__ == "__main__":
    main()
