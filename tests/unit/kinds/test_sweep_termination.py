"""Early termination: trials are compared while they log, seldom where there are many, and each is ended once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from fakes.jobs import JOBS, status
from fakes.platform import Harness
from fakes.sweeps import (
    BANDIT,
    BEST,
    METRIC,
    end,
    journal,
    log,
    properties,
    running,
    settle,
    states,
    sweep,
    task_of,
)


def test_a_bandit_ends_a_trial_while_it_runs(harness: Harness) -> None:
    sweep(harness, trials=3, at_once=2, earlyTermination=BANDIT)
    harness.settle()
    log(harness, "tune_0", 0.9)
    assert running(harness) == ["tune_0", "tune_1"]
    log(harness, "tune_1", 0.5)
    settle(harness)
    assert status(harness, "tune_1") == "Canceled" and running(harness) == ["tune_0", "tune_2"]
    assert "are going to be canceled" in journal(harness)
    end(harness, "tune_0")
    end(harness, "tune_2", 0.89)
    assert states(harness, count=3) == ["Completed", "Canceled", "Completed"]
    assert status(harness, "tune") == "Completed" and properties(harness)["properties"][BEST] == "tune_0"


def test_who_logs_wakes_the_sweep_and_without_a_policy_nobody_does(harness: Harness) -> None:
    for name, more in (("tune", {"earlyTermination": BANDIT}), ("plain", {})):
        sweep(harness, name, **more)
    settle(harness)
    due = {name: harness.row(f"{JOBS}/{name}").due_at for name in ("tune", "plain")}
    for name in due:
        harness.heard(f"{name}_0", METRIC)
        harness.heard(f"{name}_0", "another")
    soon = harness.row(f"{JOBS}/tune").due_at
    assert soon is not None and soon <= harness.clock() + 0.1
    assert harness.row(f"{JOBS}/plain").due_at == due["plain"]


def test_the_more_trials_the_less_often_all_are_compared(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logs or ends: at most once in a hundredth of a second for each trial, and then all together."""
    compared: list[int] = []
    series = harness.tracking.metric_series

    def watched(workspace: str, names: Sequence[str], metric: str) -> Mapping[str, Sequence[float]]:
        if len(names) == 80:  # not those alone that have ended
            compared.append(len(names))
        return series(workspace, names, metric)

    monkeypatch.setattr(harness.tracking, "metric_series", watched)
    sweep(harness, trials=80, at_once=80, earlyTermination=BANDIT)
    settle(harness)
    compared.clear()
    log(harness, "tune_0", 0.9)
    log(harness, "tune_1", 0.5)
    harness.engine.finish(task_of(harness, "tune_2").name, 0)
    harness.clock.pass_(0.1)
    harness.settle()
    assert compared == [] and status(harness, "tune_2") == "Completed"
    harness.clock.pass_(0.5)
    harness.settle()
    assert compared == [80] and status(harness, "tune_1") in ("CancelRequested", "Canceled")
    for trial in ("tune_3", "tune_4"):
        log(harness, trial, 0.9)
        harness.engine.finish(task_of(harness, trial).name, 0)
        harness.settle()
    row = harness.row(f"{JOBS}/tune")
    assert compared == [80] and row.due_at is not None and row.due_at <= harness.clock() + 0.82
    harness.clock.pass_(0.82)
    harness.settle()
    assert compared == [80, 80]


def test_a_policy_ends_each_trial_once(harness: Harness) -> None:
    harness.engine._obeys = False
    sweep(harness, trials=2, at_once=2, earlyTermination=BANDIT)
    harness.settle()
    log(harness, "tune_0", 0.9)
    log(harness, "tune_1", 0.5)
    log(harness, "tune_0", 0.9)
    log(harness, "tune_1", 0.5)
    assert status(harness, "tune_1") == "CancelRequested"
    assert journal(harness).count("are going to be canceled") == 1
