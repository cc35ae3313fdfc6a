"""Pipelines of command steps: what runs when, with which inputs, where outputs are, and how the pipeline ends."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.examples import DATA_URI
from fakes.jobs import JOBS, status
from fakes.pipelines import (
    FOLDER,
    child,
    component,
    data,
    end,
    job_of,
    look,
    node,
    run_to_the_end,
    running,
    submit,
)
from fakes.platform import WORKSPACE, Harness

IN = "${{parent.inputs.raw}}"


def of(step: str, output: str = "made") -> str:
    return f"${{{{parent.jobs.{step}.outputs.{output}}}}}"


def diamond(harness: Harness, **properties: Any) -> Any:
    """prepare → left, right → join."""
    part, both = component(harness, "part"), {"one": {"type": "uri_folder"}, "two": {"type": "uri_folder"}}
    join = component(harness, "join", inputs=both)
    jobs = {
        "join": node(join, one=of("left"), two=of("right"), outputs={"made": "${{parent.outputs.result}}"}),
        "left": node(part, data=of("prepare"), rate="0.5"),
        "right": node(part, data=of("prepare")),
        "prepare": node(part, data=IN, rate="${{parent.inputs.rate}}"),
    }
    given = {"raw": data(), "rate": {"jobInputType": "literal", "value": "0.2"}}
    outputs = {"result": {"jobOutputType": "uri_folder", "mode": "Upload"}}
    return submit(harness, jobs, **{"inputs": given, "outputs": outputs, **properties})


def test_steps_run_when_what_they_need_is_made(harness: Harness) -> None:
    answer = diamond(harness)
    assert answer.status_code == 201, answer.text
    harness.settle()
    assert set(running(harness)) == {"prepare"}
    end(harness, "prepare")
    assert set(running(harness)) == {"left", "right"}
    end(harness, "left")
    assert set(running(harness)) == {"right"}
    end(harness, "right")
    end(harness, "join")
    assert status(harness, "pipe") == "Completed"
    assert len(harness.engine.starts) == 4


def test_inputs_outputs_and_literals_reach_the_steps(harness: Harness) -> None:
    diamond(harness)
    run_to_the_end(harness)
    prepare, left, join = (child(harness, step) for step in ("prepare", "left", "join"))
    assert prepare["inputs"]["data"]["uri"] == FOLDER and prepare["inputs"]["rate"]["value"] == "0.2"
    assert left["inputs"]["data"]["uri"] == prepare["outputs"]["made"]["uri"]
    assert left["inputs"]["rate"]["value"] == "0.5"
    assert child(harness, "right")["inputs"]["rate"]["value"] == "0.1", "the component's default"
    assert join["outputs"]["made"]["mode"] == "Upload"
    shown = harness.get(f"{JOBS}/pipe").json()["properties"]
    assert shown["outputs"]["result"]["uri"] == join["outputs"]["made"]["uri"]
    assert set(shown["jobs"]) == {"prepare", "left", "right", "join"}


def test_lists_show_the_pipeline_and_its_run_has_the_steps_runs_below(harness: Harness) -> None:
    diamond(harness)
    run_to_the_end(harness)
    assert [one["name"] for one in harness.get(JOBS).json()["value"]] == ["pipe"]
    tags = harness.tracking.runs[WORKSPACE.lower(), job_of(harness, "left")]["tags"]
    assert tags["mlflow.parentRunId"] == "pipe"
    task = harness.row(f"{JOBS}/{job_of(harness, 'left')}")
    assert task.properties["displayName"] == "left"


def test_a_failed_step_fails_the_pipeline_cancels_the_others_and_is_named(harness: Harness) -> None:
    diamond(harness)
    end(harness, "prepare")
    end(harness, "left", exit_code=3)
    look(harness)
    assert status(harness, "pipe") == "Failed"
    message = harness.row(f"{JOBS}/pipe").status["error"]["message"]
    assert "'left'" in message and "exit code 3" in message and job_of(harness, "left") in message
    assert child(harness, "right")["status"] == "Canceled" and child(harness, "join") is None
    steps = {one["name"]: one["status"] for one in harness.get(f"{JOBS}/pipe/steps").json()["value"]}
    assert steps == {"prepare": "Completed", "left": "Failed", "right": "Canceled", "join": "Skipped"}


def test_going_on_after_a_failure_runs_all_that_does_not_need_it(harness: Harness) -> None:
    diamond(harness, settings={"continue_on_step_failure": True})
    end(harness, "prepare")
    end(harness, "left", exit_code=3)
    assert status(harness, "pipe") == "Running"
    end(harness, "right")
    assert status(harness, "pipe") == "Failed"
    assert child(harness, "right")["status"] == "Completed" and child(harness, "join") is None


@pytest.mark.parametrize("without", [True, False])
def test_an_optional_input_that_failed_is_left_out_if_the_settings_allow_it(harness: Harness, without: bool) -> None:
    part = component(harness, "part")
    ports = {"data": {"type": "uri_folder", "optional": True}}
    last = component(harness, "last", inputs=ports, command="python $[[--data ${{inputs.data}}]]")
    jobs = {"first": node(part, data=IN), "last": node(last, data=of("first"))}
    settings = {"continue_on_step_failure": True, "continue_run_on_failed_optional_input": without}
    assert submit(harness, jobs, inputs={"raw": data()}, settings=settings).status_code == 201
    end(harness, "first", exit_code=1)
    if without:
        assert child(harness, "last")["inputs"] == {}
        end(harness, "last")
    assert status(harness, "pipe") == "Failed"
    assert (child(harness, "last") is None) is not without


def test_cancel_ends_the_steps(harness: Harness) -> None:
    diamond(harness)
    end(harness, "prepare")
    assert harness.send("POST", f"{JOBS}/pipe/cancel").status_code == 202
    look(harness)
    assert status(harness, "pipe") == "Canceled"
    assert {child(harness, step)["status"] for step in ("left", "right")} == {"Canceled"}


def test_named_outputs_become_data_and_models(harness: Harness) -> None:
    train = component(harness, "train", outputs={"model": {"type": "mlflow_model"}, "data": {"type": "uri_folder"}})
    bound = {
        "model": "${{parent.outputs.best}}",
        "data": {"job_output_type": "uri_folder", "name": "kept", "version": "7"},
    }
    outputs = {"best": {"jobOutputType": "mlflow_model", "assetName": "churn"}}
    answer = submit(harness, {"train": node(train, data=IN, outputs=bound)}, inputs={"raw": data()}, outputs=outputs)
    assert answer.status_code == 201, answer.text
    run_to_the_end(harness)
    model = harness.get(f"{WORKSPACE}/models/churn/versions/1").json()["properties"]
    made = child(harness, "train")["outputs"]
    assert model["modelUri"] == made["model"]["uri"] and model["jobName"] == "pipe"
    assert harness.get(f"{WORKSPACE}/data/kept/versions/7").json()["properties"]["dataUri"] == made["data"]["uri"]


def test_settings_of_the_pipeline_and_of_its_steps(harness: Harness) -> None:
    harness.put(
        f"{WORKSPACE}/datastores/lake",
        {
            "properties": {
                "datastoreType": "AzureBlob",
                "accountName": harness.row(WORKSPACE).status["account"],
                "containerName": "lake",
            }
        },
    )
    part = component(harness, "part", resources={"instance_count": 1, "shm_size": "3g"})
    more = {
        "environment_variables": {"LEVEL": "${{parent.inputs.level}}"},
        "limits": {"timeout": "PT5M", "job_limits_type": "Command"},
        "resources": {"instance_count": 2},
        "distribution": {"distribution_type": "PyTorch", "process_count_per_instance": "2"},
        "computeId": "local",
        "queue_settings": {"job_tier": "Spot", "priority": 1},
        "display_name": "First of all",
    }
    place = {"job_output_type": "uri_folder", "uri": "azureml://datastores/${{ default_datastore }}/paths/x/${{name}}/"}
    jobs = {
        "one": node(part, data=IN, more=more, outputs={"made": place}),
        "two": node(part, data=of("one"), outputs={"made": "${{parent.outputs.last}}"}),
    }
    settings = {
        "default_datastore": f"{WORKSPACE}/datastores/lake",
        "default_compute": f"{WORKSPACE}/computes/serverless",
    }
    outputs = {
        "last": {"jobOutputType": "uri_folder", "uri": "azureml://datastores/lake/paths/${{name}}/${{output_name}}/"}
    }
    given = {"raw": data(), "level": {"jobInputType": "literal", "value": "9"}}
    answer = submit(harness, jobs, inputs=given, settings=settings, outputs=outputs)
    assert answer.status_code == 201, answer.text
    harness.settle()
    one = child(harness, "one")
    assert one["environmentVariables"] == {"LEVEL": "9"} and one["limits"]["timeout"] == "PT5M"
    assert one["resources"] == {"instanceCount": 2, "shmSize": "3g"}
    ranks = [len(task.ranks) for task in harness.engine.tasks.values()]
    assert ranks == [2, 2], "a component's counts are text"
    assert one["distribution"]["distributionType"] == "PyTorch" and one["queueSettings"]["jobTier"] == "Spot"
    assert one["computeId"] == "local" and one["displayName"] == "First of all"
    assert one["outputs"]["made"]["uri"] == f"azureml://datastores/lake/paths/x/{job_of(harness, 'one')}/"
    for task in [name for name, state in harness.engine.states.items() if state.outcome is None]:
        harness.engine.finish(task, 0)
    look(harness)
    two = child(harness, "two")
    assert two["computeId"].endswith("serverless")
    assert two["outputs"]["made"]["uri"] == "azureml://datastores/lake/paths/pipe/last/"


def test_assets_are_pinned_when_the_pipeline_is_taken(harness: Harness) -> None:
    versions = f"{WORKSPACE}/data/churn/versions"
    harness.put(f"{versions}/1", {"properties": {"dataUri": DATA_URI, "dataType": "uri_file"}})
    component(harness, "part", "1")
    jobs = {
        "one": node("azureml:part@latest", data=IN),
        "two": node("azureml:part:1", data={"uri": "azureml:churn@latest", "job_input_type": "uri_file"}, rate="3"),
    }
    assert submit(harness, jobs, inputs={"raw": data("azureml:churn@latest", "uri_file")}).status_code == 201
    harness.put(f"{versions}/2", {"properties": {"dataUri": DATA_URI + "2", "dataType": "uri_file"}})
    component(harness, "part", "2", command="python other.py")
    harness.settle()
    assert {child(harness, step)["inputs"]["data"]["uri"] for step in ("one", "two")} == {f"{versions}/1"}
    assert child(harness, "one")["command"] == "python step.py"


def test_the_log_says_what_happens(harness: Harness) -> None:
    diamond(harness)
    run_to_the_end(harness)
    account = harness.row(WORKSPACE).status["account"]
    text = harness.blobs.read(account, "azureml", "ExperimentRun/dcid.pipe/logs/azureml/executionlogs.txt", 1 << 20)
    assert text is not None
    lines = text.decode().splitlines()
    assert [line.split("Z] ")[1].split(":")[0] for line in lines[:3]] == [
        "Step 'prepare' is submitted",
        "Step 'prepare' is Completed",
        "Step 'left' is submitted",
    ]
    assert lines[-1].endswith("The pipeline ends: Completed.") and len(lines) == 9


def test_a_pass_that_is_killed_before_its_apply_submits_nothing_twice(harness: Harness) -> None:
    """Each claim is stepped twice, and the first result is lost."""
    diamond(harness)
    from smalt.kinds.jobs.model import TYPES

    for _ in range(30):
        rows = harness.loop.claim(dict.fromkeys(harness.loop._lanes, 100))  # pyright: ignore[reportPrivateUsage]
        for row in rows:
            if row.kind == "workspaces/jobs" and row.name == "pipe" and not row.deleting:
                TYPES["Pipeline"].step(harness.platform, row)
            harness.loop.step(row)
        for name, state in list(harness.engine.states.items()):
            if state.outcome is None:
                harness.engine.finish(name, 0)
        harness.clock.pass_(0.5)
    assert status(harness, "pipe") == "Completed"
    assert len(harness.engine.starts) == len(set(harness.engine.starts)) == 4
    account = harness.row(WORKSPACE).status["account"]
    text = harness.blobs.read(account, "azureml", "ExperimentRun/dcid.pipe/logs/azureml/executionlogs.txt", 1 << 20)
    assert text is not None and len(text.decode().splitlines()) == 9


def test_many_steps_are_submitted_in_pieces(harness: Harness) -> None:
    part = component(harness, "part")
    jobs = {f"s{number}": node(part, data=IN, rate=str(number)) for number in range(60)}
    assert submit(harness, jobs, inputs={"raw": data()}).status_code == 201
    order = run_to_the_end(harness)
    assert len(order) == 60 and status(harness, "pipe") == "Completed"


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"jobs": {}}, "properties.jobs", "at least one step"),
    ({"jobs": {"a": node("azureml:part:1", data=of("b")), "b": node("azureml:part:1", data=of("a"))}}, "properties.jobs", "'a' → 'b'"),
    ({"jobs": {"a": node("azureml:part:1", data=of("c"))}}, "properties.jobs.a.inputs.data", "no step 'c'"),
    ({"jobs": {"a": node("azureml:part:1", data=of("b", "mode")), "b": node("azureml:part:1", data=IN)}}, "properties.jobs.a.inputs.data", "no output 'mode'"),
    ({"jobs": {"a": node("azureml:part:1", data="${{parent.inputs.rawx}}")}}, "properties.jobs.a.inputs.data", "Did you mean 'raw'"),
    ({"jobs": {"a": node("azureml:part:1")}}, "properties.jobs.a.inputs.data", "missing"),
    ({"jobs": {"a": node("azureml:part:1", data=IN, rate="many")}}, "properties.jobs.a.inputs.rate", "number"),
    ({"jobs": {"a": node("azureml:part:1", data="7")}}, "properties.jobs.a.inputs.data", "files"),
    ({"jobs": {"a": node("azureml:part:1", data=IN, rate=IN)}}, "properties.jobs.a.inputs.rate", "no files"),
    ({"jobs": {"a": node("azureml:part:1", data=IN, speed="7")}}, "properties.jobs.a.inputs.speed", "no such input"),
    ({"jobs": {"a": node("azureml:part:1", data=IN, rate=of("b")), "b": node("azureml:part:1", data=IN)}}, "properties.jobs.a.inputs.rate", "takes a value"),
    ({"jobs": {"a": node("azureml:prat:1", data=IN)}}, "properties.jobs.a.componentId", "Did you mean 'part'"),
    ({"jobs": {"a": node("azureml:part:9", data=IN)}}, "properties.jobs.a.componentId", "no version '9'"),
    ({"jobs": {"a": {"type": "command"}}}, "properties.jobs.a.componentId", "missing"),
    *(
        ({"jobs": {"a": {**node("azureml:part:1", data=IN), key: value}}}, f"properties.jobs.a.{key}", "no object")
        for key, value in (("resources", "x"), ("environment_variables", "x"), ("outputs", "x"), ("inputs", ["x"]))
    ),
    ({"jobs": {"a": node("azureml:part:1", type="spark", data=IN)}}, "properties.jobs.a.type", "spark"),
    ({"jobs": {"a": node("azureml:part:1", type="pipeline", data=IN)}}, "properties.jobs.a.type", "its component a command"),
    ({"jobs": {"a": node("azureml:part:1", data=IN, outputs={"made": "${{parent.outputs.gone}}"})}}, "properties.jobs.a.outputs.made", "no output 'gone'"),
    ({"jobs": {"a": node("azureml:part:1", data=IN, more={"computeId": "nowhere"})}}, "properties.jobs.a.computeId", "nowhere"),
    ({"jobs": {"a": node("azureml:part:1", data=IN)}, "settings": {"default_compute": "nowhere"}}, "properties.settings.default_compute", "nowhere"),
    ({"jobs": {"a": node("azureml:part:1", data=IN)}, "settings": {"default_datastore": "nowhere"}}, "properties.settings.default_datastore", "nowhere"),
    ({"jobs": {"a": node("azureml:part:1", data=IN)}, "settings": {"force_rerun": "perhaps"}}, "properties.settings.force_rerun", "perhaps"),
    ({"jobs": {"a": node("azureml:part:1", data=IN, more={"queue_settings": {"priority": "9" * 5000}})}}, "properties.jobs.a.queueSettings.priority", ""),
    ({"jobs": {"a": node("azureml:part:1", data={"uri": "azureml:nothing:1", "job_input_type": "uri_folder"})}}, "properties.jobs.a.inputs.data.uri", "nothing"),
    ({"jobs": {"a": node("azureml:part:1", data=IN, more={"limits": {"timeout": "soon"}})}}, "properties.jobs.a.limits.timeout", "soon"),
    ({"jobs": {"a": node("azureml:lost:1", data=IN)}}, "properties.jobs.a.environmentId", "nosuch"),
    ({"jobs": {"a": node("azureml:part:1", data="${{parent.nothing.x}}")}}, "properties.jobs.a.inputs.data", "leads to nothing"),
    ({"jobs": {"a": "part"}}, "properties.jobs.a", ""),
    (
        {"jobs": {name: node("azureml:part:1", data=IN, outputs={"made": "${{parent.outputs.o}}"}) for name in "ab"},
         "outputs": {"o": {"jobOutputType": "uri_folder"}}},
        "properties.jobs.b.outputs.made", "step 'a'",
    ),
    ({"jobs": [1]}, "properties.jobs", ""),
]  # fmt: skip


@pytest.mark.parametrize(("properties", "target", "words"), WRONG)
def test_what_can_be_known_to_be_wrong_is_refused_before_anything_runs(
    harness: Harness, properties: dict[str, Any], target: str, words: str
) -> None:
    component(harness, "part")
    component(harness, "lost", environment="azureml:nosuch:1")
    answer = submit(harness, **{"inputs": {"raw": data()}, **properties})
    error = answer.json()["error"]
    assert (answer.status_code, error["target"]) == (400, target), error
    assert words in error["message"] and target.split(".")[-1] in error["message"]
    assert harness.get(f"{JOBS}/pipe").status_code == 404


def test_all_that_is_wrong_is_said_together(harness: Harness) -> None:
    component(harness, "part")
    jobs = {"a": node("azureml:part:1", rate="x"), "b": node("azureml:part:1", data=of("nobody"))}
    error = submit(harness, jobs).json()["error"]
    assert len(error["details"]) == 3


def test_it_is_submitted_again_as_it_is_and_not_as_another(harness: Harness) -> None:
    diamond(harness)
    assert diamond(harness).status_code == 200
    assert diamond(harness, settings={"force_rerun": True}).status_code == 409


def test_a_step_whose_component_goes_is_not_missed(harness: Harness) -> None:
    diamond(harness)
    harness.send("DELETE", f"{WORKSPACE}/components/join/versions/1")
    run_to_the_end(harness)
    assert status(harness, "pipe") == "Completed"
