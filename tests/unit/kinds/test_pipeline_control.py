"""Control flow and nesting: if_else, do_while, parallel_for, pipelines as steps."""

from __future__ import annotations

import json
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
    leave,
    look,
    node,
    run_to_the_end,
    running,
    submit,
)
from fakes.platform import WORKSPACE, Harness

IN = "${{parent.inputs.raw}}"
RAW: Any = {"inputs": {"raw": data()}}


def says(harness: Harness, name: str = "says", **outputs: str) -> str:
    """A component whose outputs are values of these types."""
    inputs = {"count": {"type": "integer", "default": "0"}}
    return component(harness, name, inputs=inputs, outputs={key: {"type": type_} for key, type_ in outputs.items()})


def say(harness: Harness, step: str, **values: Any) -> None:
    """The running step ends, having written these values."""
    harness.settle()
    task = running(harness)[step]
    for output in harness.engine.tasks[task].outputs:
        if output.name in values:
            leave(harness, output, f"{values[output.name]}\n")
    harness.engine.finish(task, 0)
    look(harness)


def branching(harness: Harness, condition: Any, **more: Any) -> Any:
    part, ask = component(harness, "part"), says(harness, flag="boolean")
    jobs = {
        "ask": node(ask),
        "yes": node(part, data=IN),
        "no": node(part, data=IN),
        "after": node(part, data="${{parent.jobs.yes.outputs.made}}"),
        "fork": {"type": "if_else", "condition": condition, "true_block": "${{parent.jobs.yes}}",
                 "false_block": ["${{parent.jobs.no}}"], **more},
    }  # fmt: skip
    return submit(harness, jobs, **RAW)


@pytest.mark.parametrize(("said", "ran"), [("True", {"ask", "yes", "after"}), ("false", {"ask", "no"})])
def test_a_condition_decides_what_runs(harness: Harness, said: str, ran: set[str]) -> None:
    answer = branching(harness, "${{parent.jobs.ask.outputs.flag}}")
    assert answer.status_code == 201, answer.text
    harness.settle()
    assert set(running(harness)) == {"ask"}
    say(harness, "ask", flag=said)
    run_to_the_end(harness)
    assert status(harness, "pipe") == "Completed"
    assert {step for step in ("ask", "yes", "no", "after") if child(harness, step)} == ran


def test_a_condition_that_is_neither_true_nor_false_fails_the_pipeline(harness: Harness) -> None:
    branching(harness, "${{parent.jobs.ask.outputs.flag}}")
    say(harness, "ask", flag="perhaps")
    look(harness)
    row = harness.row(f"{JOBS}/pipe")
    assert row.state == "Failed" and "perhaps" in row.status["error"]["message"]
    assert "'fork'" in row.status["error"]["message"]


def test_a_condition_may_be_a_value(harness: Harness) -> None:
    assert branching(harness, "true").status_code == 201
    order = run_to_the_end(harness)
    assert "yes" in order and "no" not in order


def test_a_named_output_of_a_step_that_is_skipped_becomes_nothing(harness: Harness) -> None:
    part = component(harness, "part")
    jobs = {
        "yes": node(part, data=IN, outputs={"made": "${{parent.outputs.m}}"}),
        "no": node(part, data=IN),
        "fork": {"type": "if_else", "condition": "false", "true_block": "${{parent.jobs.yes}}",
                 "false_block": "${{parent.jobs.no}}"},
    }  # fmt: skip
    outputs = {"m": {"jobOutputType": "uri_folder", "assetName": "asset"}}
    assert submit(harness, jobs, **RAW, outputs=outputs).status_code == 201
    assert run_to_the_end(harness) == ["no"]
    assert status(harness, "pipe") == "Completed"
    assert harness.get(f"{WORKSPACE}/data/asset/versions/1").status_code == 404


def loop(harness: Harness, most: int = 5) -> Any:
    count = says(harness, more="boolean", count="integer")
    jobs = {
        "count": node(count, count=1),
        "again": {"type": "do_while", "body": "${{parent.jobs.count}}", "condition": "more",
                  "mapping": {"${{parent.jobs.count.outputs.count}}": ["count"]}, "limits": {"max_iteration_count": most}},
        "last": node(count, count="${{parent.jobs.count.outputs.count}}"),
    }  # fmt: skip
    return submit(harness, jobs)


def test_a_loop_goes_on_while_its_condition_says_so(harness: Harness) -> None:
    answer = loop(harness)
    assert answer.status_code == 201, answer.text
    for turn, more in enumerate(("true", "true", "false")):
        harness.settle()
        assert child(harness, "count", turn=turn)["inputs"]["count"]["value"] == str(turn + 1)
        assert set(running(harness)) == {f"count_{turn}"}
        say(harness, f"count_{turn}", more=more, count=turn + 2)
    assert child(harness, "last")["inputs"]["count"]["value"] == "4"
    say(harness, "last")
    assert status(harness, "pipe") == "Completed"


def test_a_loop_ends_at_its_limit_and_when_a_round_fails(harness: Harness) -> None:
    loop(harness, most=2)
    for turn in (0, 1):
        say(harness, f"count_{turn}", more="true", count=7)
    say(harness, "last")
    assert status(harness, "pipe") == "Completed"
    loop_two = harness.get(f"{JOBS}/pipe").json()
    assert loop_two["properties"]["jobs"]["again"]["type"] == "do_while"
    harness.send("DELETE", f"{JOBS}/pipe")
    for _ in range(3):
        harness.settle()
        harness.clock.pass_(31.0)
    loop(harness)
    end(harness, "count_0", exit_code=2)
    look(harness)
    assert status(harness, "pipe") == "Failed" and child(harness, "last") is None


def rounds(harness: Harness, items: Any, **more: Any) -> Any:
    part = component(harness, "part", outputs={"made": {"type": "uri_folder"}, "score": {"type": "number"}})
    both = component(harness, "both", inputs={"all": {"type": "mltable"}, "scores": {"type": "string"}})
    jobs = {
        "body": node(part, data=IN),
        "each": {"type": "parallel_for", "body": "${{parent.jobs.body}}", "items": items,
                 "outputs": {"made": {"value": "${{parent.outputs.all}}", "type": "literal"}}, **more},
        "both": node(both, all="${{parent.jobs.each.outputs.made}}", scores="${{parent.jobs.each.outputs.score}}"),
    }  # fmt: skip
    return submit(harness, jobs, **RAW, outputs={"all": {"jobOutputType": "mltable"}})


def test_rounds_run_side_by_side_and_their_outputs_are_gathered(harness: Harness) -> None:
    items = [
        {"rate": "0.1"},
        {"rate": 0.2, "data": {"uri": FOLDER + "x/", "job_input_type": "uri_folder"}},
        {"rate": 0.3},
    ]
    answer = rounds(harness, json.dumps(items), max_concurrency=2)
    assert answer.status_code == 201, answer.text
    harness.settle()
    assert set(running(harness)) == {"body_0", "body_1"}
    for turn in (1, 0, 2):
        say(harness, f"body_{turn}", made="x", score=turn / 10)
    assert [child(harness, "body", turn=turn)["inputs"]["rate"]["value"] for turn in range(3)] == ["0.1", "0.2", "0.3"]
    assert child(harness, "body", turn=1)["inputs"]["data"]["uri"] == FOLDER + "x/"
    inputs = child(harness, "both")["inputs"]
    assert json.loads(inputs["scores"]["value"]) == ["0.0", "0.1", "0.2"] and inputs["all"]["jobInputType"] == "mltable"
    path = inputs["all"]["uri"].split("/paths/")[1]
    home = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
    text = harness.blobs.read(
        harness.row(WORKSPACE).status["account"], home["containerName"], path + "MLTable", 1 << 20
    )
    assert text is not None and text.decode().count("folder:") == 3 and job_of(harness, "body", turn=2) in text.decode()
    run_to_the_end(harness)
    assert status(harness, "pipe") == "Completed"
    assert harness.get(f"{JOBS}/pipe").json()["properties"]["outputs"]["all"]["uri"] == inputs["all"]["uri"]


def test_the_items_may_be_what_a_step_said(harness: Harness) -> None:
    part, plan = component(harness, "part"), says(harness, items="string")
    jobs = {
        "plan": node(plan),
        "body": node(part, data=IN),
        "each": {
            "type": "parallel_for",
            "body": "${{parent.jobs.body}}",
            "items": "${{parent.jobs.plan.outputs.items}}",
        },
    }
    answer = submit(harness, jobs, **RAW)
    assert answer.status_code == 201, answer.text
    say(harness, "plan", items='{"a": {"rate": 1}, "b": {"rate": 2}}')
    assert set(running(harness)) == {"body_0", "body_1"}
    end(harness, "body_0", "body_1")
    assert status(harness, "pipe") == "Completed"


def test_items_are_those_of_a_loops_last_round(harness: Harness) -> None:
    outputs = {"items": {"type": "string"}, "more": {"type": "boolean"}}
    plan = component(harness, "plan", inputs={}, outputs=outputs, is_deterministic=False)
    part = component(harness, "part")
    jobs = {
        "plan": node(plan),
        "again": {"type": "do_while", "body": "${{parent.jobs.plan}}", "condition": "more", "mapping": {},
                  "limits": {"max_iteration_count": 5}},
        "body": node(part, data=IN),
        "each": {"type": "parallel_for", "body": "${{parent.jobs.body}}",
                 "items": "${{parent.jobs.plan.outputs.items}}"},
    }  # fmt: skip
    answer = submit(harness, jobs, **RAW)
    assert answer.status_code == 201, answer.text
    say(harness, "plan_0", items='[{"rate": 1}]', more="true")
    say(harness, "plan_1", items='[{"rate": 2}, {"rate": 3}]', more="false")
    assert set(running(harness)) == {"body_0", "body_1"}
    assert [child(harness, "body", turn=turn)["inputs"]["rate"]["value"] for turn in range(2)] == ["2", "3"]


def nested(harness: Harness, **properties: Any) -> Any:
    part = component(harness, "part")
    jobs = {
        "one": node(part, data="${{parent.inputs.start}}", rate="${{parent.inputs.rate}}"),
        "two": node(part, data="${{parent.jobs.one.outputs.made}}", outputs={"made": "${{parent.outputs.end}}"}),
    }
    inner = component(
        harness, "inner", type="pipeline", jobs=jobs, inputs={"start": {"type": "uri_folder"}, "rate": {"type": "number", "default": "0.7"}},
        outputs={"end": {"type": "uri_folder"}},
    )  # fmt: skip
    middle = component(
        harness, "middle", type="pipeline", inputs={}, outputs={"made": {"type": "uri_folder"}},
        jobs={"deep": node(inner, type="pipeline", start="${{parent.inputs.start}}", outputs={"end": "${{parent.outputs.made}}"})},
    )  # fmt: skip
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


def unknown_below(harness: Harness) -> str:
    """A pipeline that is ruled by values, below another that passes them on."""
    part, ports = component(harness, "part"), {"raw": {"type": "uri_folder"}}
    kinds = ("kind", "flag", "items", "nodes")
    values = {**ports, **{name: {"type": "string"} for name in kinds}}
    chosen = component(
        harness, "chosen", inputs={**ports, "kind": {"type": "string", "enum": ["a", "b"]}, "name": {"type": "string", "enum": ["x-a"]}}
    )  # fmt: skip
    jobs = {
        "chosen": node(chosen, raw=IN, kind="${{parent.inputs.kind}}", name="x-${{parent.inputs.kind}}",
                       more={"resources": {"instance_count": "${{parent.inputs.nodes}}"}}),
        "body": node(part, data=IN),
        "each": {"type": "parallel_for", "body": "${{parent.jobs.body}}", "items": "${{parent.inputs.items}}"},
        "yes": node(part, data=IN, rate="0.9"),
        "fork": {"type": "if_else", "condition": "${{parent.inputs.flag}}", "true_block": "${{parent.jobs.yes}}"},
    }  # fmt: skip
    inner = component(harness, "inner", type="pipeline", jobs=jobs, inputs=values, outputs={})
    passed = {name: f"${{{{parent.inputs.{name}}}}}" for name in values}
    return component(
        harness, "middle", type="pipeline", jobs={"deep": node(inner, type="pipeline", **passed)}, inputs=values, outputs={}
    )  # fmt: skip


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


CONTROL: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "if_else", "condition": "maybe", "true_block": "${{parent.jobs.a}}"}, "condition", "neither true nor false"),
    ({"type": "if_else", "condition": "true"}, "", "neither true_block nor false_block"),
    ({"type": "if_else", "condition": "true", "true_block": "${{parent.jobs.z}}"}, "true_block", "no step 'z'"),
    ({"type": "if_else", "condition": "${{parent.jobs.a.outputs.z}}", "true_block": "${{parent.jobs.b}}"}, "condition", "no output 'z'"),
    ({"type": "do_while", "body": "${{parent.jobs.a}}", "condition": "z", "limits": {"max_iteration_count": 2}}, "condition", "no output 'z'"),
    ({"type": "do_while", "body": "${{parent.jobs.a}}", "limits": {"max_iteration_count": 2000}}, "limits.max_iteration_count", "2000"),
    ({"type": "do_while", "body": "a"}, "body", "name a step"),
    ({"type": "do_while", "body": "${{parent.jobs.a}}", "mapping": {"z": "data"}}, "mapping", "no output 'z'"),
    ({"type": "parallel_for", "body": "${{parent.jobs.a}}", "items": "[}"}, "items", "no JSON"),
    ({"type": "parallel_for", "body": "${{parent.jobs.a}}", "items": "[]"}, "items", "at least one"),
    ({"type": "parallel_for", "body": "${{parent.jobs.a}}", "items": [{"zz": 1}]}, "items", "no input 'zz'"),
    ({"type": "parallel_for", "body": "${{parent.jobs.a}}", "items": [{"rate": "x"}]}, "items.rate", "number"),
    ({"type": "parallel_for", "body": "${{parent.jobs.a}}", "items": "[" * 20_000}, "items", "nested"),
    ({"type": "parallel_for", "body": "${{parent.jobs.a}}", "items": '[{"rate": ' + "[" * 300 + "]" * 300 + "}]"}, "items", "nested"),
    ({"type": "parallel_for", "body": "${{parent.jobs.a}}", "items": [{"rate": 1}], "max_concurrency": -1}, "max_concurrency", "'-1'"),
    ({"type": "parallel_for", "body": "${{parent.jobs.a}}", "items": [{"rate": 1}], "max_concurrency": "abc"}, "max_concurrency", "'abc'"),
    ({"type": "parallel_for", "body": "${{parent.jobs.a}}", "items": [{"rate": 1}], "outputs": "x"}, "outputs", "no object"),
]  # fmt: skip


@pytest.mark.parametrize(("control", "target", "words"), CONTROL)
def test_what_is_wrong_with_control_flow_is_refused(
    harness: Harness, control: dict[str, Any], target: str, words: str
) -> None:
    part = component(harness, "part")
    jobs = {"a": node(part, data=IN), "b": node(part, data=IN), "rule": control}
    answer = submit(harness, jobs, **RAW)
    error = answer.json()["error"]
    assert answer.status_code == 400 and words in error["message"], error
    assert error["target"] == ".".join(filter(None, ["properties.jobs.rule", target]))
