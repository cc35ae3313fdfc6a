"""Parallel jobs as steps of pipelines: what they become, what is refused, and what happens when a node is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes.examples import CURATED
from fakes.jobs import JOBS, cluster, status
from fakes.pipelines import FOLDER, child, component, data, end, job_of, node, run_to_the_end, running, submit
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Ref, TaskSpec
from smalt.arm.ids import ResourceId
from smalt.arm.ports import Isolation
from smalt.kinds.assets import references

CODE, PATHS = f"{WORKSPACE}/codes/count/versions/1", "azureml://datastores/workspaceblobstore/paths"
IN = "${{parent.inputs.raw}}"
TASK: dict[str, Any] = {
    "type": "run_function", "code": f"azureml:{CODE}", "entry_script": "count.py", "environment": CURATED,
    "program_arguments": "--limit ${{inputs.limit}} --error_threshold 5", "append_row_to": "${{outputs.rows}}",
}  # fmt: skip
SPEC: dict[str, Any] = {
    "type": "parallel", "input_data": "${{inputs.files}}", "mini_batch_size": "5", "max_concurrency_per_instance": 3,
    "retry_settings": {"max_retries": 4, "timeout": 60}, "mini_batch_error_threshold": 7, "logging_level": "DEBUG",
    "resources": {"instance_count": 2}, "error_threshold": -1,
    "inputs": {"files": {"type": "uri_folder"}, "limit": {"type": "integer", "default": "3"}},
    "outputs": {"rows": {"type": "uri_file"}},
}  # fmt: skip


def store(harness: Harness, path: str, text: str = "x") -> None:
    with harness.database.read() as connection:
        home = ResourceId.parse(WORKSPACE)
        place = references.locate(harness.platform, connection, home, f"{PATHS}/{path}", "x")
    harness.blobs.write(place.ref(folder=False), text.encode())


def counter(harness: Harness, task: Any = None, **more: Any) -> None:
    """The component `count`, with its code."""
    store(harness, "code/count.py")
    harness.put(CODE, {"properties": {"codeUri": f"{PATHS}/code/"}})
    component(harness, "count", command=None, environment=None, **{**SPEC, **more, "task": {**TASK, **(task or {})}})


def counting(more: Any = None, outputs: Any = None, **inputs: Any) -> Any:
    return node("azureml:count:1", "parallel", outputs, more, **{"files": IN, **inputs})


def run(
    harness: Harness, more: Any = None, name: str = "pipe", of: Any = None, outputs: Any = None, **inputs: Any
) -> Any:
    return submit(harness, {"count": counting(more, outputs, **inputs)}, name, inputs={"raw": of or data()})


def task_of(harness: Harness, rank: int = 0) -> TaskSpec:
    harness.settle()
    (found,) = [one for one in harness.engine.tasks.values() if one.parallel and one.name.endswith(f"-n{rank}")]
    return found


def test_a_step_becomes_tasks_with_the_driver_and_the_next_step_gets_its_rows(harness: Harness) -> None:
    counter(harness)
    component(harness, "part", inputs={"data": {"type": "uri_file"}})
    use = node("azureml:part:1", data="${{parent.jobs.count.outputs.rows}}")
    answer = submit(
        harness, {"count": counting(), "use": use}, inputs={"raw": data()}, computeId=cluster(harness, most=2)
    )
    assert answer.status_code == 201, answer.text
    first, second = task_of(harness), task_of(harness, 1)
    assert first.parallel and second.parallel
    assert (first.parallel.script, first.parallel.input, first.parallel.append_to) == ("count.py", "files", "rows")
    assert first.parallel.arguments == TASK["program_arguments"]
    said = dict(first.parallel.settings)
    assert {**said, "rank": 1} == second.parallel.settings and len(said.pop("secret")) > 30
    assert said.pop("meet").startswith("127.0.0.1:")
    assert said == {
        "size": 5,
        "retries": 4,
        "timeout_s": 60.0,
        "item_errors": -1,
        "batch_errors": 7,
        "level": "DEBUG",
        "slots": 3,
        "rank": 0,
        "nodes": 2,
    }
    assert TaskSpec.from_json(first.to_json()) == first
    job = child(harness, "count")
    assert (job["jobType"], job["command"]) == ("Command", f"count.py {TASK['program_arguments']}")
    for task in [name for name, one in harness.engine.tasks.items() if one.parallel]:
        for output in harness.engine.tasks[task].outputs:
            harness.blobs.write(output.target, b"rows")
        harness.engine.finish(task)
    assert run_to_the_end(harness) == ["use"] and status(harness, "pipe") == "Completed"


def test_what_a_step_says_goes_before_its_component_and_may_be_bound(harness: Harness) -> None:
    counter(harness)
    more = {
        "mini_batch_size": "${{parent.inputs.size}}",
        "retry_settings": {"max_retries": 0},
        "max_concurrency_per_instance": 1,
        "resources": {"instance_count": 1},
        "logging_level": "warning",
        "environment_variables": {"A": "b"},
        "task": {**TASK, "program_arguments": "--limit 9"},
    }
    inputs = {"raw": data(), "size": {"jobInputType": "literal", "value": "10kb"}}
    assert submit(harness, {"count": counting(more)}, inputs=inputs).status_code == 201
    task = task_of(harness)
    assert task.parallel and task.parallel.arguments == "--limit 9" and task.variables["A"] == "b"
    said = task.parallel.settings
    assert (said["size"], said["retries"], said["timeout_s"], said["slots"]) == (10240, 0, 60.0, 1)
    assert (said["level"], said["nodes"], "secret" in said) == ("WARNING", 1, False)


def test_the_input_that_is_split_is_files_on_the_node_whatever_its_mode(harness: Harness) -> None:
    counter(harness)
    direct = {**IN_LITERAL, "mode": "Direct"}
    assert run(harness, files=direct).status_code == 201
    (files,) = [one for one in task_of(harness).inputs if one.name == "files"]
    assert files.mode == "ro_mount"


IN_LITERAL = {"value": IN, "job_input_type": "literal"}


def test_without_a_number_of_processes_there_is_one_for_each_processor(harness: Harness) -> None:
    counter(harness, max_concurrency_per_instance=None, resources={"instance_count": 1})
    harness.engine.fit(cpus=3)
    run(harness)
    parallel = task_of(harness).parallel
    assert parallel and parallel.settings["slots"] == 3


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        ({"mini_batch_size": "many"}, "mini_batch_size", "integer"),
        ({"max_concurrency_per_instance": "two"}, "max_concurrency_per_instance", "integer"),
        ({"error_threshold": -2}, "error_threshold", "-1"),
        ({"mini_batch_error_threshold": -2}, "mini_batch_error_threshold", "-1"),
        ({"logging_level": "LOUD"}, "logging_level", "'LOUD'"),
        ({"input_data": "${{inputs.none}}"}, "input_data", "no input 'none'"),
        ({"input_data": "${{inputs.limit}}"}, "input_data", "is a literal"),
        ({"partition_keys": '["Store"]'}, "partition_keys", "mltable"),
        ({"partition_keys": 3}, "partition_keys", "no list"),
        ({"retry_settings": 3}, "retry_settings", "no object"),
        ({"retry_settings": {"timeout": 0}}, "retry_settings.timeout", "greater than 0"),
        ({"retry_settings": {"max_retries": -1}}, "retry_settings.max_retries", "or equal to 0"),
        ({"task": {**TASK, "entry_script": "gone.py"}}, "task.entry_script", "'gone.py'"),
        ({"task": {**TASK, "entry_script": "../count.py"}}, "task.entry_script", "below"),
        ({"task": {**TASK, "append_row_to": "${{outputs.none}}"}}, "task.append_row_to", "no output 'none'"),
        ({"task": {**TASK, "program_arguments": "${{inputs.none}}"}}, "task.program_arguments", "'none'"),
        ({"task": {**TASK, "program_arguments": "--error_threshold few"}}, "task.program_arguments", "'few'"),
        ({"task": {**TASK, "program_arguments": "--allowed_failed_percent 101"}}, "task.program_arguments", "100"),
        ({"task": {**TASK, "type": "function"}}, "task.type", "run_function"),
        ({"task": {**TASK, "type": "model"}}, "task.model", "missing"),
        ({"task": {**TASK, "model": "${{inputs.none}}"}}, "task.model", "no input 'none'"),
        ({"task": {**TASK, "program_arguments": "--append_row_file_name ../x"}}, "task.program_arguments", "'../x'"),
        ({"task": {**TASK, "environment": "azureml:none:1"}}, "task.environment", "none"),
        ({"resources": {"instance_count": 0}}, "resources.instanceCount", "1"),
    ],
)
def test_what_is_wrong_is_refused_with_its_field(harness: Harness, more: Any, field: str, said: str) -> None:
    counter(harness)
    answer = run(harness, more)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["target"].startswith(f"properties.jobs.count.{field}"), error
    assert said in error["message"] and field in error["message"], error


def test_the_script_may_lie_at_the_top_of_a_container_of_its_own(harness: Harness) -> None:
    """Where `startPendingUpload` of a code puts it."""
    counter(harness)
    own = f"{WORKSPACE}/codes/own/versions/1"
    upload = harness.send("POST", f"{own}/startPendingUpload", {}).json()["blobReferenceForConsumption"]
    harness.put(own, {"properties": {"codeUri": upload["blobUri"]}})
    account, container = upload["blobUri"].split("/")[-2].partition(".")[0], upload["blobUri"].rpartition("/")[2]
    harness.blobs.write(Ref(account, container, "count.py"), b"x")
    answer = run(harness, {"task": {**TASK, "code": f"azureml:{own}"}})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in ("retry_settings", "task") for value in ("abc", 3, ["a"])]
    + [("partition_keys", value) for value in ("3", 3, {"a": "b"})],
)
def test_a_component_that_says_what_is_none_is_refused_with_its_field(harness: Harness, key: str, value: Any) -> None:
    counter(harness)
    spec = {**SPEC, "task": TASK, key: value}
    component(harness, "odd", command=None, environment=None, **spec)
    one = node("azureml:odd:1", "parallel", files=IN)
    answer = submit(harness, {"count": one}, inputs={"raw": data()})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["target"].startswith(f"properties.jobs.count.{key}"), answer.text


@pytest.mark.parametrize("value", ["abc", 3, ["a"]])
@pytest.mark.parametrize("type_", ["parallel", "command"])
def test_no_component_whatever_it_says_is_an_error_of_the_server(harness: Harness, type_: str, value: Any) -> None:
    counter(harness)
    spec: dict[str, Any] = {**SPEC, "task": TASK, "type": type_, "command": "true", "environment": CURATED}
    for key in (*spec, "resources", "environment_variables", "distribution", "code"):
        if key not in ("type", "inputs", "outputs"):
            name = f"odd-{key.replace('_', '-')}"
            url = f"{WORKSPACE}/components/{name}/versions/1"
            taken = harness.put(url, {"properties": {"componentSpec": {**spec, key: value}}})
            assert taken.status_code in (201, 400), (key, taken.text)
            one = node(f"azureml:{name}:1", type_, files=IN)
            answer = submit(harness, {"count": one}, f"pipe-{name}", inputs={"raw": data()})
            assert answer.status_code in (201, 400), (key, answer.text)


def test_nodes_that_cannot_reach_each_other_are_refused(harness: Harness) -> None:
    counter(harness)
    harness.engine.isolated = Isolation("network")
    error = run(harness).json()["error"]
    assert error["target"] == "properties.jobs.count.resources.instanceCount"
    assert "2 nodes" in error["message"] and "isolation 'network'" in error["message"]
    assert run(harness, {"resources": {"instance_count": 1}}).status_code == 201


def test_a_platform_that_begins_to_keep_nodes_apart_fails_what_it_has_taken(harness: Harness) -> None:
    counter(harness)
    assert run(harness).status_code == 201
    harness.engine.isolated = Isolation("network")
    run_to_the_end(harness)
    assert status(harness, "pipe") == "Failed"
    assert "isolation 'network'" in harness.row(f"{JOBS}/pipe").status["error"]["message"]


def lost(harness: Harness, exit_code: int | None = None) -> None:
    """The first node goes away, and the other one is stopped."""
    harness.settle()
    first = next(name for name, one in harness.engine.tasks.items() if one.parallel and name.endswith("-n0"))
    harness.engine.lose(first) if exit_code is None else harness.engine.finish(first, exit_code)
    harness.settle()


def test_a_job_that_loses_a_node_goes_on_in_another_attempt(harness: Harness) -> None:
    counter(harness)
    assert run(harness).status_code == 201
    secret = task_of(harness).parallel
    for attempt in range(1, 4):
        assert sorted(name.rsplit("-", 2)[1] for name in harness.engine.tasks) == [f"a{attempt}"] * 2
        lost(harness)
    again = task_of(harness).parallel
    assert secret and again and secret.settings["secret"] == again.settings["secret"]
    for task in list(harness.engine.tasks):
        harness.engine.finish(task)
    run_to_the_end(harness)
    assert status(harness, "pipe") == "Completed"


def test_a_job_that_fails_by_itself_is_not_tried_again(harness: Harness) -> None:
    counter(harness)
    run(harness)
    lost(harness, exit_code=1)
    run_to_the_end(harness)
    assert status(harness, "pipe") == "Failed"


def test_what_was_done_is_removed_at_the_end_and_logs_are_copied_where_that_is_asked(harness: Harness) -> None:
    counter(harness, task={"program_arguments": "--copy_logs_to_parent True"}, resources={"instance_count": 1})
    run(harness)
    artifacts = task_of(harness).artifacts
    assert artifacts
    harness.blobs.write(artifacts.below("logs/azureml/mini_batches/000000.records"), b"records")
    harness.blobs.write(artifacts.below("logs/job_result.txt"), b"Completed\n")
    end(harness, "count")
    assert not harness.blobs.exists(artifacts.account, artifacts.container, artifacts.below("logs/azureml").name)
    above = artifacts._replace(name=artifacts.name.replace(job_of(harness, "count"), "pipe"))
    copied = above.below(f"logs/azureml/{job_of(harness, 'count')}/job_result.txt")
    assert harness.blobs.read(*copied, 100) == b"Completed\n"


@pytest.mark.parametrize(
    "other",
    [
        {"mini_batch_size": "6"},
        {"error_threshold": 0},
        {"mini_batch_error_threshold": 0},
        {"retry_settings": {"max_retries": 0}},
        {"retry_settings": {"timeout": 61}},
    ],
)
def test_a_step_that_was_done_is_reused_unless_something_else_could_come_of_it(harness: Harness, other: Any) -> None:
    counter(harness, resources={"instance_count": 1})
    store(harness, "raw/a.txt")
    run(harness)
    end(harness, "count")
    run(harness, {"max_concurrency_per_instance": 1, "logging_level": "INFO"}, name="again")
    harness.settle()
    assert child(harness, "count", "again")["properties"]["azureml.isreused"] == "true"
    run(harness, other, name="other")
    harness.settle()
    assert list(running(harness)) == ["count"]


TABLE = """
paths:
  - pattern: ./**/*.csv
  - folder: azureml://datastores/workspaceblobstore/paths/more/
transformations:
  - read_delimited: {delimiter: ",", encoding: ascii, header: all_files_same_headers}
  - extract_columns_from_partition_format: {partition_format: "{Store}/{Brand}/{file_name}.{extension}"}
  - drop_columns: [file_name, extension]
"""


def tabular(harness: Harness, text: str, **more: Any) -> Any:
    if text:
        store(harness, "raw/MLTable", text)
    counter(harness, inputs={**SPEC["inputs"], "files": {"type": "mltable"}}, **more)
    return run(harness, of=data(FOLDER, "mltable"))


def test_a_table_is_read_when_the_job_starts(harness: Harness) -> None:
    assert tabular(harness, TABLE, partition_keys=json.dumps(["Store", "Brand"])).status_code == 201
    task = task_of(harness)
    assert task.parallel and task.parallel.table == {
        "paths": [
            {"kind": "pattern", "at": "**/*.csv", "input": "files"},
            {"kind": "folder", "at": "", "input": "files.0"},
        ],
        "reader": {"kind": "delimited", "delimiter": ",", "encoding": "ascii", "header": "all_files_same_headers"},
        "format": "{Store}/{Brand}/{file_name}.{extension}",
        "steps": [
            ["extract_columns_from_partition_format", "{Store}/{Brand}/{file_name}.{extension}"],
            ["drop_columns", ["file_name", "extension"]],
        ],
    }
    assert task.parallel.settings["keys"] == ["Store", "Brand"]
    (more,) = [one for one in task.inputs if one.name == "files.0"]
    assert more.source and more.source.name == "more/" and more.mode == "ro_mount"


# Two to the power of 30 words, where somebody writes them out.
LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{at}: &a{at} [*a{at - 1}, *a{at - 1}]\n" for at in range(1, 30))
LAUGHS += "paths: [*a29]"


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("", {}, "no file MLTable"),
        ("paths: [", {}, "no YAML"),
        ("- a", {}, "no object"),
        (LAUGHS, {}, "aliases"),
        ("paths: [{file: x}] #" + "x" * (128 << 10), {}, "larger than 128 kB"),
        ("paths: [{file: 2020-13-45}]", {}, "no YAML"),
        (f"paths: [0x{'f' * 9000}]", {}, "no YAML"),
        ("paths: [{file: x}]\n2020-01-01: y", {}, "no YAML"),
        ("paths: []", {}, "no paths"),
        ("paths: [{url: x}]", {}, "none of file, folder, pattern"),
        ("paths: [{file: ../x}]", {}, "leads out"),
        ("paths: [{folder: 'https://example.com/x/'}]", {}, "elsewhere"),
        ("paths: [{file: x}]\ntransformations: [{take: 5}]", {}, "'take'"),
        ("paths: [{file: x}]\ntransformations: [{read_delimited: {header: maybe}}]", {}, "'maybe'"),
        ("paths: [{file: x}]\ntransformations: [{read_delimited: {encoding: klingon}}]", {}, "'klingon'"),
        ("paths: [{file: x}]", {"partition_keys": '["Store"]'}, "partition_keys"),
        (TABLE, {"partition_keys": '["Region"]'}, "'Region'"),
    ],
)
def test_a_table_that_cannot_be_read_fails_the_job_in_words(harness: Harness, text: str, more: Any, said: str) -> None:
    assert tabular(harness, text, **more).status_code == 201
    run_to_the_end(harness)
    assert status(harness, "pipe") == "Failed"
    error = harness.row(f"{JOBS}/pipe").status["error"]["message"]
    assert "Input 'files'" in error and said in error, error
