"""Sweeps that cannot run are refused when they are submitted, and the error names the field."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.jobs import JOBS
from fakes.platform import Harness
from fakes.sweeps import GRID, SPACE, TRIAL, sweep

BAYESIAN = {"samplingAlgorithmType": "Bayesian"}
MEDIAN = {"policyType": "MedianStopping"}


@pytest.mark.parametrize(
    ("given", "field", "word"),
    [
        ({"searchSpace": {}}, "searchSpace", "at least one"),
        ({"searchSpace": {"lr": ["uniform", [1, 0]]}}, "searchSpace.lr.min_value", "below"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Baysian"}}, "samplingAlgorithm.samplingAlgorithmType", "Bayesian"),
        ({"samplingAlgorithm": GRID}, "searchSpace", "choice"),
        ({"samplingAlgorithm": GRID, "searchSpace": {"lr": ["choice", [[{"a": ["randint", [3]]}]]]}}, "searchSpace", "randint"),
        ({"samplingAlgorithm": BAYESIAN, "searchSpace": {"lr": ["normal", [0, 1]]}}, "searchSpace", "normal"),
        ({"samplingAlgorithm": BAYESIAN, "searchSpace": {"lr": ["choice", [[{"a": 1}]]]}}, "searchSpace.lr", "objects"),
        ({"samplingAlgorithm": BAYESIAN, "earlyTermination": MEDIAN}, "earlyTermination", "Bayesian"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Random", "rule": "halton"}}, "samplingAlgorithm.rule", "Sobol"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Random", "logbase": -2}}, "samplingAlgorithm.logbase", "positive"),
        ({"samplingAlgorithm": {"samplingAlgorithmType": "Random", "seed": -2}}, "samplingAlgorithm.seed", "0"),
        ({"objective": {"goal": "best", "primaryMetric": "a"}}, "objective.goal", "best"),
        ({"objective": {"goal": "minimize", "primaryMetric": ""}}, "objective.primaryMetric", "1 character"),
        ({"limits": {"maxTotalTrials": 0}}, "limits.maxTotalTrials", "1"),
        ({"limits": {"maxTotalTrials": 1001}}, "limits.maxTotalTrials", "1000"),
        ({"limits": {"maxConcurrentTrials": 101}}, "limits.maxConcurrentTrials", "100"),
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


def test_all_that_is_wrong_is_told_at_once(harness: Harness) -> None:
    answer = sweep(
        harness, searchSpace={**SPACE, "x": ["randint", [0]]}, computeId="nowhere",
        earlyTermination={"policyType": "Bandit"}, trial={**TRIAL, "environmentId": "azureml:nothing:1"},
    )  # fmt: skip
    message = answer.json()["error"]["message"]
    assert all(word in message for word in ("searchSpace.x.upper", "nowhere", "slackFactor", "trial.environmentId")), (
        message
    )
    assert "tune_0" not in message


@pytest.mark.parametrize("missing", ["trial", "searchSpace", "samplingAlgorithm", "objective"])
def test_what_every_sweep_has_is_asked_for(harness: Harness, missing: str) -> None:
    answer = sweep(harness, **{missing: None})
    assert answer.status_code == 400 and missing in answer.json()["error"]["target"]
