"""Sweeps as steps of pipelines: what they search, their bindings, their best trial's outputs, and how they end."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import sweeps
from fakes.jobs import JOBS, status
from fakes.pipelines import child, component, data, end, job_of, literal, look, node, running, submit
from fakes.platform import WORKSPACE, Harness
from fakes.sweeps import METRIC

IN = "${{parent.inputs.raw}}"
COMMAND = "python train.py ${{inputs.data}} --lr ${{inputs.lr}} $[[--kind ${{inputs.kind}}]] --n ${{inputs.n}}"
PORTS = {
    "data": {"type": "uri_folder"}, "lr": {"type": "number", "default": "9"}, "n": {"type": "integer", "default": "3"},
    "kind": {"type": "string", "optional": True},
}  # fmt: skip
SPACE: dict[str, Any] = {
    "lr": {"type": "uniform", "min_value": 0.25, "max_value": 0.75},
    "kind": {"type": "choice", "values": ["rbf", "linear"]},
}


def trainer(harness: Harness, name: str = "train", **more: Any) -> None:
    component(harness, name, command=COMMAND, inputs=PORTS, **more)


def searching(component: str = "azureml:train:1", more: Any = None, outputs: Any = None, **inputs: Any) -> Any:
    """A step as the official client writes it."""
    written = node(component, "sweep", outputs, **{"data": IN, **inputs})
    del written["componentId"]
    return {
        **written,
        "trial": {"componentId": component},
        "search_space": SPACE,
        "sampling_algorithm": "random",
        "objective": {"goal": "maximize", "primary_metric": METRIC},
        "limits": {"max_total_trials": 2, "max_concurrent_trials": 2, "timeout": 7200},
        **(more or {}),
    }


def tuned(harness: Harness, name: str = "pipe", step: Any = None, **properties: Any) -> Any:
    """tune → use."""
    component(harness, "part")
    jobs = {
        "tune": step or searching(outputs={"made": "${{parent.outputs.best}}"}),
        "use": node("azureml:part:1", data="${{parent.jobs.tune.outputs.made}}"),
    }
    outputs = {"best": {"jobOutputType": "uri_folder"}} if step is None else {}
    return submit(harness, jobs, name, **{"inputs": {"raw": data()}, "outputs": outputs, **properties})


def trials(harness: Harness, pipeline: str = "pipe", step: str = "tune") -> list[str]:
    """Those that run, by their jobs' names."""
    above = job_of(harness, step, pipeline)
    return [name for name in sweeps.running(harness) if name.startswith(above)]


def end_trials(harness: Harness, *scores: float, pipeline: str = "pipe", exit_code: int = 0) -> list[str]:
    harness.settle()
    found = trials(harness, pipeline)
    for trial, score in zip(found, scores, strict=True):
        for output in sweeps.task_of(harness, trial).outputs:
            harness.blobs.write(output.target.below("part.txt"), trial.encode())
        sweeps.end(harness, trial, score, exit_code=exit_code)
    look(harness)
    return found


def test_a_sweep_searches_inputs_of_its_component_and_the_next_step_gets_the_best(harness: Harness) -> None:
    trainer(harness)
    answer = tuned(harness)
    assert answer.status_code == 201, answer.text
    harness.settle()
    sweep = child(harness, "tune")
    assert (sweep["jobType"], sweep["status"]) == ("Sweep", "Running")
    assert sweep["limits"]["timeout"] == "PT7200S" and sweep["searchSpace"]["lr"] == ["uniform", [0.25, 0.75]]
    first = harness.row(f"{JOBS}/{trials(harness)[0]}").properties
    said = first["command"].split(" --lr ")[1]
    assert 0.25 <= float(said.split()[0]) <= 0.75 and " $[[--kind " in said and said.endswith("--n ${{inputs.n}}")
    assert set(first["inputs"]) == {"data", "n"}, "what is searched is no input"
    _, best = end_trials(harness, 0.1, 0.2)
    sweep = child(harness, "tune")
    assert sweep["status"] == "Completed" and sweep["properties"]["best_child_run_id"] == best
    assert sweep["outputs"]["made"]["uri"] == f"azureml://datastores/workspaceblobstore/paths/azureml/{best}/made/"
    assert child(harness, "use")["inputs"]["data"]["uri"] == sweep["outputs"]["made"]["uri"]
    end(harness, "use")
    assert status(harness, "pipe") == "Completed"
    assert harness.get(f"{JOBS}/pipe").json()["properties"]["outputs"]["best"]["uri"] == sweep["outputs"]["made"]["uri"]


def test_all_that_a_step_says_of_its_sweep_reaches_it(harness: Harness) -> None:
    trainer(harness)
    more = {
        "sampling_algorithm": {"type": "random", "seed": 3, "rule": "sobol", "logbase": "e"},
        "early_termination": {"policy_type": "Bandit", "slack_factor": 0.1, "evaluation_interval": 2},
        "limits": {"max_total_trials": 4, "max_concurrent_trials": 2, "timeout": 600, "trial_timeout": 30},
        "queue_settings": {"job_tier": "spot", "priority": "high"},
        "resources": {"instance_count": 1, "shm_size": "1g", "instance_type": "Standard_D2_v2"},
        "search_space": {
            "lr": {"type": "quniform", "min_value": -3, "max_value": 1, "q": 0.5},
            "n_x": {"type": "choice", "values": [{"a_b": {"type": "choice", "values": [1, 2]}}, {"c": "fixed"}]},
            "n": {"type": "randint", "upper": 4},
        },
        "identity": {"identity_type": "UserIdentity"},
        "display_name": "Tuning",
        "tags": {"team": "a"},
        "properties": {"k_e": "v"},
    }
    assert tuned(harness, step=searching(more=more)).status_code == 201
    harness.settle()
    sweep = child(harness, "tune")
    assert sweep["samplingAlgorithm"] == {"samplingAlgorithmType": "Random", "seed": 3, "rule": "sobol", "logbase": "e"}
    assert sweep["earlyTermination"] == {"policyType": "Bandit", "slackFactor": 0.1, "evaluationInterval": 2}
    assert sweep["limits"] == {
        "jobLimitsType": "Sweep",
        "maxTotalTrials": 4,
        "maxConcurrentTrials": 2,
        "timeout": "PT600S",
        "trialTimeout": "PT30S",
    }
    assert sweep["queueSettings"] == {"jobTier": "spot", "priority": 3}
    assert sweep["searchSpace"] == {
        "lr": ["quniform", [-3, 1, 0.5]],
        "n": ["randint", [4]],
        "n_x": ["choice", [[{"a_b": ["choice", [[1, 2]]]}, {"c": "fixed"}]]],
    }
    assert (sweep["displayName"], sweep["tags"]["team"], sweep["properties"]["k_e"]) == ("Tuning", "a", "v")
    trial = harness.row(f"{JOBS}/{trials(harness)[0]}").properties
    assert trial["resources"] == {"instanceCount": 1, "shmSize": "1g", "instanceType": "Standard_D2_v2"}
    assert trial["limits"]["timeout"] == "PT30S" and trial["queueSettings"]["priority"] == 3


def test_fields_of_a_sweep_are_bound_to_inputs_of_the_pipeline(harness: Harness) -> None:
    trainer(harness)
    bound = {
        "search_space": {"lr": {"type": "uniform", "min_value": 0, "max_value": "${{parent.inputs.most}}"}},
        "limits": {"max_total_trials": "${{parent.inputs.total}}", "timeout": "${{parent.inputs.seconds}}"},
        "objective": {"goal": "maximize", "primary_metric": "${{parent.inputs.metric}}"},
        "sampling_algorithm": {"type": "random", "seed": "${{parent.inputs.total}}"},
    }
    given = {"raw": data(), "most": "0.5", "total": "1", "seconds": "60", "metric": METRIC}
    inputs = {
        name: {"jobInputType": "literal", "value": one} if isinstance(one, str) else one for name, one in given.items()
    }
    answer = tuned(harness, step=searching(more=bound, n="${{parent.inputs.total}}"), inputs=inputs)
    assert answer.status_code == 201, answer.text
    harness.settle()
    sweep = child(harness, "tune")
    assert sweep["searchSpace"]["lr"] == ["uniform", [0, 0.5]] and sweep["samplingAlgorithm"]["seed"] == 1
    assert sweep["limits"] == {"jobLimitsType": "Sweep", "maxTotalTrials": 1, "timeout": "PT60S"}
    assert sweep["objective"]["primaryMetric"] == METRIC and sweep["inputs"]["n"]["value"] == "1"
    assert len(end_trials(harness, 0.3)) == 1
    assert sweeps.properties(harness, job_of(harness, "tune"))["status"] == "Completed"


def test_a_sweep_in_a_nested_pipeline_takes_what_is_not_known_yet(harness: Harness) -> None:
    trainer(harness)
    component(harness, "say", outputs={"most": {"type": "number"}, "metric": {"type": "string"}}, inputs={})
    more = {
        "search_space": {"lr": {"type": "uniform", "min_value": 0, "max_value": "${{parent.inputs.most}}"}},
        "objective": {"goal": "maximize", "primary_metric": "${{parent.inputs.metric}}"},
        "early_termination": {"policy_type": "Bandit", "slack_amount": "${{parent.inputs.most}}"},
    }
    ports = {"raw": {"type": "uri_folder"}, "most": {"type": "number"}, "metric": {"type": "string"}}
    spec = {"inputs": ports, "outputs": {}, "jobs": {"tune": searching(more=more)}}
    component(harness, "inner", type="pipeline", **spec)
    said = {name: f"${{{{parent.jobs.say.outputs.{name}}}}}" for name in ("most", "metric")}
    jobs = {"say": node("azureml:say:1"), "in": node("azureml:inner:1", "pipeline", raw=IN, **said)}
    answer = submit(harness, jobs, inputs={"raw": data()})
    assert answer.status_code == 201, answer.text
    harness.settle()
    for output in harness.engine.tasks[running(harness)["say"]].outputs:
        text = {"most": "0.5", "metric": METRIC}[output.name]
        harness.blobs.write(output.target, text.encode())
    harness.engine.finish(running(harness)["say"], 0)
    look(harness)
    inner = harness.row(f"{JOBS}/{job_of(harness, 'in')}")
    sweep = child(harness, "tune", inner.name)
    assert sweep["searchSpace"]["lr"] == ["uniform", [0, 0.5]] and sweep["objective"]["primaryMetric"] == METRIC
    assert sweep["earlyTermination"]["slackAmount"] == 0.5


def test_the_same_sweep_again_runs_nothing(harness: Harness) -> None:
    trainer(harness)
    tuned(harness)
    best = end_trials(harness, 0.2, 0.1)[0]
    end(harness, "use")
    tuned(harness, "again")
    look(harness)
    sweep = child(harness, "tune", "again")
    assert status(harness, "again") == "Completed"
    assert sweep["properties"]["azureml.isreused"] == "true"
    assert sweep["properties"]["azureml.reusedrunid"] == job_of(harness, "tune")
    assert sweep["properties"]["best_child_run_id"] == best and sweep["properties"]["score"] == "0.2"
    assert sweep["outputs"]["made"]["uri"] == child(harness, "tune")["outputs"]["made"]["uri"]


@pytest.mark.parametrize(
    "more",
    [
        {"search_space": {**SPACE, "lr": {"type": "uniform", "min_value": 0.25, "max_value": 0.5}}},
        {"objective": {"goal": "minimize", "primary_metric": METRIC}},
        {"limits": {"max_total_trials": 3}},
        {"sampling_algorithm": {"type": "random", "seed": 5}},
        {"environment_variables": {"A": "b"}},
    ],
)
def test_another_sweep_runs(harness: Harness, more: dict[str, Any]) -> None:
    trainer(harness)
    tuned(harness)
    end_trials(harness, 0.2, 0.1)
    end(harness, "use")
    tuned(harness, "again", step=searching(more=more))
    look(harness)
    assert trials(harness, "again")


def test_cancel_reaches_the_trials(harness: Harness) -> None:
    trainer(harness)
    tuned(harness)
    harness.settle()
    names = trials(harness)
    assert len(names) == 2
    assert harness.send("POST", f"{JOBS}/pipe/cancel").status_code == 202
    sweeps.settle(harness)
    look(harness)
    assert [status(harness, name) for name in (*names, job_of(harness, "tune"), "pipe")] == ["Canceled"] * 4


def test_a_sweep_that_fails_fails_the_pipeline_and_is_named(harness: Harness) -> None:
    trainer(harness)
    tuned(harness)
    harness.settle()
    for trial in trials(harness):
        sweeps.end(harness, trial)
    look(harness)
    assert status(harness, "pipe") == "Failed" and child(harness, "use") is None
    message = harness.row(f"{JOBS}/pipe").status["error"]["message"]
    assert "'tune'" in message and METRIC in message


def test_an_output_of_the_best_trial_is_registered_once(harness: Harness) -> None:
    trainer(harness)
    named = {"made": {"job_output_type": "uri_folder", "name": "tuned", "version": "7"}}
    tuned(harness, step=searching(outputs=named))
    _, best = end_trials(harness, 0.1, 0.2)
    found = harness.get(f"{WORKSPACE}/data/tuned/versions").json()["value"]
    assert [one["name"] for one in found] == ["7"] and best in found[0]["properties"]["dataUri"]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"search_space": {"lr": {"type": "unifrm", "min_value": 0, "max_value": 1}}}, "searchSpace.lr", "Did you mean"),
    ({"search_space": {"lr": {"type": "uniform", "min_value": 1}}}, "searchSpace.lr.max_value", "no number"),
    ({"search_space": {"lr": {"type": "choice", "values": 3}}}, "searchSpace.lr.values", "at least one"),
    ({"search_space": {}}, "searchSpace", "at least one parameter"),
    ({"search_space": "x"}, "search_space", "no object"),
    ({"objective": {"goal": "maximize"}}, "objective.primaryMetric", ""),
    ({"sampling_algorithm": "guess"}, "samplingAlgorithm.samplingAlgorithmType", "'Guess' is not known"),
    ({"sampling_algorithm": "grid"}, "searchSpace.lr", "every combination"),
    ({"limits": {"max_total_trials": "many"}}, "limits.maxTotalTrials", ""),
    ({"limits": {"timeout": "soon"}}, "limits.timeout", "duration"),
    ({"early_termination": {"type": "bandit"}}, "earlyTermination.slackFactor", "slackAmount"),
    ({"trial": {"componentId": "azureml:trian:1"}}, "trial.componentId", "Did you mean 'train'"),
    ({"trial": {"componentId": "azureml:inner:1"}}, "type", "its component a pipeline"),
    ({"trial": "azureml:train:1"}, "trial.componentId", "missing"),
    ({"inputs": {}}, "inputs.data", "requires it"),
    ({"inputs": {"data": literal(IN), "rate": literal(3)}}, "inputs.rate", "no such input"),
    ({"computeId": "nowhere"}, "computeId", "nowhere"),
]


@pytest.mark.parametrize(("more", "target", "words"), WRONG)
def test_what_is_wrong_with_a_sweep_is_refused_with_its_field(
    harness: Harness, more: dict[str, Any], target: str, words: str
) -> None:
    trainer(harness)
    component(harness, "inner", type="pipeline", inputs={}, outputs={}, jobs={})
    answer = submit(harness, {"tune": searching(more=more)}, inputs={"raw": data()})
    error = answer.json()["error"]
    assert (answer.status_code, error["target"]) == (400, f"properties.jobs.tune.{target}"), error
    assert words in error["message"]


CHOICE, UNIFORM, RANDINT = "choice", "uniform", "randint"


@pytest.mark.parametrize(
    ("name", "distribution", "words"),
    [
        ("lr", {"type": CHOICE, "values": [0.1, "x"]}, "'x' is no number"),
        ("lr", {"type": CHOICE, "values": [True]}, "'True' is no number"),
        ("lr", {"type": UNIFORM, "min_value": 0, "max_value": 2}, "2 is beyond"),
        ("lr", {"type": "quniform", "min_value": -1, "max_value": 1, "q": 0.5}, "-1 is beyond"),
        ("n", {"type": RANDINT, "upper": 6}, "5 is beyond"),
        ("kind", {"type": CHOICE, "values": ["a", "z"]}, "'z' is none of: a, b"),
        ("kind", {"type": UNIFORM, "min_value": 0, "max_value": 1}, "is none of: a, b"),
        ("flag", {"type": CHOICE, "values": [3]}, "'3' is no boolean"),
    ],
)
def test_what_the_component_does_not_take_is_not_searched(
    harness: Harness, name: str, distribution: dict[str, Any], words: str
) -> None:
    ports = {
        "data": {"type": "uri_folder"}, "lr": {"type": "number", "min": "0", "max": "1", "default": "0"},
        "n": {"type": "integer", "max": 4, "default": "1"}, "kind": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "flag": {"type": "boolean", "default": "true"},
    }  # fmt: skip
    component(harness, "train", inputs=ports, command="python t.py")
    fine = {
        "lr": {"type": UNIFORM, "min_value": 0, "max_value": 1}, "n": {"type": RANDINT, "upper": 5},
        "kind": {"type": CHOICE, "values": ["b"]}, "flag": {"type": CHOICE, "values": [True, False]},
    }  # fmt: skip
    space = {"search_space": {**fine, name: distribution}}
    error = submit(harness, {"tune": searching(more=space)}, inputs={"raw": data()}).json()["error"]
    assert error["target"] == f"properties.jobs.tune.searchSpace.{name}" and words in error["message"], error
    space = {"search_space": {**fine, "kind": {"type": CHOICE, "values": ["${{parent.inputs.which}}"]}}}
    which = {"which": {"jobInputType": "literal", "value": "b"}}
    answer = submit(harness, {"tune": searching(more=space)}, inputs={"raw": data(), **which})
    assert answer.status_code == 201, answer.text
