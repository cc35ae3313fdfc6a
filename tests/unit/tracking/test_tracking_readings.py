"""Many runs at once for pages, on MLflow's tables: which are found, and what they logged, by their jobs' names."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import mlflow_tables
from fakes.platform import WORKSPACE
from smalt.arm.errors import ArmError
from smalt.arm.ports.tracking import RunChanges, RunSpec
from smalt.settings import Settings
from smalt.tracking.database import own_tables
from smalt.tracking.runs.runs import MlflowTracking
from smalt.tracking.store.readings import Range, RunReadings

HOME = WORKSPACE.lower()
OTHER = HOME.replace("/bank", "/shop")


@pytest.fixture
def tracking(tmp_path: Path) -> MlflowTracking:
    settings = Settings(tmp_path)
    mlflow_tables.make(settings)
    return MlflowTracking(settings, lambda _: "account")


@pytest.fixture
def readings(tracking: MlflowTracking) -> RunReadings:
    for workspace in (OTHER, HOME):  # the second one's run of a name has another id
        for number, name in enumerate(("one", "two", "three")):
            tracking.ensure_run(RunSpec(workspace, name, "y" if name == "one" else "x", started_at=10.0 + number))
            for step, value in enumerate((0.5, number / 4)):
                tracking.log_metric(workspace, name, "val/auc", value, 20.0 + step, step)
            tracking.end_run(workspace, name, "FINISHED", 90.0, {"depth": str(number)})
    tracking.change_run(HOME, "three", RunChanges(None, {"team": "red"}, True))
    return RunReadings(tracking)


def found(readings: RunReadings, like: str = "", order: str = "", **more: object) -> list[str]:
    asked = {"archived": False, "experiment": "", "most": 10, "offset": 0, **more}
    return list(readings.found(HOME, like, order, **asked))  # pyright: ignore[reportArgumentType]


def test_jobs_are_found_by_what_their_runs_logged(readings: RunReadings) -> None:
    assert found(readings) == ["two", "one"], "the newest first, without what is archived"
    assert found(readings, archived=None) == ["three", "two", "one"]
    assert found(readings, "tags.team = 'red'", archived=True) == ["three"]
    assert found(readings, 'metrics."val/auc" > 0.2') == ["two"]
    assert found(readings, "params.depth = '0'") == ["one"]
    assert found(readings, order='metrics."val/auc" ASC', archived=None) == ["one", "two", "three"]
    assert found(readings, experiment="X") == ["two"]
    assert found(readings, order="duration DESC", archived=None) == ["one", "two", "three"]
    assert found(readings, order="duration ASC") == ["two", "one"]
    assert found(readings, most=1, offset=1) == ["one"]
    for like, order in (("auc is large", ""), ("", "by auc")):
        with pytest.raises(ArmError) as refused:
            found(readings, like, order)
        assert refused.value.status == 400


@pytest.mark.parametrize("newest", [1, 2, 4, 100])
@pytest.mark.parametrize(
    "like",
    ['metrics."val/auc" > 0.2', 'metrics."val/auc" != 0.25', "params.depth != '9'", "params.depth LIKE '%'",
     "tags.team IS NULL", "attributes.run_name != 'x'", "params.depth = '2'"],
)  # fmt: skip
def test_pages_are_the_same_however_many_of_the_newest_are_looked_at(
    readings: RunReadings, monkeypatch: pytest.MonkeyPatch, like: str, newest: int
) -> None:
    monkeypatch.setattr("smalt.tracking.store.readings.NEWEST", 0)
    whole = found(readings, like, archived=None)
    monkeypatch.setattr("smalt.tracking.store.readings.NEWEST", newest)
    assert found(readings, like, archived=None) == whole
    for most in (1, 2):
        pages = [found(readings, like, archived=None, most=most, offset=at) for at in range(0, 4, most)]
        assert [one for page in pages for one in page] == whole


def test_a_page_of_the_newest_reads_an_index(tracking: MlflowTracking) -> None:
    for _ in range(2):  # again it changes nothing
        with tracking.database.write() as connection:
            own_tables.index(connection)
    newest = "SELECT * FROM runs ORDER BY start_time DESC, run_uuid LIMIT 1"
    with tracking.database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {newest}").all()
    assert [row[3] for row in plan] == ["SCAN runs USING INDEX smalt_runs_newest"]


def test_values_are_by_the_jobs_names(readings: RunReadings) -> None:
    values = readings.values(HOME, ["one", "two", "nobody"])
    assert set(values) == {"one", "two"}
    assert (values["two"].metrics, values["two"].params) == ({"val/auc": 0.25}, {"depth": "1"})
    assert (values["two"].started, values["two"].ended) == (11.0, 90.0)
    some = readings.values(HOME, ["two"], ["depth"])
    assert (some["two"].metrics, some["two"].params) == ({}, {"depth": "1"})


def test_ranges_are_over_all_points(readings: RunReadings) -> None:
    assert readings.ranges(HOME, ["one", "two", "nobody"], ["val/auc", "nothing"]) == {
        ("one", "val/auc"): Range(0.0, 0.5, 2),
        ("two", "val/auc"): Range(0.25, 0.5, 2),
    }
    assert readings.ranges(HOME, ["one"], ["nothing"]) == {} == readings.ranges(HOME, ["one"], [])


def test_of_parameters_only_those_that_differ_are_told(readings: RunReadings) -> None:
    assert readings.keys(HOME, ["one", "two"], 10) == (["val/auc"], ["depth"])
    assert readings.keys(HOME, ["one"], 10) == (["val/auc"], [])


def test_lines_of_many_runs_are_read_at_once_and_are_bounded(readings: RunReadings, tracking: MlflowTracking) -> None:
    for step in range(2, 30):
        tracking.log_metric(HOME, "two", "val/auc", 0.9 if step == 17 else 0.5, 20.0 + step, step)
    lines = readings.lines(HOME, ["one", "two"], "val/auc", 7)
    assert lines["one"] == [(0, 20.0, 0.5), (1, 21.0, 0.0)]
    assert [step for step, _, _ in lines["two"]] == [0, 1, 10, 17, 20, 29], "with the peak at 17"
