"""Sweep jobs: trials are submitted, compared and ended as the document says, also where the server dies in between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes.examples import CURATED
from fakes.jobs import JOBS, cluster, status
from fakes.platform import WORKSPACE, Harness
from fakes.sweeps import (
    BANDIT,
    BEST,
    GRID,
    METRIC,
    SPACE,
    TRIAL,
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
from smalt.arm.errors import ArmError
from smalt.arm.kind import Step
from smalt.kinds.jobs import job as jobs
from smalt.kinds.jobs import outputs as registered
from smalt.store import resources


def test_trials_run_some_at_a_time_and_the_best_is_the_sweeps(harness: Harness) -> None:
    assert sweep(harness, trials=4, at_once=2).status_code == 201
    harness.settle()
    assert status(harness, "tune") == "Running" and running(harness) == ["tune_0", "tune_1"]
    end(harness, "tune_1", 0.4, 0.9, 0.6)
    assert running(harness) == ["tune_0", "tune_2"]
    assert properties(harness)["properties"][BEST] == "tune_1"
    end(harness, "tune_0", 0.5)
    end(harness, "tune_2", 0.95)
    end(harness, "tune_3", 0.7)
    shown = properties(harness)
    assert shown["status"] == "Completed"
    assert (shown["properties"][BEST], shown["properties"]["score"]) == ("tune_2", "0.95")
    assert json.loads(shown["properties"]["primary_metric_config"]) == {"name": METRIC, "goal": "maximize"}
    run = harness.tracking.runs[WORKSPACE.lower(), "tune"]
    assert run["metrics"][METRIC] == [0.9, 0.95] and run["status"] == "FINISHED"
    assert run["tags"][BEST] == "tune_2"


def test_the_least_is_the_best_where_less_is_better(harness: Harness) -> None:
    sweep(harness, trials=2, objective={"goal": "Minimize", "primaryMetric": METRIC})
    harness.settle()
    end(harness, "tune_0", 0.4, 0.2, 0.3)
    end(harness, "tune_1", 0.3)
    assert properties(harness)["properties"][BEST] == "tune_0" and properties(harness)["properties"]["score"] == "0.2"


def test_a_trial_is_a_command_job_with_its_values(harness: Harness) -> None:
    compute = cluster(harness, most=4)
    trial = {
        "command": "train --lr ${{search_space.lr}} --n ${{ search_space.n }} --d ${{inputs.data}}",
        "environmentId": CURATED,
        "environmentVariables": {"DEPTH": "${{search_space.n}}", "AZUREML_SWEEP_lr": "mine"},
        "resources": {"instanceCount": 2},
    }
    data = {"jobInputType": "literal", "value": "d-${{search_space.n}}"}
    sweep(
        harness,
        trials=1,
        trial=trial,
        searchSpace={**SPACE, "n": ["choice", [[7]]]},
        computeId=compute,
        inputs={"data": data},
        limits={"trialTimeout": "PT5M"},
        queueSettings={"jobTier": "Standard", "priority": 3},
        experimentName="tuning",
    )
    harness.settle()
    child = properties(harness, "tune_0")
    value = json.loads(child["tags"]["hyperparameters"])
    assert child["command"] == f"train --lr {value['lr']} --n 7 --d ${{{{inputs.data}}}}" and value["n"] == 7
    assert child["environmentVariables"] == {
        "DEPTH": "7",
        "AZUREML_SWEEP_n": "7",
        "AZUREML_SWEEP_lr": "mine",
        "AZUREML_SWEEP_data": "d-7",
    }
    assert (child["computeId"], child["resources"]["instanceCount"]) == (compute, 2)
    assert child["limits"]["timeout"] == "PT5M" and child["queueSettings"]["priority"] == 3
    assert child["experimentName"] == "tuning" and child["inputs"]["data"]["value"] == "d-7"
    task = task_of(harness, "tune_0")
    assert (task.variables["AZUREML_ROOT_RUN_ID"], task.timeout_s) == ("tune", 300)
    for name in [name for name, state in harness.engine.states.items() if state.outcome is None]:
        harness.engine.finish(name, 0)
    settle(harness)
    run = harness.tracking.runs[WORKSPACE.lower(), "tune_0"]
    assert run["parameters"] == {"lr": str(value["lr"]), "n": "7"}
    assert run["tags"]["mlflow.parentRunId"] == "tune"


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("run ${{search_space.m}}", """run '{"a":1,"b":"x y"}'"""),
        ("run '${{search_space.m}}'", """run '{"a":1,"b":"x y"}'"""),
        ('run "${{search_space.m}}"', r'run "{\"a\":1,\"b\":\"x y\"}"'),
    ],
)
def test_an_object_is_one_word_of_the_command(harness: Harness, command: str, written: str) -> None:
    space = {"m": ["choice", [[{"a": 1, "b": ["choice", [["x y"]]]}]]]}
    sweep(harness, trials=1, trial={**TRIAL, "command": command}, searchSpace=space)
    harness.settle()
    assert task_of(harness, "tune_0").command == written


def test_what_a_run_logged_itself_stays(harness: Harness) -> None:
    sweep(harness, trials=1)
    harness.settle()
    harness.tracking.runs[WORKSPACE.lower(), "tune_0"]["parameters"] = {"lr": "1.0"}
    end(harness, "tune_0", 0.5)
    assert harness.tracking.parameters(WORKSPACE.lower(), "tune_0") == {"lr": "1.0"}


def test_a_grid_ends_with_its_last_combination(harness: Harness) -> None:
    space = {"lr": ["choice", [[0.1, 0.2]]], "n": ["choice", [[1, 2]]]}
    sweep(harness, trials=50, at_once=10, samplingAlgorithm=GRID, searchSpace=space)
    harness.settle()
    assert running(harness) == [f"tune_{number}" for number in range(4)]
    found = [json.loads(properties(harness, name)["tags"]["hyperparameters"]) for name in running(harness)]
    assert sorted(map(str, found)) == sorted(str({"lr": lr, "n": n}) for lr in (0.1, 0.2) for n in (1, 2))
    for number in range(4):
        end(harness, f"tune_{number}", number / 10)
    assert status(harness, "tune") == "Completed" and properties(harness)["properties"]["space_size"] == "4"


def test_lists_show_the_sweep_and_its_trials_below_it(harness: Harness) -> None:
    sweep(harness)
    harness.settle()
    assert [one["name"] for one in harness.get(JOBS).json()["value"]] == ["tune"]


def test_a_bayesian_sweep_learns_from_what_has_ended(harness: Harness) -> None:
    """Best where lr is large: what comes after the first is, too."""
    sweep(harness, trials=14, at_once=1, samplingAlgorithm={"samplingAlgorithmType": "Bayesian", "seed": 3})
    found: list[float] = []
    harness.settle()
    for number in range(14):
        found.append(json.loads(properties(harness, f"tune_{number}")["tags"]["hyperparameters"])["lr"])
        end(harness, f"tune_{number}", found[-1])
    assert status(harness, "tune") == "Completed"
    assert sum(found[8:]) / 6 > 0.6


def test_a_trial_that_fails_does_not_end_the_sweep(harness: Harness) -> None:
    sweep(harness, trials=4, at_once=1)
    harness.settle()
    end(harness, "tune_0", 0.4)
    for number in (1, 2, 3):
        end(harness, f"tune_{number}", exit_code=3)
    assert status(harness, "tune") == "Completed" and properties(harness)["properties"][BEST] == "tune_0"


def test_the_first_three_that_fail_end_it(harness: Harness) -> None:
    sweep(harness, trials=20, at_once=4)
    harness.settle()
    for number in range(3):
        end(harness, f"tune_{number}", exit_code=3)
    row = harness.row(f"{JOBS}/tune")
    assert row.state == "Failed" and "The first 3 trials have failed" in row.status["error"]["message"]
    assert "exit code 3" in row.status["error"]["message"]
    assert status(harness, "tune_3") == "Canceled" and "tune_7" not in running(harness)


def test_a_metric_that_nobody_logs_is_said(harness: Harness) -> None:
    sweep(harness, trials=2)
    harness.settle()
    for number in range(2):
        log(harness, f"tune_{number}", 0.4, metric="other")
        end(harness, f"tune_{number}")
    row = harness.row(f"{JOBS}/tune")
    assert row.state == "Failed" and row.status["error"]["code"] == "PrimaryMetricNotLogged"
    assert (
        f"'{METRIC}'; they logged 'other'. Log it" in row.status["error"]["message"]
        and BEST not in properties(harness)["properties"]
    )


def test_a_metric_that_is_never_a_number_is_said(harness: Harness) -> None:
    sweep(harness, trials=2)
    harness.settle()
    for number in range(2):
        end(harness, f"tune_{number}", float("nan"))
    error = harness.row(f"{JOBS}/tune").status["error"]
    assert (
        error["code"] == "PrimaryMetricNotLogged" and f"NaN alone as the primary metric '{METRIC}'" in error["message"]
    )


def test_one_that_completed_is_better_than_any_that_did_not(harness: Harness) -> None:
    sweep(harness, trials=2)
    harness.settle()
    end(harness, "tune_0", 0.99, exit_code=1)
    assert properties(harness)["properties"][BEST] == "tune_0"
    end(harness, "tune_1", 0.5)
    assert properties(harness)["properties"][BEST] == "tune_1"


def test_more_at_once_than_run_at_once_are_taken(harness: Harness) -> None:
    assert sweep(harness, trials=130, at_once=1000).status_code == 201
    settle(harness)
    assert len(harness.row(f"{JOBS}/tune").status["decided"]["open"]) == 100, "the others wait for one of them to end"


def test_cancel_ends_the_trials(harness: Harness) -> None:
    sweep(harness, trials=60, at_once=30)
    settle(harness)
    assert harness.send("POST", f"{JOBS}/tune/cancel").status_code == 202
    for _ in range(4):
        settle(harness)
    assert status(harness, "tune") == "Canceled" and set(states(harness, count=30)) == {"Canceled"}
    assert harness.get(f"{JOBS}/tune_30").status_code == 404
    assert "The sweep has ended: Canceled." in journal(harness)


def test_a_sweep_that_is_over_its_time_is_canceled(harness: Harness) -> None:
    sweep(harness, trials=4, limits={"timeout": "PT2M"})
    harness.settle()
    end(harness, "tune_0", 0.5)
    harness.clock.pass_(121)
    settle(harness)
    row = harness.row(f"{JOBS}/tune")
    assert row.state == "Canceled" and "limits.timeout" in row.status["error"]["message"]
    assert status(harness, "tune_1") == "Canceled" and properties(harness)["properties"][BEST] == "tune_0"


def test_a_trial_that_is_deleted_is_not_waited_for(harness: Harness) -> None:
    sweep(harness, trials=2)
    harness.settle()
    harness.send("DELETE", f"{JOBS}/tune_0")
    settle(harness)
    end(harness, "tune_1", 0.5)
    assert status(harness, "tune") == "Completed"


def test_delete_takes_all_along(harness: Harness) -> None:
    sweep(harness)
    harness.settle()
    assert harness.send("DELETE", f"{JOBS}/tune").status_code == 202
    for _ in range(3):
        settle(harness)
        harness.clock.pass_(31)
    assert harness.get(f"{JOBS}/tune").status_code == harness.get(f"{JOBS}/tune_0").status_code == 404


def test_the_best_trials_outputs_are_the_sweeps_and_named_ones_become_assets(harness: Harness) -> None:
    outputs = {
        "model": {"jobOutputType": "mlflow_model", "assetName": "tuned"},
        "plain": {"jobOutputType": "uri_folder"},
    }
    trial = {**TRIAL, "command": "train ${{search_space.lr}} ${{outputs.model}} ${{outputs.plain}}"}
    sweep(harness, trials=2, outputs=outputs, trial=trial)
    harness.settle()
    assert "assetName" not in properties(harness, "tune_0")["outputs"]["model"]
    end(harness, "tune_0", 0.5)
    end(harness, "tune_1", 0.9)
    shown = properties(harness)["outputs"]
    assert shown["plain"]["uri"] == properties(harness, "tune_1")["outputs"]["plain"]["uri"]
    assert "/tune_1/" in shown["model"]["uri"] and shown["model"]["assetVersion"] == "1"
    model = harness.get(f"{WORKSPACE}/models/tuned/versions/1").json()["properties"]
    assert model["modelUri"] == shown["model"]["uri"] and model["jobName"] == "tune"
    assert harness.get(f"{WORKSPACE}/models/tuned/versions/2").status_code == 404


def test_the_journal_says_what_the_controller_does(harness: Harness) -> None:
    sweep(harness, trials=2, at_once=1)
    harness.settle()
    end(harness, "tune_0", 0.5)
    end(harness, "tune_1")
    said = journal(harness)
    for line in ("[API][INFO]Experiment created", "Scheduling job, id='tune_0'", "'tune_0' has ended: Completed; acc = 0.5",
                 "it logged no 'acc'", "Max number of jobs '2' reached", "The sweep has ended: Completed."):  # fmt: skip
        assert said.count(line) == 1, said
    assert all(line.startswith("[20") for line in said.splitlines())


@pytest.mark.parametrize("algorithm", ["Random", "Bayesian", "Grid"])
def test_a_step_that_is_lost_is_done_again_and_no_trial_runs_twice(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """Every second step of the sweep is computed, and the server dies before it is written."""
    space = {"lr": ["choice", [[number / 12 for number in range(12)]]]}
    sweep(
        harness,
        trials=12,
        at_once=3,
        searchSpace=space,
        samplingAlgorithm={"samplingAlgorithmType": algorithm} | ({} if algorithm == "Grid" else {"seed": 5}),
        earlyTermination=None if algorithm == "Bayesian" else BANDIT,
    )
    steps: list[Step] = []
    real = jobs.TYPES["Sweep"].step

    def dying(platform: Any, row: resources.Row) -> Step:
        steps.append(real(platform, row))
        if len(steps) % 2:
            raise OSError("the server is killed")
        return steps[-1]

    monkeypatch.setitem(
        jobs.TYPES, "Sweep", jobs.TYPES["Sweep"].__class__(**{**vars(jobs.TYPES["Sweep"]), "step": dying})
    )
    for _ in range(60):
        settle(harness)
        harness.clock.pass_(5)
        for name in running(harness):
            end(harness, name, 0.5)
        if status(harness, "tune") == "Completed":
            break
    assert status(harness, "tune") == "Completed"
    tried = [properties(harness, f"tune_{number}")["tags"]["hyperparameters"] for number in range(12)]
    assert len(set(tried)) == 12 == len(harness.engine.starts) and harness.get(f"{JOBS}/tune_12").status_code == 404
    assert journal(harness).count("Scheduling job, id='tune_7'") == 1


def test_a_sweep_that_reads_its_trials_reads_those_that_are_open(harness: Harness) -> None:
    """What a step keeps does not grow with the trials that have ended."""
    sweep(harness, trials=40, at_once=2)
    sizes: list[int] = []
    harness.settle()
    for number in range(40):
        end(harness, f"tune_{number}", 0.5)
        sizes.append(len(json.dumps(harness.row(f"{JOBS}/tune").status["decided"])))
    assert max(sizes[20:]) < max(sizes[:20]) + 20


def test_a_put_of_what_was_read_changes_nothing(harness: Harness) -> None:
    sweep(harness, earlyTermination=BANDIT)
    shown = harness.get(f"{JOBS}/tune").json()
    again = {
        **shown["properties"],
        "displayName": "other",
        "samplingAlgorithm": {"samplingAlgorithmType": "random", "seed": 1},
    }
    answer = harness.put(f"{JOBS}/tune", {"properties": again})
    assert answer.status_code == 200, answer.text
    refused = harness.put(f"{JOBS}/tune", {"properties": {**again, "searchSpace": {"lr": ["uniform", [0, 2]]}}})
    assert refused.status_code == 409 and refused.json()["error"]["target"] == "properties.searchSpace"


def test_a_sweep_whose_outputs_cannot_be_registered_fails(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise ArmError(400, "UserError", "no such asset can be")

    monkeypatch.setattr(registered, "insert_version", refused)
    outputs = {"model": {"jobOutputType": "mlflow_model", "assetName": "churn"}}
    trial = {**TRIAL, "command": "train ${{search_space.lr}} ${{outputs.model}}"}
    sweep(harness, trials=1, at_once=1, outputs=outputs, trial=trial)
    harness.settle()
    end(harness, "tune_0", 0.5)
    row = harness.row(f"{JOBS}/tune")
    assert row.state == "Failed" and "no such asset can be" in row.status["error"]["message"]
    assert harness.tracking.runs[WORKSPACE.lower(), "tune"]["status"] == "FAILED"


def test_the_same_sweep_once_more_draws_the_same_and_has_no_best_trial_yet(harness: Harness) -> None:
    sweep(harness, samplingAlgorithm={"samplingAlgorithmType": "Random"})
    seed = harness.get(f"{JOBS}/tune/provenance").json()["seed"]
    again = {"samplingAlgorithmType": "Random", "seed": seed}
    sweep(harness, "again", samplingAlgorithm=again, properties={"best_child_run_id": "tune_0", "mine": "1"})
    harness.settle()
    kept = harness.get(f"{JOBS}/again").json()["properties"]["properties"]
    assert "best_child_run_id" not in kept and kept["mine"] == "1"
    first, second = (harness.get(f"{JOBS}/{name}_0").json()["properties"]["command"] for name in ("tune", "again"))
    assert first == second and "search_space" not in first
