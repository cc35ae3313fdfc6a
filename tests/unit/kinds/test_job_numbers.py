"""The numbers and limits of jobs of all types: what is none, or beyond what it may be, is a 400 with its field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fakes import schedules, sweeps
from fakes.jobs import submit
from fakes.pipelines import component, data, node
from fakes.pipelines import submit as submit_pipeline
from fakes.platform import Harness

WRONG: list[Any] = [-1, 10**400, 1.5, "x", " ", "NaN", "-PT5S", "P999999999DT24H", [], [1], {}, {"a": 1}]
BANDIT = {"policyType": "Bandit", "slackFactor": 0.1}
RANDOM = {"samplingAlgorithmType": "Random"}
RECURRENCE = {"triggerType": "Recurrence", "frequency": "day", "interval": 1}
COMMAND: dict[str, Any] = {
    "limits.timeout": None,
    "resources.instanceCount": None,
    "resources.shmSize": None,
    "queueSettings.priority": None,
    "distribution.processCountPerInstance": {"distributionType": "PyTorch"},
    "properties.smalt-hold": None,
}
SWEEP: dict[str, Any] = {
    "limits.timeout": None,
    "limits.trialTimeout": None,
    "limits.maxTotalTrials": None,
    "limits.maxConcurrentTrials": None,
    "samplingAlgorithm.seed": RANDOM,
    "samplingAlgorithm.logbase": RANDOM,
    "earlyTermination.evaluationInterval": BANDIT,
    "earlyTermination.delayEvaluation": BANDIT,
    "earlyTermination.slackFactor": BANDIT,
    "earlyTermination.slackAmount": {"policyType": "Bandit"},
    "earlyTermination.truncationPercentage": {"policyType": "TruncationSelection"},
    "queueSettings.priority": None,
}
STEP: dict[str, Any] = {
    "limits.timeout": None,
    "resources.instance_count": None,
    "queue_settings.priority": None,
    "distribution.process_count_per_instance": {"type": "pytorch"},
}
DRIVER = {"inputData": "d", "entryScript": "s.py"}
PARALLEL = (
    "miniBatchSize",
    "tableBatchSize",
    "maxConcurrencyPerInstance",
    "errorThreshold",
    "miniBatchErrorThreshold",
    "retrySettings.maxRetries",
    "retrySettings.timeout",
)


def written(path: str, beside: Mapping[str, Any] | None, value: Any) -> dict[str, Any]:
    above, _, name = path.partition(".")
    return {above: {**(beside or {}), name.replace("smalt-hold", "smalt.hold"): value}}


def refused(answer: Any, field: str) -> None:
    """With that field, or what it is in."""
    assert answer.status_code == 400, answer.text[:500]
    target = answer.json()["error"]["target"].replace("smalt.hold", "smalt-hold").lower().replace("_", "")
    assert target and field.lower().replace("_", "").startswith(target.partition("[")[0]), answer.text[:500]


def may_be(path: str, value: Any) -> bool:
    """What is one, or says nothing, after all."""
    says_nothing = value in ({}, []) and False
    is_fraction = value == 1.5 and path.endswith(("slackFactor", "slackAmount", "logbase"))
    is_large = value == 10**400 and path.endswith(("evaluationInterval", "delayEvaluation"))
    return says_nothing or is_fraction or is_large


@pytest.mark.parametrize("path", COMMAND)
def test_commands(harness: Harness, path: str) -> None:
    for value in WRONG:
        refused(submit(harness, **written(path, COMMAND[path], value)), f"properties.{path}")


@pytest.mark.parametrize("path", SWEEP)
def test_sweeps(harness: Harness, path: str) -> None:
    for number, value in enumerate(WRONG):
        answer = sweeps.sweep(harness, f"tune{number}", **written(path, SWEEP[path], value))
        if may_be(path, value):
            assert answer.status_code == 201, answer.text
        else:
            refused(answer, f"properties.{path}")


@pytest.mark.parametrize("path", STEP)
def test_steps(harness: Harness, path: str) -> None:
    part = component(harness, "part")
    for value in WRONG:
        if value == 1.5 and path == "limits.timeout":
            continue  # seconds
        step = node(part, data="${{parent.inputs.raw}}", more=written(path, STEP[path], value))
        refused(submit_pipeline(harness, {"a": step}, inputs={"raw": data()}), f"properties.jobs.a.{path}")


@pytest.mark.parametrize("path", ["interval", "schedule.hours", "schedule.minutes", "startTime", "endTime"])
def test_schedules(harness: Harness, path: str) -> None:
    name, _, inner = path.partition(".")
    for value in WRONG:
        given = [value] if inner else value
        trigger = {
            **RECURRENCE,
            name: {inner: given, **({"minutes": [0]} if inner == "hours" else {})} if inner else value,
        }
        refused(harness.put(schedules.URL, schedules.body(trigger)), f"properties.trigger.{path}.0")


@pytest.mark.parametrize("timeout", [None, "", "PT0S", "P10675199DT2H48M5.4775807S"])
def test_no_limit_and_the_longest(harness: Harness, timeout: Any) -> None:
    """0 is no limit, as the client's: it leaves out a timeout of 0."""
    limits = {"timeout": timeout}
    assert submit(harness, limits=limits).status_code == 201
    assert sweeps.sweep(harness, limits={**limits, "trialTimeout": timeout}).status_code == 201
    harness.settle()
    assert len(harness.engine.tasks) > 1


@pytest.mark.parametrize("limits", [None, {"instanceCount": None}])
def test_a_number_that_is_null_is_the_default(harness: Harness, limits: Any) -> None:
    answer = submit(harness, resources=limits, queueSettings={"priority": None}, distribution=None)
    assert answer.status_code == 201, answer.text
    assert answer.json()["properties"]["resources"]["instanceCount"] == 1


@pytest.mark.parametrize("blank", [" ", "\n\t "])
def test_a_text_of_spaces_is_none(harness: Harness, blank: str) -> None:
    refused(submit(harness, command=blank), "properties.command")
    objective = {"goal": "maximize", "primaryMetric": blank}
    refused(sweeps.sweep(harness, objective=objective), "properties.objective.primaryMetric")
    refused(sweeps.sweep(harness, trial={**sweeps.TRIAL, "command": blank}), "properties.trial.command")


def test_a_ports_bounds_may_be_beyond_any_number(harness: Harness) -> None:
    port = {"type": "integer", "min": 0, "max": 10**400}
    component(harness, "part", inputs={"n": port})
    assert submit_pipeline(harness, {"a": node("azureml:part:1", n=3)}).status_code == 201


@pytest.mark.parametrize("path", PARALLEL)
def test_parallel_jobs(harness: Harness, path: str) -> None:
    """-1 as a threshold is any number of errors; a timeout is in seconds."""
    above, _, name = path.rpartition(".")
    for value in WRONG:
        if (value == -1 and name.endswith("Threshold")) or (value == 1.5 and name == "timeout"):
            continue
        said = {**DRIVER, **({above: {name: value}} if above else {name: value})}
        refused(submit(harness, parallel=said, inputs={"d": data()}), f"properties.parallel.{path}")


@pytest.mark.parametrize(
    ("kind", "path"), [("do_while", "limits.max_iteration_count"), ("parallel_for", "max_concurrency")]
)
def test_loops(harness: Harness, kind: str, path: str) -> None:
    part = component(harness, "part", inputs={"n": {"type": "integer", "default": "1"}})
    above, _, name = path.rpartition(".")
    for value in WRONG:
        loop = {"type": kind, "body": "${{parent.jobs.a}}", "items": '[{"n": 1}]'}
        loop |= {above: {name: value}} if above else {name: value}
        if value == 10**400 and kind == "parallel_for":
            continue  # as many as there are
        refused(submit_pipeline(harness, {"a": node(part), "loop": loop}), f"properties.jobs.loop.{path}")
