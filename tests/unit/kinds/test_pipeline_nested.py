"""Pipelines as steps of pipelines: to any depth, with what is not known yet, and where they end."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

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
    say,
    says,
    submit,
)
from fakes.platform import WORKSPACE, Harness

IN = "${{parent.inputs.raw}}"
RAW: Any = {"inputs": {"raw": data()}}


def nested(harness: Harness, **properties: Any) -> Any:
    part = component(harness, "part")
    jobs = {
        "one": node(part, data="${{parent.inputs.start}}", rate="${{parent.inputs.rate}}"),
        "two": node(part, data="${{parent.jobs.one.outputs.made}}", outputs={"made": "${{parent.outputs.end}}"}),
    }
    inner = component(
        harness,
        "inner",
        type="pipeline",
        jobs=jobs,
        inputs={"start": {"type": "uri_folder"}, "rate": {"type": "number", "default": "0.7"}},
        outputs={"end": {"type": "uri_folder"}},
    )
    middle = component(
        harness,
        "middle",
        type="pipeline",
        inputs={},
        outputs={"made": {"type": "uri_folder"}},
        jobs={
            "deep": node(
                inner, type="pipeline", start="${{parent.inputs.start}}", outputs={"end": "${{parent.outputs.made}}"}
            )
        },
    )
    jobs = {
        "first": node(part, data=IN),
        "below": node(middle, type="pipeline", start="${{parent.jobs.first.outputs.made}}"),
        "after": node(part, data="${{parent.jobs.below.outputs.made}}"),
    }
    return submit(harness, jobs, **{**RAW, **properties})


def test_pipelines_are_steps_to_any_depth(harness: Harness) -> None:
    answer = nested(harness)
    assert answer.status_code == 201, answer.text
    assert run_to_the_end(harness) == ["first", "one", "two", "after"]
    assert status(harness, "pipe") == "Completed"
    below = job_of(harness, "below")
    deep = job_of(harness, "deep", below)
    assert child(harness, "one", deep)["inputs"]["rate"]["value"] == "0.7"
    made = child(harness, "two", deep)["outputs"]["made"]["uri"]
    assert child(harness, "after")["inputs"]["data"]["uri"] == made
    assert child(harness, "below")["outputs"]["made"]["uri"] == made
    assert harness.row(f"{JOBS}/{deep}").spec["smalt"]["root"] == "pipe"


def test_a_failure_below_is_the_pipelines(harness: Harness) -> None:
    nested(harness)
    end(harness, "first")
    end(harness, "one", exit_code=4)
    for _ in range(4):
        look(harness)
    message = harness.row(f"{JOBS}/pipe").status["error"]["message"]
    assert (
        status(harness, "pipe") == "Failed" and "'below'" in message and "'one'" in message and "exit code 4" in message
    )


def test_cancel_reaches_the_whole_tree(harness: Harness) -> None:
    nested(harness)
    end(harness, "first")
    harness.send("POST", f"{JOBS}/pipe/cancel")
    for _ in range(6):
        look(harness)
    deep = job_of(harness, "deep", job_of(harness, "below"))
    assert status(harness, "pipe") == "Canceled" and child(harness, "one", deep)["status"] == "Canceled"
    assert not running(harness)


def test_a_pipeline_component_is_a_job_by_itself(harness: Harness) -> None:
    nested(harness)
    properties = {"jobType": "Pipeline", "componentId": f"{WORKSPACE}/components/inner/versions/1"}
    answer = harness.put(f"{JOBS}/alone", {"properties": {**properties, "inputs": {"start": data()}}})
    assert answer.status_code == 201, answer.text
    for inputs, words in (
        ({}, "properties.inputs.start is missing"),
        ({"start": data(), "rate": {"jobInputType": "literal", "value": "x"}}, "number"),
    ):
        error = harness.put(f"{JOBS}/bad", {"properties": {**properties, "inputs": inputs}}).json()["error"]
        assert words in error["message"], error
    error = harness.put(f"{JOBS}/bad", {"properties": {**properties, "componentId": "azureml:part:1"}}).json()["error"]
    assert error["target"] == "properties.componentId"


def test_what_is_wrong_below_is_refused_above(harness: Harness) -> None:
    nested(harness)
    component(
        harness,
        "inner",
        "2",
        type="pipeline",
        inputs={},
        outputs={},
        jobs={"one": node("azureml:part:1", data="${{parent.inputs.start}}", more={"computeId": "nowhere"})},
    )
    error = submit(harness, {"below": node("azureml:inner:2", type="pipeline", start=IN)}, "other", **RAW).json()[
        "error"
    ]
    assert error["target"] == "properties.jobs.below.jobs.one.computeId" and "nowhere" in error["message"]


def test_a_pipeline_that_is_a_step_of_itself_is_refused(harness: Harness) -> None:
    name = "azureml:self@latest"
    component(harness, "self", type="pipeline", jobs={"again": node(name, type="pipeline")}, inputs={}, outputs={})
    error = submit(harness, {"self": node(name, type="pipeline")}).json()["error"]
    assert "nested without end" in error["message"], error


def test_what_is_latest_below_is_what_it_was_when_the_outermost_was_taken(harness: Harness) -> None:
    versions = f"{WORKSPACE}/data/churn/versions"
    harness.put(f"{versions}/1", {"properties": {"dataUri": FOLDER, "dataType": "uri_folder"}})
    component(harness, "part")
    churn = {"uri": "azureml:churn@latest", "job_input_type": "uri_folder"}
    jobs = {"deep": node("azureml:part@latest", data=churn)}
    component(harness, "inner", type="pipeline", inputs={}, outputs={}, jobs=jobs)
    middle = {"inner": node("azureml:inner", type="pipeline")}
    component(harness, "middle", type="pipeline", inputs={"raw": {"type": "uri_folder"}}, outputs={}, jobs=middle)
    top = {
        "first": node("azureml:part:1", data=IN, rate="3"),
        "below": node("azureml:middle@latest", "pipeline", raw="${{parent.jobs.first.outputs.made}}"),
    }
    assert submit(harness, top, **RAW).status_code == 201
    harness.put(f"{versions}/2", {"properties": {"dataUri": FOLDER + "2/", "dataType": "uri_folder"}})
    component(harness, "part", "2", command="python other.py")
    component(harness, "inner", "2", type="pipeline", inputs={}, outputs={}, jobs={**jobs, "more": jobs["deep"]})
    end(harness, "first")
    inner = job_of(harness, "inner", job_of(harness, "below"))
    deep = child(harness, "deep", inner)
    assert deep["command"] == "python step.py" and deep["inputs"]["data"]["uri"] == f"{versions}/1"
    assert child(harness, "more", inner) is None


def unknown_below(harness: Harness) -> str:
    """A pipeline that is ruled by values, below another that passes them on."""
    part, ports = component(harness, "part"), {"raw": {"type": "uri_folder"}}
    kinds = ("kind", "flag", "items", "nodes")
    values = {**ports, **{name: {"type": "string"} for name in kinds}}
    chosen = component(
        harness,
        "chosen",
        inputs={**ports, "kind": {"type": "string", "enum": ["a", "b"]}, "name": {"type": "string", "enum": ["x-a"]}},
    )
    jobs = {
        "chosen": node(
            chosen,
            raw=IN,
            kind="${{parent.inputs.kind}}",
            name="x-${{parent.inputs.kind}}",
            more={"resources": {"instance_count": "${{parent.inputs.nodes}}"}},
        ),
        "body": node(part, data=IN),
        "each": {"type": "parallel_for", "body": "${{parent.jobs.body}}", "items": "${{parent.inputs.items}}"},
        "yes": node(part, data=IN, rate="0.9"),
        "fork": {"type": "if_else", "condition": "${{parent.inputs.flag}}", "true_block": "${{parent.jobs.yes}}"},
    }
    inner = component(harness, "inner", type="pipeline", jobs=jobs, inputs=values, outputs={})
    passed = {name: f"${{{{parent.inputs.{name}}}}}" for name in values}
    return component(
        harness,
        "middle",
        type="pipeline",
        jobs={"deep": node(inner, type="pipeline", **passed)},
        inputs=values,
        outputs={},
    )


def test_values_that_are_not_known_yet_pass_whatever_they_are_for(harness: Harness) -> None:
    kinds = ("kind", "flag", "items", "nodes")
    ask = says(harness, **dict.fromkeys(kinds, "string"))
    given = {name: f"${{{{parent.jobs.ask.outputs.{name}}}}}" for name in kinds}
    jobs = {"ask": node(ask), "below": node(unknown_below(harness), type="pipeline", raw=IN, **given)}
    answer = submit(harness, jobs, **RAW)
    assert answer.status_code == 201, answer.text
    say(harness, "ask", kind="a", flag="true", items='[{"rate": 1}, {"rate": 2}]', nodes=1)
    look(harness)
    assert set(running(harness)) == {"chosen", "body_0", "body_1", "yes"}
    run_to_the_end(harness)
    assert status(harness, "pipe") == "Completed"


@pytest.mark.parametrize(("name", "value"), [("kind", "z"), ("flag", "perhaps"), ("items", "[]"), ("nodes", "none")])
def test_values_that_are_known_are_checked_at_any_depth(harness: Harness, name: str, value: str) -> None:
    given = {"kind": "a", "flag": "true", "items": '[{"rate": 1}]', "nodes": "1"}
    top = {"top": node(unknown_below(harness), type="pipeline", raw=IN, **given)}
    assert submit(harness, top, "good", **RAW).status_code == 201
    top = {"top": node("azureml:middle:1", type="pipeline", raw=IN, **{**given, name: value})}
    error = submit(harness, top, **RAW).json()["error"]
    assert error["target"].startswith("properties.jobs.top.jobs.deep."), error
    marked = {"jobInputType": "literal", "value": value, "rehearsed": True}
    inputs = {key: {"jobInputType": "literal", "value": one} for key, one in given.items()}
    properties = {
        "jobType": "Pipeline",
        "componentId": "azureml:middle:1",
        "inputs": {**inputs, "raw": data(), name: marked},
    }
    assert harness.put(f"{JOBS}/marked", {"properties": properties}).status_code == 400


def test_pipelines_that_double_at_each_level_are_refused_soon(harness: Harness) -> None:
    part, ports = component(harness, "part"), {"data": {"type": "uri_folder"}, "rate": {"type": "number"}}
    below, kind = part, "command"
    for depth in range(12):
        jobs = {
            name: node(below, type=kind, data="${{parent.inputs.data}}", rate=rate)
            for name, rate in (("a", "${{parent.inputs.rate}}"), ("b", str(depth + 2)))
        }
        name = f"level{depth}"
        below, kind = component(harness, name, type="pipeline", jobs=jobs, inputs=ports, outputs={}), "pipeline"
    looked: list[str] = []

    def seen(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        looked.append(statement)

    event.listen(harness.database._engine, "before_cursor_execute", seen)  # pyright: ignore[reportPrivateUsage]
    answer = submit(harness, {"top": node(below, type="pipeline", data=IN, rate="1")}, **RAW)
    error = answer.json()["error"]
    assert answer.status_code == 400 and "more than 1000 steps" in error["message"], error
    assert error["target"].startswith("properties.jobs.top.jobs."), error
    assert len(error["message"]) < 1000 and len(looked) < 30_000, len(looked)


def test_a_pipeline_has_at_most_a_thousand_steps(harness: Harness) -> None:
    part = component(harness, "part")
    jobs = {f"s{number}": node(part, data=IN) for number in range(1001)}
    error = submit(harness, jobs, **RAW).json()["error"]
    assert error["target"] == "properties.jobs" and "more than 1000 steps" in error["message"], error
    del jobs["s0"]
    assert submit(harness, jobs, **RAW).status_code == 201
