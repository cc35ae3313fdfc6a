"""A drill on a platform of its own: instances are killed under load, then a release makes 50 ms of latency 800, and
another writes a gigabyte of logs.

    .boot/bin/uv run python scripts/drill/run.py [--kills 5] [--clients 8] [--logs-mb 1000]

The alert has to come within 60 s and to name the release, one command has to undo it, and no request may fail but what a killed
instance worked on (four at once); what is kept of the logs is bounded. Prints
what was measured; the exit code is 1 where something was not so.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from live.platform import GROUP, HOME, eventually
from live.scored import ENDPOINT, Site, scored

_LOG_MOST_BYTES = 257 << 20  # of one instance: the first 256 MiB, and the end
_LOGS_MOST_S = 600
INSIGHTS = f"{GROUP}/providers/Microsoft.Insights"


def kills(site: Site, times: int, clients: int) -> bool:
    """`kill -9` of one of two instances, again and again, each time when requests go to both."""

    def both() -> bool:
        return len({site.score().json().get("who") for _ in range(10)} - {None}) == 2

    def ready() -> list[int]:
        found = site.platform.agents().items()
        return [one["pid"] for name, one in found if name.startswith("srv-") and one.get("ready")]

    def run() -> None:
        for _ in range(times):
            eventually(both, "two instances", 60)
            os.kill(ready()[0], signal.SIGKILL)
            time.sleep(0.5)

    seen = site.under_load(run, clients)
    print(f"{times} kills: {dict(seen)} answers")
    return set(seen) <= {200, 502} and seen[502] <= 4 * times


def release(site: Site, clients: int) -> bool:
    receivers = [{"name": "ops", "serviceUri": f"http://localhost:{site.hook.port}/", "useCommonAlertSchema": True}]
    site.platform.put(f"{INSIGHTS}/actionGroups/ops", {"groupShortName": "ops", "webhookReceivers": receivers})
    p99 = {"name": "p99", "metricName": "RequestLatency_P99", "operator": "GreaterThan", "threshold": 500}
    rule = {"scopes": [f"{HOME}/{ENDPOINT}"], "windowSize": "PT1M"}
    rule |= {"criteria": {"allOf": [{**p99, "timeAggregation": "Average"}]}}
    rule |= {"actions": [{"actionGroupId": f"{INSIGHTS}/actionGroups/ops"}]}
    site.platform.put(f"{INSIGHTS}/metricAlerts/slow", rule)
    took: dict[str, float] = {}

    def run() -> None:
        site.deploy("blue", 0.8, capacity=2)
        began = time.monotonic()
        eventually(lambda: site.hook.heard, "the alert", 90)
        took["alert"] = time.monotonic() - began
        began = time.monotonic()
        done = site.platform.smalt("endpoint", "rollback", "drill")
        took["rollback"] = time.monotonic() - began
        print(done.stdout + done.stderr, end="")

    seen = site.under_load(run, clients)
    (alert,) = site.hook.heard
    cause, fast = alert["customProperties"].get("lastChange", ""), site.score().elapsed.total_seconds() < 0.5
    print(f"alert after {took['alert']:.1f} s: {alert['customProperties']['reason']}; {cause}")
    print(f"rollback in {took['rollback']:.1f} s, {'fast' if fast else 'slow'} then; {dict(seen)} answers")
    print(site.platform.smalt("endpoint", "history", "drill").stdout, end="")
    return set(seen) == {200} and took["alert"] < 60 and cause.startswith("deployment blue updated") and fast


def logs(site: Site, megabytes: int, clients: int) -> bool:
    """About so many: each answer comes with one, from one of two instances."""
    site.deploy("blue", 0, capacity=2, environmentVariables={"SAYS_KB": "1024"})
    counted = Counter[int]()

    def run() -> None:
        began = time.monotonic()
        while (
            not (enough := sum(counted.values()) * (clients + 1) >= megabytes)
            and time.monotonic() - began < _LOGS_MOST_S
        ):
            counted[site.score().status_code] += 1
        assert enough, f"{dict(counted)} answers in {_LOGS_MOST_S} s"

    seen = site.under_load(run, clients)
    kept = max(one.stat().st_size for one in site.platform.root.rglob("srv-*/log.txt"))
    print(f"{sum((seen + counted).values())} MB of logs: {dict(seen + counted)} answers, {kept >> 20} MB kept at most")
    return set(seen + counted) == {200} and kept <= _LOG_MOST_BYTES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--logs-mb", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, scored(Path(folder)) as site:
        good = [
            kills(site, asked.kills, asked.clients),
            release(site, asked.clients),
            logs(site, asked.logs_mb, asked.clients),
        ]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
