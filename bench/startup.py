"""`smalt up` on a new root until it is ready; then what the platform takes when nobody asks anything of it.

    python bench/startup.py [--rounds 5] [--settle 30] [--json]

Seconds (median), with the split between the command and the supervisor; resident and proportional memory of each process from
`smalt status`, before anything needs MLflow's process and once it is warm; and the share of one core that each takes over 20 s.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import live
from live import Live

IDLE_S = 20.0


def measure(rounds: int, settle_s: float) -> dict[str, Any]:
    taken: list[float] = []
    supervised: list[float] = []
    rest: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as scratch:
        for number in range(rounds):
            root = Path(scratch) / str(number)
            begun = time.perf_counter()
            live.smalt("up", "--root", str(root), "--detach", "--port", str(live.free_port()))
            taken.append(time.perf_counter() - begun)
            try:
                supervised.append(_supervised(root))
                if number == rounds - 1:
                    rest = idle(root, settle_s)
            finally:
                live.smalt("down", "--root", str(root))
    return {
        "up s": round(statistics.median(taken), 2),
        "all s": [round(one, 2) for one in taken],
        "of that supervised s": statistics.median(supervised),
        **rest,
        "load": live.load(),
    }


def idle(root: Path, settle_s: float) -> dict[str, Any]:
    """Memory in MB and CPU in percent of a core, by process, after `settle_s` for MLflow to warm up."""
    with Live.on(root) as platform:  # a first request, so that nothing is measured that has not been used
        platform.get("")
        time.sleep(settle_s)
        without = {one["name"]: one["rss_bytes"] / 1e6 for one in _processes(root)}
        _mlflow(platform)
    time.sleep(settle_s)
    before = {one["name"]: (one["pid"], _cpu_s(one["pid"])) for one in _processes(root)}
    time.sleep(IDLE_S)
    after = _processes(root)
    cpu = {one["name"]: 100 * (_cpu_s(one["pid"]) - before[one["name"]][1]) / IDLE_S for one in after}
    rss = {one["name"]: one["rss_bytes"] / 1e6 for one in after}
    return {
        "rss without MLflow MB": round(sum(without.values())),
        "by process": {k: round(v) for k, v in without.items()},
        "rss MB": round(sum(rss.values())),
        "rss by process MB": {name: round(value) for name, value in rss.items()},
        "pss MB": round(sum(_pss_mb(one["pid"]) for one in after)),
        "idle server % of a core": round(cpu["server"], 2),
        "idle by process %": {name: round(value, 2) for name, value in cpu.items()},
    }


def _mlflow(platform: Live) -> None:
    """Wait for MLflow's first answer, which comes through the same gateway."""
    search = f"{platform.url}/mlflow/v1.0{platform.workspace}/api/2.0/mlflow/experiments/get-by-name"
    end = time.monotonic() + 90
    while platform.api.get(search, params={"experiment_name": "Default"}).status_code >= 500:
        if time.monotonic() > end:
            raise SystemExit("MLflow does not answer")
        time.sleep(0.2)


def _processes(root: Path) -> list[dict[str, Any]]:
    return list(json.loads(live.smalt("status", "--root", str(root), "--json"))["processes"])


def _supervised(root: Path) -> float:
    """The supervisor's own figure: from its start to the first answer."""
    found = re.findall(r"ready at \S+ after ([\d.]+) s", (root / "logs" / "supervisor.log").read_text())
    return float(found[-1])


def _cpu_s(pid: int) -> float:
    """User and system time, with that of children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(one) for one in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _pss_mb(pid: int) -> float:
    """Memory with shared pages counted once: what the machine would have back."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settle", type=float, default=30.0, help="seconds")
    parser.add_argument("--json", action="store_true", help="(the output is JSON)")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.rounds, arguments.settle), indent=1))


if __name__ == "__main__":
    main()
