"""The Studio's pages of work in headless Chromium, on a platform with many jobs: milliseconds until each is there.

    python bench/studio.py [--jobs 100000] [--only list home job metric compare log streams] [--root FOLDER]

The jobs are rows as the platform and MLflow write them (a run with 4 metrics and 4 parameters each; 500 of them with 200
points, one more with 1,000,000); with --root the platform stays, and is filled once. `ready` is what the browser says: from the click until the
document is parsed and its scripts have run.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import studio_large
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import text

import live
from smalt.arm.kind import OURS
from smalt.kinds.jobs.pipelines.graph import GRAPH
from smalt.settings import Settings
from smalt.store.database import Database
from smalt.store.tables import resource
from smalt.tracking.database import schema
from smalt.tracking.runs.runs import MlflowTracking

HOME = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/smalt/providers/Microsoft.MachineLearningServices/workspaces/default"
RUNS = 5  # of each measurement
BATCH = 5000
COMPARED, POINTS, STEPS = 500, 200, 500
LONG = 1_000_000  # points of one metric of a job more
LONG_POINTS = f"""INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {LONG})
SELECT 'loss', 1000.0 / (n + 1000), 1000 * n, :run, n, :number FROM numbers"""
STATES = ("Completed",) * 17 + ("Failed",) * 2 + ("Canceled",)
STATUSES = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}
FLAGS = ["--no-sandbox", "--disable-gpu", "--ignore-certificate-errors"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", choices=WHAT, default=WHAT, help="a part of the measurements")
    parser.add_argument("--root", type=Path, help="a platform's folder that is kept")
    told = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, live.started(root := told.root or Path(folder)) as platform:
        fill(Settings(root), told.jobs)
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_context(ignore_https_errors=True).new_page()
            page.goto(re.findall(r"https://\S+/login\?code=\S+", live.smalt("up", "--root", str(root), "--detach"))[0])
            for name in told.only:
                for what, milliseconds in WHAT[name](page, platform, told.jobs):
                    median, most = statistics.median(milliseconds), max(milliseconds)
                    print(f"{what:<46}{median:>8.0f} ms   (at most {most:.0f})", flush=True)
            browser.close()


Measured = Iterator[tuple[str, list[float]]]


def _list(page: Page, platform: live.Live, jobs: int) -> Measured:
    studio = f"{platform.url}/studio"
    yield "jobs, ready", [ready(page, f"{studio}/jobs") for _ in range(RUNS)]
    columns = "created,duration,metrics.auc,metrics.loss,params.depth"
    yield "jobs with metrics as columns", [ready(page, f"{studio}/jobs?columns={columns}") for _ in range(RUNS)]
    page.goto(f"{studio}/jobs")
    yield "next page", [turned(page, "a[rel=next]") for _ in range(RUNS)]
    for like in ("metrics.auc > 0.9", "metrics.auc > 0.99999", "params.depth = '7'"):
        yield f"filter {like}", [ready(page, f"{studio}/jobs?filter={like}") for _ in range(RUNS)]
    for order in ("metrics.auc DESC", "duration DESC"):
        yield f"order by {order}", [ready(page, f"{studio}/jobs?order={order}") for _ in range(RUNS)]
    yield "what failed", [ready(page, f"{studio}/jobs?status=Failed") for _ in range(RUNS)]


def _home(page: Page, platform: live.Live, jobs: int) -> Measured:
    yield "home", [ready(page, f"{platform.url}/studio/") for _ in range(RUNS)]


def _one(page: Page, platform: live.Live, jobs: int) -> Measured:
    studio = f"{platform.url}/studio"
    yield "a job", [ready(page, f"{studio}/jobs/bench-{jobs - 1:06}") for _ in range(RUNS)]
    yield f"a pipeline of {STEPS} steps", [ready(page, f"{studio}/jobs/bench-pipeline?tab=steps") for _ in range(RUNS)]


def _metric(page: Page, platform: live.Live, jobs: int) -> Measured:
    long = f"{platform.url}/studio/jobs/bench-{jobs:06}?tab=metrics"
    yield f"a metric of {LONG} points, its request", [requested(page, long) for _ in range(RUNS)]
    yield f"a metric of {LONG} points, drawn", [drawn(page, long) for _ in range(RUNS)]


def _compare(page: Page, platform: live.Live, jobs: int) -> Measured:
    names = [f"bench-{number:06}" for number in range(jobs - 1, jobs - 1 - min(COMPARED, jobs), -1)]
    compare = f"{platform.url}/studio/jobs/compare?jobs={','.join(names)}"
    yield f"{len(names)} jobs compared", [ready(page, compare) for _ in range(RUNS)]


def _log(page: Page, platform: live.Live, jobs: int) -> Measured:
    studio_large.upload_log(platform, f"bench-{jobs:06}")
    address = f"{platform.url}/studio/jobs/bench-{jobs:06}?tab=logs&file={studio_large.LOG}"
    what = f"a log of {studio_large.LOG_MB} MB"
    yield f"{what}, its end on screen", [studio_large.first_screen(page, address) for _ in range(RUNS)]
    yield f"{what}, searched through", [studio_large.searched(page) for _ in range(RUNS)]
    yield f"{what}, back to its end", [studio_large.to_the_end(page) for _ in range(RUNS)]


def _streams(page: Page, platform: live.Live, jobs: int) -> Measured:
    late, grown = studio_large.streams(platform, f"bench-{jobs - 1:06}")
    yield f"an event on {studio_large.STREAMS} streams, median", [statistics.median(late)]
    yield f"an event on {studio_large.STREAMS} streams, p99", [live.quantile(late, 0.99)]
    print(f"{studio_large.STREAMS} streams: {grown:.0f} MB more in the server")


WHAT = {"list": _list, "home": _home, "job": _one, "metric": _metric, "compare": _compare, "log": _log,
        "streams": _streams}  # fmt: skip


def ready(page: Page, address: str) -> float:
    page.goto("about:blank")
    page.goto(address, wait_until="load")
    return taken(page)


def turned(page: Page, link: str) -> float:
    """From a click on a link until the part that it brings is on the page."""
    page.evaluate("""() => {
      const begun = performance.now();
      window.turned = new Promise((done) => addEventListener("htmx:afterSettle", () => done(performance.now() - begun), { once: true }));
    }""")
    page.evaluate(f"document.querySelector('{link}').click()")
    return page.evaluate("window.turned")


def drawn(page: Page, address: str) -> float:
    """Until the line of `loss` is on the page."""
    return studio_large.on_screen(page, address, "document.querySelector('s-chart[label=loss] canvas')")


def requested(page: Page, address: str) -> float:
    drawn(page, address)
    entries = "performance.getEntriesByType('resource')"
    return page.evaluate(f"{entries}.find((one) => one.name.includes('metric') && one.name.includes('loss')).duration")


def taken(page: Page) -> float:
    return page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")


def fill(settings: Settings, jobs: int) -> None:
    """Once: what is there stays."""
    database, tracking = Database(settings.database), MlflowTracking(settings, lambda _: "bench")
    with database.read() as connection:
        if connection.execute(resource.select().where(resource.c.id == f"{HOME.lower()}/jobs/bench-000000")).first():
            return
    with database.write() as connection:
        connection.execute(resource.insert(), [_pipeline()])
    experiment, now, chance = tracking.default_experiment(HOME.lower()), time.time(), random.Random(1)
    with database.write() as connection:
        connection.execute(resource.insert(), [_job(jobs, "Completed", now)])
    with tracking.database.write() as connection:
        connection.execute(schema.runs.insert(), [_run(jobs, "Completed", now, experiment)])
        connection.execute(schema.latest_metrics.insert(), _metrics(jobs, now, chance))
        connection.execute(text(LONG_POINTS), {"run": f"bench-{jobs:06}", "number": False})
    for begin in range(0, jobs, BATCH):
        numbers = range(begin, min(begin + BATCH, jobs))
        states = {number: chance.choice(STATES) for number in numbers}
        times = {number: now - 60 * (jobs - number) for number in numbers}
        with database.write() as connection:
            connection.execute(resource.insert(), [_job(number, states[number], times[number]) for number in numbers])
        with tracking.database.write() as connection:
            connection.execute(
                schema.runs.insert(), [_run(number, states[number], times[number], experiment) for number in numbers]
            )
            logged = [one for number in numbers for one in _metrics(number, times[number], chance)]
            connection.execute(schema.latest_metrics.insert(), logged)
            params = [one for number in numbers for one in _params(number, chance)]
            connection.execute(schema.params.insert(), params)
            if points := [one for number in numbers if number >= jobs - COMPARED for one in _points(number, chance)]:
                connection.execute(schema.metrics.insert(), points)
            connection.exec_driver_sql("DELETE FROM smalt_changed_runs")  # the platform has nothing to learn of them


def _job(number: int, state: str, at: float) -> dict[str, Any]:
    name = f"bench-{number:06}"
    properties = {
        "jobType": "Command",
        "command": "python train.py --depth ${{inputs.depth}}",
        "displayName": f"train {number}",
        "experimentName": "Default",
        "environmentId": f"{HOME}/environments/bare/versions/1",
        "status": state,
        "tags": {"team": ("red", "blue")[number % 2], "seed": str(number % 5)},
        "inputs": {},
        "outputs": {},
    }
    status = {"started_at": at + 1, "ended_at": at + 50}
    return {
        "id": f"{HOME}/jobs/{name}".lower(),
        "written": f"{HOME}/jobs/{name}",
        "kind": "workspaces/jobs",
        "parent": HOME.lower(),
        "name": name,
        "spec": json.dumps({"properties": properties}),
        "status": json.dumps(status),
        "state": state,
        "generation": 1,
        "observed": 1,
        "archived": False,
        "deleting": False,
        "failures": 0,
        "created_at": at,
        "changed_at": at,
        "created_by": "bench",
        "changed_by": "bench",
        "ended_at": at + 50,
        "counted": False,
    }


def _pipeline() -> dict[str, Any]:
    chance = random.Random(2)
    steps = [
        {
            "name": f"s{at}",
            "type": "command",
            "component": f"{HOME}/components/c/versions/1",
            "display": f"step {at}",
            "after": {f"s{chance.randrange(max(0, at - 25), at)}": True for _ in range(2) if at},
        }
        for at in range(STEPS)
    ]
    spec = {"properties": {"jobType": "Pipeline", "jobs": {}}, OURS: {GRAPH: {"steps": steps, "components": {}}}}
    row = {**_job(0, "Canceled", time.time()), "name": "bench-pipeline", "spec": json.dumps(spec)}
    return {**row, "id": f"{HOME}/jobs/bench-pipeline".lower(), "written": f"{HOME}/jobs/bench-pipeline"}


def _run(number: int, state: str, at: float, experiment: int) -> dict[str, Any]:
    return {
        "run_uuid": f"bench-{number:06}",
        "name": f"train {number}",
        "source_type": "JOB",
        "source_name": "",
        "entry_point_name": "",
        "user_id": "bench",
        "status": STATUSES[state],
        "start_time": int(1000 * at) + 1000,
        "end_time": int(1000 * at) + 50_000,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": "",
        "experiment_id": experiment,
    }


def _metrics(number: int, at: float, chance: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "key": key,
            "value": chance.random(),
            "timestamp": int(1000 * at),
            "step": POINTS - 1,
            "is_nan": False,
            "run_uuid": f"bench-{number:06}",
        }
        for key in ("auc", "loss", "accuracy", "f1")
    ]


def _params(number: int, chance: random.Random) -> list[dict[str, str]]:
    values = {
        "depth": number % 12,
        "rate": f"{chance.random():.4f}",
        "optimiser": ("adam", "sgd")[number % 2],
        "seed": number % 5,
    }
    return [{"key": key, "value": str(value), "run_uuid": f"bench-{number:06}"} for key, value in values.items()]


def _points(number: int, chance: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "key": "loss",
            "value": 1 / (step + 1) + chance.random() / 10,
            "timestamp": 1000 * step,
            "step": step,
            "is_nan": False,
            "run_uuid": f"bench-{number:06}",
        }
        for step in range(POINTS)
    ]


if __name__ == "__main__":
    main()
