"""Sweeps that cannot run are refused when they are submitted, and the error names the field."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fakes.jobs import JOBS
from fakes.platform import Harness
from fakes.sweeps import GRID, SPACE, TRIAL, sweep
from smalt.kinds.jobs.sweeps.space import parse

BAYESIAN = {"samplingAlgorithmType": "Bayesian"}
MEDIAN = {"policyType": "MedianStopping"}


@pytest.mark.parametrize(
    ("given", "field", "word"),
    [
        ({"searchSpace": {}}, "searchSpace", "at least one"),
        ({"searchSpace": {"lr": ["uniform", [1, 0]]}}, "searchSpace.lr.min_value", "below"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Baysian"}}, "samplingAlgorithm.samplingAlgorithmType", "Bayesian"),
        ({"samplingAlgorithm": GRID}, "searchSpace.lr", "takes choice alone, and this has uniform"),
        ({"samplingAlgorithm": GRID, "searchSpace": {"lr": ["choice", [[{"a": ["randint", [3]]}]]]}}, "searchSpace.lr", "randint"),
        ({"samplingAlgorithm": BAYESIAN, "searchSpace": {"lr": ["normal", [0, 1]]}}, "searchSpace.lr", "normal"),
        ({"samplingAlgorithm": GRID, "searchSpace": {"a": ["uniform", [0, 1]], "b": ["normal", [0, 1]]}}, "searchSpace.a", "searchSpace.b"),
        ({"samplingAlgorithm": BAYESIAN, "searchSpace": {"lr": ["choice", [[{"a": 1}]]]}}, "searchSpace.lr", "objects"),
        ({"samplingAlgorithm": BAYESIAN, "earlyTermination": MEDIAN}, "earlyTermination", "Bayesian"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Random", "rule": "halton"}}, "samplingAlgorithm.rule", "Sobol"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Random", "logbase": -2}}, "samplingAlgorithm.logbase", "positive"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Random", "seed": -2}}, "samplingAlgorithm.seed", "0"),
        ({"objective": {"goal": "best", "primaryMetric": "a"}}, "objective.goal", "best"),
        ({"objective": {"goal": "minimize", "primaryMetric": ""}}, "objective.primaryMetric", "1 character"),
        ({"limits": {"maxTotalTrials": 0}}, "limits.maxTotalTrials", "1"),
        ({"limits": {"maxTotalTrials": 1001}}, "limits.maxTotalTrials", "1000"),
        ({"limits": {"maxConcurrentTrials": 1001}}, "limits.maxConcurrentTrials", "1000"),
        ({"limits": {"timeout": "soon"}}, "limits.timeout", "ISO 8601"),
        ({"limits": {"trialTimeout": "soon"}}, "limits.trialTimeout", "ISO 8601"),
        ({"earlyTermination": {"policyType": "Bandit"}}, "earlyTermination.slackFactor", "slackAmount"),
        ({"earlyTermination": {"policyType": "Bandit", "slackFactor": 0.1, "slackAmount": 1}}, "earlyTermination.slackFactor", "either"),
        ({"earlyTermination": {"policyType": "Bandit", "slackFactor": -0.1}}, "earlyTermination.slackFactor", "-0.1"),
        ({"earlyTermination": {"policyType": "Bandits", "slackFactor": 0.1}}, "earlyTermination.policyType", "Bandit"),
        ({"earlyTermination": {"policyType": "TruncationSelection"}}, "earlyTermination.truncationPercentage", "1 to 99"),
        ({"earlyTermination": {"policyType": "TruncationSelection", "truncationPercentage": 100}}, "earlyTermination.truncationPercentage", "100"),
        ({"earlyTermination": {**MEDIAN, "delayEvaluation": -1}}, "earlyTermination.delayEvaluation", "0"),
        ({"trial": {**TRIAL, "command": "x ${{search_space.lrr}}"}}, "trial.command", "'lr'"),
        ({"trial": {**TRIAL, "environmentVariables": {"A": "${{search_space.b}}"}}}, "trial.environmentVariables", "'b'"),
        ({"trial": {**TRIAL, "command": "x ${{inputs.data}}"}}, "trial.command", "data"),
        ({"trial": {**TRIAL, "environmentId": "azureml:nothing:1"}}, "trial.environmentId", "nothing"),
        ({"trial": {"command": "x"}}, "trial.environmentId", "required"),
        ({"trial": {**TRIAL, "resources": {"shmSize": "much"}}}, "trial.resources.shmSize", "much"),
        ({"computeId": "nowhere"}, "computeId", "nowhere"),
        ({"inputs": {"data": {"jobInputType": "uri_file", "uri": "azureml:nothing:1"}}}, "inputs.data", "nothing"),
        ({"outputs": {"m": {"jobOutputType": "uri_folder", "assetName": "a b"}}}, "outputs.m.assetName", "a b"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_with_its_field(
    harness: Harness, given: dict[str, Any], field: str, word: str
) -> None:
    answer = sweep(harness, **given)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["target"].startswith(f"properties.{field}"), error
    assert word in error["message"], error
    assert harness.get(f"{JOBS}/tune").status_code == 404


@pytest.mark.parametrize(
    ("distribution", "field"),
    [
        (["qnormal", [0, 1e308, 1]], "sigma"),
        (["normal", [0, 1.7e308]], "sigma"),
        (["normal", [-1.7e308, 1]], "sigma"),
        (["lognormal", [0, 1000]], "sigma"),
        (["lognormal", [1000, 1]], "sigma"),
        (["qlognormal", [0, 1000, 1]], "sigma"),
        (["qlognormal", [0, 1, 5e-324]], "q"),
        (["uniform", [-1.7e308, 1.7e308]], "min_value"),
        (["uniform", [0, 10**400]], "max_value"),
        (["quniform", [0, 1.7e308, 1]], "max_value"),
        (["quniform", [0, 1, 5e-324]], "q"),
        (["qnormal", [0, 1, 5e-324]], "q"),
        (["qnormal", [0, 1, 1.7e308]], "q"),
        (["loguniform", [0, 1000]], "max_value"),
        (["qloguniform", [0, 1, 5e-324]], "q"),
        (["randint", [10**400]], "upper"),
    ],
)
def test_values_that_are_no_numbers_any_more_are_refused(harness: Harness, distribution: list[Any], field: str) -> None:
    answer = sweep(harness, searchSpace={"lr": distribution})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["target"] == f"properties.searchSpace.lr.{field}"


@pytest.mark.parametrize("base", [0.5, 5e-324])
def test_a_small_base_has_its_largest_value_at_the_least(harness: Harness, base: float) -> None:
    given = {"samplingAlgorithmType": "Random", "logbase": base}
    answer = sweep(harness, searchSpace={"lr": ["loguniform", [-5000, 0]]}, samplingAlgorithm=given)
    assert answer.json()["error"]["target"] == "properties.searchSpace.lr.min_value"


def test_all_that_may_be_drawn_at_the_limits_is_a_number() -> None:
    given = [
        ["uniform", [-1e300, 1e300]], ["quniform", [-1e300, 1e300, 1]], ["normal", [0, 1e299]],
        ["qnormal", [0, 1e299, 1]], ["qnormal", [0, 1, 1e300]], ["lognormal", [0, 86]], ["qlognormal", [0, 86, 0.3]],
        ["loguniform", [-5000, 690]], ["qloguniform", [-5000, 690, 1]],
    ]  # fmt: skip
    for one in given:
        found = parse({"x": one})
        for point in (0.0, 1e-15, 0.5, 1 - 1e-16):
            assert math.isfinite(found.at([point])["x"]), one


def test_an_object_to_choose_has_as_many_parameters_as_a_space_at_most(harness: Harness) -> None:
    ten = ["choice", [list(range(10))]]
    answer = sweep(harness, searchSpace={"lr": ["choice", [[{f"p{number}": ten for number in range(4400)}]]]})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["target"] == "properties.searchSpace.lr.values.0"


def test_a_space_of_more_combinations_than_anybody_counts_is_searched(harness: Harness) -> None:
    ten = ["choice", [list(range(10))]]
    one = ["choice", [[{f"p{number}": ten for number in range(100)}]]]
    answer = sweep(harness, searchSpace={"lr": one, **{f"q{number}": one for number in range(60)}})
    assert answer.status_code == 201, answer.text
    assert "space_size" not in answer.json()["properties"]["properties"]


def test_all_that_is_wrong_is_told_at_once(harness: Harness) -> None:
    answer = sweep(
        harness,
        searchSpace={**SPACE, "x": ["randint", [0]]},
        computeId="nowhere",
        earlyTermination={"policyType": "Bandit"},
        trial={**TRIAL, "environmentId": "azureml:nothing:1"},
    )
    message = answer.json()["error"]["message"]
    assert all(word in message for word in ("searchSpace.x.upper", "nowhere", "slackFactor", "trial.environmentId")), (
        message
    )
    assert "tune_0" not in message


@pytest.mark.parametrize("missing", ["trial", "searchSpace", "samplingAlgorithm", "objective"])
def test_what_every_sweep_has_is_asked_for(harness: Harness, missing: str) -> None:
    answer = sweep(harness, **{missing: None})
    assert answer.status_code == 400 and missing in answer.json()["error"]["target"]


def test_what_is_wrong_with_a_trial_is_told_once(harness: Harness) -> None:
    error = sweep(harness, limits={"trialTimeout": "soon"}).json()["error"]
    assert (error["target"], error["details"]) == ("properties.limits.trialTimeout", [])
