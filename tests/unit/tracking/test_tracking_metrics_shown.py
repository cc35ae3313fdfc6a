"""What charts read of MLflow's tables: the last of each metric, and of a long line some, with both its ends and every peak."""

from __future__ import annotations

from pathlib import Path

from fakes import mlflow_tables
from fakes.platform import WORKSPACE
from smalt.arm.ports.tracking import RunSpec
from smalt.settings import Settings
from smalt.tracking.runs.runs import MlflowTracking


def test_lines_of_any_length_have_their_ends(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    mlflow_tables.make(settings)
    tracking, home = MlflowTracking(settings, lambda _: "account"), WORKSPACE.lower()
    tracking.ensure_workspace(home)
    tracking.ensure_run(RunSpec(home, "train-1", "e", started_at=1.0))
    for step in range(30):
        tracking.log_metric(home, "train-1", "loss", 1.0 - step / 100, 5.0 + step, step)
    tracking.log_metric(home, "train-1", "accuracy", 0.5, 5.0, 3)

    assert tracking.latest_metrics(home, "train-1") == [("accuracy", 0.5, 3), ("loss", 0.71, 29)]
    whole = tracking.metric_points(home, "train-1", "loss", 30)
    assert [step for _, _, step in whole] == list(range(30)) and whole[2] == (0.98, 7000, 2)
    some = tracking.metric_points(home, "train-1", "loss", 7)
    assert [step for _, _, step in some] == [0, 9, 10, 19, 20, 29]
    assert tracking.metric_points(home, "train-1", "nothing", 7) == []
    assert tracking.latest_metrics(home, "nobody") == []
