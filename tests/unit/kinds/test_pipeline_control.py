"""Control flow: if_else, do_while, parallel_for."""

from __future__ import annotations

import json
from typing import Any

import pytest

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


def branching(harness: Harness, condition: Any, **more: Any) -> Any:
    part, ask = component(harness, "part"), says(harness, flag="boolean")
    jobs = {
        "ask": node(ask),
        "yes": node(part, data=IN),
        "no": node(part, data=IN),
        "after": node(part, data="${{parent.jobs.yes.outputs.made}}"),
        "fork": {
            "type": "if_else",
            "condition": condition,
            "true_block": "${{parent.jobs.yes}}",
            "false_block": ["${{parent.jobs.no}}"],
            **more,
        },
    }
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
        "fork": {
            "type": "if_else",
            "condition": "false",
            "true_block": "${{parent.jobs.yes}}",
            "false_block": "${{parent.jobs.no}}",
        },
    }
    outputs = {"m": {"jobOutputType": "uri_folder", "assetName": "asset"}}
    assert submit(harness, jobs, **RAW, outputs=outputs).status_code == 201
    assert run_to_the_end(harness) == ["no"]
    assert status(harness, "pipe") == "Completed"
    assert harness.get(f"{WORKSPACE}/data/asset/versions/1").status_code == 404


def loop(harness: Harness, most: int = 5) -> Any:
    count = says(harness, more="boolean", count="integer")
    jobs = {
        "count": node(count, count=1),
        "again": {
            "type": "do_while",
            "body": "${{parent.jobs.count}}",
            "condition": "more",
            "mapping": {"${{parent.jobs.count.outputs.count}}": ["count"]},
            "limits": {"max_iteration_count": most},
        },
        "last": node(count, count="${{parent.jobs.count.outputs.count}}"),
    }
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
        "each": {
            "type": "parallel_for",
            "body": "${{parent.jobs.body}}",
            "items": items,
            "outputs": {"made": {"value": "${{parent.outputs.all}}", "type": "literal"}},
            **more,
        },
        "both": node(both, all="${{parent.jobs.each.outputs.made}}", scores="${{parent.jobs.each.outputs.score}}"),
    }
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
        "again": {
            "type": "do_while",
            "body": "${{parent.jobs.plan}}",
            "condition": "more",
            "mapping": {},
            "limits": {"max_iteration_count": 5},
        },
        "body": node(part, data=IN),
        "each": {
            "type": "parallel_for",
            "body": "${{parent.jobs.body}}",
            "items": "${{parent.jobs.plan.outputs.items}}",
        },
    }
    answer = submit(harness, jobs, **RAW)
    assert answer.status_code == 201, answer.text
    say(harness, "plan_0", items='[{"rate": 1}]', more="true")
    say(harness, "plan_1", items='[{"rate": 2}, {"rate": 3}]', more="false")
    assert set(running(harness)) == {"body_0", "body_1"}
    assert [child(harness, "body", turn=turn)["inputs"]["rate"]["value"] for turn in range(2)] == ["2", "3"]


def test_a_value_may_be_said_as_mldesigner_names_it_in_place_of_a_file(harness: Harness) -> None:
    plan, part = says(harness, items="string", more="boolean"), component(harness, "part")
    jobs = {
        "plan": node(plan),
        "body": node(part, data=IN),
        "each": {
            "type": "parallel_for",
            "body": "${{parent.jobs.body}}",
            "items": "${{parent.jobs.plan.outputs.items}}",
        },
    }
    assert submit(harness, jobs, **RAW).status_code == 201
    harness.settle()
    url = f"{JOBS}/{job_of(harness, 'plan')}"
    said = {"azureml.pipeline.control": json.dumps({"items": '[{"rate": 1}, {"rate": 2}]'})}
    job = harness.get(url).json()
    job["properties"]["tags"] = said
    assert harness.put(url, job).status_code == 200
    say(harness, "plan")
    assert set(running(harness)) == {"body_0", "body_1"}


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
    ({"type": "parallel_for", "body": "${{parent.jobs.c}}", "items": [{"data": {"uri": FOLDER, "job_input_type": "uri_folder"}}, {"rate": 1}]}, "items", "round 1 has no 'data'"),
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
    if "jobs.c" in str(control):
        jobs["c"] = node(part)
    answer = submit(harness, jobs, **RAW)
    error = answer.json()["error"]
    assert answer.status_code == 400 and words in error["message"], error
    assert error["target"] == ".".join(filter(None, ["properties.jobs.rule", target]))
