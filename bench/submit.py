"""From a job's PUT to the first line of the user's script, against the same script started by hand in the same environment.

    python bench/submit.py [--root ROOT] [--rounds 20] [--json]

The script's first line is the time at which it was written; the environment is built and the code uploaded before. Printed
are medians in milliseconds, the time at which the line could be read through the blob service, and where the time goes.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import live
from live import Live

PAUSE_S = 0.01  # between looks: whoever looks without pause measures itself
SCRIPT = "import time\nprint(time.time(), flush=True)\n"


def measure(platform: Live, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "code"
        folder.mkdir()
        (folder / "train.py").write_text(SCRIPT)
        code = platform.code(folder)
        run = f"r{time.time_ns():x}"
        platform.submit(f"{run}-first", "python train.py", code)
        platform.completed(f"{run}-first")
        platform.at_rest()
        python = _python(platform.root, f"{run}-first")
        jobs = [_one(platform, f"{run}-{number}", code) for number in range(rounds)]
        hand = [_by_hand(folder, python) for _ in range(rounds)]
    steps = [
        name for name in jobs[0] if all(name in one for one in jobs)
    ]  # a short job may be done before it is seen to run
    medians = {name: round(1000 * statistics.median(one[name] for one in jobs)) for name in steps}
    by_hand = round(1000 * statistics.median(hand))
    return {
        "first line ms": medians["first line"],
        "by hand ms": by_hand,
        "ours ms": medians["first line"] - by_hand,
        "after ms": medians,
        "worst ms": round(1000 * max(one["first line"] for one in jobs)),
        "load": live.load(),
    }


def _one(platform: Live, name: str, code: str) -> dict[str, float]:
    """Seconds from the PUT to each step."""
    begun = time.time()
    platform.submit(name, "python train.py", code)
    answered = time.time()
    log = _log(platform, name)
    with platform.bare() as bare:
        while not (text := bare.get(log).text):
            time.sleep(PAUSE_S)
    readable = time.time()
    platform.completed(name)
    times = {"answered": answered - begun}
    times |= {state: at - begun for state, at in _events(platform.root, name) if state not in ("NotStarted",)}
    times |= {"first line": float(text.split()[0]) - begun, "readable": readable - begun}
    return dict(sorted(times.items(), key=lambda one: one[1]))


def _log(platform: Live, job: str) -> str:
    """The log's URL with its SAS, asked for until there is one."""
    details = f"{platform.url}/history/v1.0{platform.workspace}/runs/{job}/details"
    while "user_logs/std_log.txt" not in (files := platform.api.get(details).json()["logFiles"]):
        time.sleep(PAUSE_S)
    return str(files["user_logs/std_log.txt"])


def _events(root: Path, job: str) -> list[tuple[str, float]]:
    """When the job came to each state, and the engine's own time of the command's start."""
    with sqlite3.connect(f"file:{root / 'smalt.db'}?mode=ro", uri=True) as database:
        query = "select after, min(at) from change where resource_id like ? group by after order by min(at)"
        found = [(f"→ {after}", float(at)) for after, at in database.execute(query, (f"%/jobs/{job}",))]
        (status,) = database.execute("select status from resource where id like ?", (f"%/jobs/{job}",)).fetchone()
    return [*found, ("command started", float(json.loads(status)["started_at"]))]


def _python(root: Path, job: str) -> str:
    with sqlite3.connect(f"file:{root / 'smalt.db'}?mode=ro", uri=True) as database:
        (spec,) = database.execute("select spec from resource where id like ?", (f"%/jobs/{job}",)).fetchone()
    return str(root / "envs" / "venvs" / json.loads(spec)["smalt"]["plan"]["key"] / "bin" / "python")


def _by_hand(folder: Path, python: str) -> float:
    begun = time.time()
    command = ["bash", "-c", f"{python} train.py"]
    return float(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout) - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="(the output is JSON)")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="smalt-bench-") as scratch,
        live.started(arguments.root or Path(scratch) / "root") as platform,
    ):
        print(json.dumps(measure(platform, arguments.rounds), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
