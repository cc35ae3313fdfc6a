"""A long metric keeps each of its peaks where a chart has some of its points, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from fakes import mlflow_tables
from fakes.platform import WORKSPACE
from smalt.arm.ports.tracking import RunSpec
from smalt.settings import Settings
from smalt.tracking.database import own_tables
from smalt.tracking.runs.runs import MlflowTracking
from smalt.tracking.store.readings import RunReadings

HOME = WORKSPACE.lower()
POINTS, PEAK, HOLE, MOST = 100_000, 77_777, 33_333, 1000
FILL = f"""INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {POINTS})
SELECT 'loss', CASE n WHEN {PEAK} THEN 9.0 ELSE (n % 7) / 7.0 END, 1000 * n, r.run_uuid, STEP, n = {HOLE}
FROM numbers, runs r"""
FAR = f"CASE n WHEN {POINTS - 1} THEN 1000000000 ELSE n END"


@pytest.fixture(params=["sqlite", "postgresql"])
def tracking(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MlflowTracking]:
    url = request.getfixturevalue("postgres").create() if request.param == "postgresql" else ""
    settings = Settings(tmp_path, database_url=url)
    mlflow_tables.make(settings)
    tracking = MlflowTracking(settings, lambda _: "account")
    tracking.ensure_run(RunSpec(HOME, "long", "e", started_at=1.0))
    yield tracking
    tracking.database.close()


@pytest.mark.parametrize("step", ["n", "0", FAR], ids=["by step", "of one step", "one far away"])
def test_one_peak_in_a_hundred_thousand_points_is_drawn(tracking: MlflowTracking, step: str) -> None:
    with tracking.database.write() as connection:
        connection.execute(text(FILL.replace("STEP", step)))
    points = tracking.metric_points(HOME, "long", "loss", MOST)
    times = [at for _, at, _ in points]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (0, 1000 * (POINTS - 1))
    assert max(value for value, _, _ in points if value is not None) == 9.0
    assert (9.0, 1000 * PEAK) in [(value, at) for value, at, _ in points]
    assert [at for value, at, _ in points if value is None] == [1000 * HOLE], "what is no number is there too"
    assert MOST <= len(points) <= MOST + 3

    line = RunReadings(tracking).lines(HOME, ["long"], "loss", 20)["long"]
    assert (PEAK, 9.0) in [(at, value) for _, at, value in line] and len(line) <= 22


def test_what_is_found_among_the_newest_is_what_is_found_among_all(
    tracking: MlflowTracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        tracking.ensure_run(RunSpec(HOME, f"j{number}", "e", started_at=10.0 + number // 2))
        tracking.log_metric(HOME, f"j{number}", "loss", number % 3, 20.0, 0)
    with tracking.database.write() as connection:
        own_tables.index(connection)
    readings, found = RunReadings(tracking), list[list[str]]()
    for newest in (0, 3, 100):
        monkeypatch.setattr("smalt.tracking.store.readings.NEWEST", newest)
        pages = (readings.found(HOME, "metrics.loss > 0.5", "", False, "", 2, at) for at in (0, 2))
        found.append([name for page in pages for name in page])
    assert found[0] == found[1] == found[2] and sorted(found[0]) == ["j1", "j2", "j4", "j5"]
