"""A sweep's trials: the best first, those ended early marked, and which parameter matters."""

from __future__ import annotations

import random

from fakes.platform import WORKSPACE
from fakes.studio import HERE, Logged, StudioSite
from fakes.sweeps import BANDIT, end, log, sweep
from smalt.studio.importance import importance
from smalt.studio.pages.sweep import KEPT_MOST, KEPT_S, Importance

SPACE = {"lr": ["uniform", [0.0, 1.0]], "optimiser": ["choice", [["adam", "<sgd>"]]]}


def test_trials_are_told_with_their_scores_and_ends(site: StudioSite) -> None:
    harness = site.harness
    assert sweep(harness, "tune", 3, 3, searchSpace=SPACE, earlyTermination=BANDIT).status_code == 201
    harness.settle()
    for trial, value in (("tune_0", 0.9), ("tune_1", 0.2), ("tune_2", 0.8)):
        site.measured.logged[trial] = Logged(metrics={"acc": value}, most=value)
        log(harness, trial, value)
    end(harness, "tune_0")
    told = harness.get(f"{WORKSPACE}/jobs/tune/trials").json()
    assert (told["best"], told["submitted"], told["objective"]["primaryMetric"]) == ("tune_0", 3, "acc")
    assert [one["endedEarly"] for one in told["value"]] == [False, True, True]
    page = site.open("/studio/jobs/tune", {**HERE, "tab": "trials"}).text
    body = page[page.index('aria-label="Trials"') :]
    assert body.index("tune_0") < body.index("tune_2") < body.index("tune_1"), "the best first"
    assert body.count("★ the best") == 1 and body.count("ended early by the policy") == 2 and "<sgd>" not in page
    found = site.open("/studio/jobs/tune/trials").json()
    assert [one["title"] for one in found["jobs"]] == ["trial 0", "trial 2", "trial 1"]
    columns = {one["name"]: one["values"] for one in found["columns"]}
    assert columns["metrics.acc"] == [0.9, 0.8, 0.2] and isinstance(columns["params.lr"][0], float)
    assert set(columns) == {"params.lr", "params.optimiser", "metrics.acc"}


def test_a_sweep_without_trials_has_a_page_and_other_jobs_have_none(site: StudioSite) -> None:
    sweep(site.harness)
    assert "no trial yet" in site.open("/studio/jobs/tune", {**HERE, "tab": "trials"}).text
    site.submit("train-1")
    assert site.open("/studio/jobs/train-1", {**HERE, "tab": "trials"}).status_code == 404
    assert site.open("/studio/jobs/train-1/trials").status_code == 409
    assert site.harness.get(f"{WORKSPACE}/jobs/train-1/trials").json()["error"]["code"] == "NotASweep"


def test_a_trial_with_a_value_that_is_no_number_is_drawn(site: StudioSite) -> None:
    space = {**SPACE, "lr": ["choice", [["nan"]]]}
    assert sweep(site.harness, "tune", 1, 1, searchSpace=space).status_code == 201
    site.harness.settle()
    site.measured.logged["tune_0"] = Logged(metrics={"acc": 1.0}, most=float("inf"))
    columns = site.open("/studio/jobs/tune/trials").json()["columns"]
    assert {(one["name"], *one["values"]) for one in columns} >= {("params.lr", "nan"), ("metrics.acc", "inf")}


def test_what_matters_is_summed_only_now_and_then() -> None:
    now = 0.0
    kept = Importance(lambda: now)
    scored = [({"lr": str(at)}, float(at)) for at in range(20)]
    first = kept.of("tune", scored[:8], True)
    assert first and kept.of("tune", scored, True) is first, "not again so soon"
    now = KEPT_S
    later = kept.of("tune", scored, True)
    assert later is not first
    now *= 3
    assert kept.of("tune", scored, True) is later, "no trial has a score that had none"
    for other in range(KEPT_MOST):
        kept.of(str(other), [], True)
    assert kept.of("tune", scored, True) is not later, "what was asked for long ago is forgotten"


def test_what_makes_trials_good_is_found() -> None:
    chance = random.Random(1)
    trials = [
        ({"lr": str(chance.random()), "depth": str(chance.randrange(9)), "opt": chance.choice("ab"), "same": "1"}, 0.0)
        for _ in range(200)
    ]
    scored = [(values, -((float(values["lr"]) - 0.3) ** 2) + chance.random() / 1000) for values, _ in trials]
    found = importance(scored, maximize=True)
    assert found[0][0] == "lr" and found[0][1] > 0.8 and {name for name, _ in found} == {"lr", "depth", "opt"}
    by_letter = [(values, float(values["opt"] == "a") + chance.random() / 10) for values, _ in trials]
    assert importance(by_letter, maximize=False)[0][0] == "opt"
    for nothing in (
        [],
        scored[:4],
        [(values, 1.0) for values, _ in trials],
        [(values, float("nan")) for values, _ in trials],
    ):
        assert importance(nothing, maximize=True) == []
