"""A job once more: what is to be submitted for it, and what of that from which it was made is another thing by now."""

from __future__ import annotations

from typing import Any

from fakes import sweeps
from fakes.jobs import JOBS, run, status, submit
from fakes.pipelines import child, component, data, job_of, node, run_to_the_end
from fakes.pipelines import submit as submit_pipeline
from fakes.platform import WORKSPACE, Harness

STORE = "azureml://datastores/workspaceblobstore/paths"
IN = "${{parent.inputs.raw}}"
NOTHING: dict[str, list[str]] = {"added": [], "removed": [], "changed": []}


def write(harness: Harness, name: str, text: str = "1\n") -> None:
    store = harness.get(f"{WORKSPACE}/datastores/workspaceblobstore").json()["properties"]
    path = harness.blobs.path(store["accountName"].rpartition("/")[2], store["containerName"], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def again(harness: Harness, job: str) -> Any:
    answer = harness.get(f"{JOBS}/{job}/again")
    assert answer.status_code == 200, answer.text
    return answer.json()


def once_more(harness: Harness, job: str, name: str) -> None:
    answer = harness.put(f"{JOBS}/{name}?again={job}", {"properties": again(harness, job)["properties"]})
    assert answer.status_code == 201, answer.text


def chain(harness: Harness, name: str = "pipe", **properties: Any) -> Any:
    """first → below/(one → two): what they read from outside are `raw`, and in `two` a folder of its own."""
    write(harness, "raw/a.csv")
    write(harness, "own/b.csv")
    component(harness, "part")
    own = {"uri": f"{STORE}/own/", "job_input_type": "uri_folder"}
    inner = {
        "one": node(
            "azureml:part@latest", data="${{parent.inputs.start}}", outputs={"made": "${{parent.outputs.end}}"}
        ),
        "two": node("azureml:part@latest", data=own),
    }
    component(
        harness, "inner", type="pipeline", jobs=inner, inputs={"start": {"type": "uri_folder"}},
        outputs={"end": {"type": "uri_folder"}},
    )  # fmt: skip
    jobs = {
        "first": node("azureml:part@latest", data=IN),
        "below": node("azureml:inner@latest", type="pipeline", start="${{parent.jobs.first.outputs.made}}"),
        "after": node("azureml:part@latest", data="${{parent.jobs.below.outputs.end}}"),
    }
    return submit_pipeline(harness, jobs, name, inputs={"raw": data()}, **properties)


def test_a_pipeline_is_the_same_once_more_whatever_is_latest_by_then(harness: Harness) -> None:
    assert chain(harness).status_code == 201
    assert run_to_the_end(harness) == ["first", "one", "two", "after"] and status(harness, "pipe") == "Completed"
    component(harness, "part", "2", command="python other.py")
    component(harness, "inner", "2", type="pipeline", jobs={}, inputs={}, outputs={})
    found = again(harness, "pipe")
    assert found["changes"] == []
    assert found["properties"]["properties"]["smalt.rerun_of"] == "pipe"
    found["properties"]["settings"] = {"force_rerun": True}
    assert harness.put(f"{JOBS}/more?again=pipe", {"properties": found["properties"]}).status_code == 201
    assert run_to_the_end(harness) == ["first", "one", "two", "after"] and status(harness, "more") == "Completed"
    below = job_of(harness, "below", "more")
    assert child(harness, "one", below)["command"] == child(harness, "first", "more")["command"] == "python step.py"
    assert (
        child(harness, "first", "more")["outputs"]["made"]["uri"] != child(harness, "first")["outputs"]["made"]["uri"]
    )
    assert submit_pipeline(
        harness, {"a": node("azureml:part@latest", data=IN)}, "new", inputs={"raw": data()}
    ).is_success
    harness.settle()
    assert child(harness, "a", "new")["command"] == "python other.py"


def test_what_steps_read_from_outside_is_compared_and_what_they_made_is_not(harness: Harness) -> None:
    chain(harness)
    run_to_the_end(harness)
    write(harness, "raw/a.csv", "1,2\n")
    write(harness, "own/new.csv")
    made = child(harness, "first")["outputs"]["made"]["uri"].partition("/paths/")[2]
    write(harness, f"{made}another.txt")
    first, below = job_of(harness, "first"), job_of(harness, "two", job_of(harness, "below"))
    changes = {one["step"]: one for one in again(harness, "pipe")["changes"]}
    assert changes == {
        "first": {"step": "first", "job": first, "input": "data", **NOTHING, "changed": ["a.csv"]},
        "below/two": {"step": "below/two", "job": below, "input": "data", **NOTHING, "added": ["new.csv"]},
    }


def test_of_reused_steps_the_job_that_did_the_work_says_what_it_read(harness: Harness) -> None:
    chain(harness)
    run_to_the_end(harness)
    once_more(harness, "pipe", "more")
    assert run_to_the_end(harness) == [] and status(harness, "more") == "Completed"
    assert again(harness, "more")["changes"] == []
    write(harness, "raw/a.csv", "1,2\n")
    assert [one["step"] for one in again(harness, "more")["changes"]] == ["first"]
    first = job_of(harness, "first")
    reused = job_of(harness, "first", "more")
    assert not [key for key in again(harness, reused)["properties"]["properties"] if "reused" in key]
    harness.send("DELETE", f"{JOBS}/pipe")
    harness.settle()
    assert harness.get(f"{JOBS}/{first}").status_code == 404
    assert {"step": "first", "job": reused, "input": "data", "unknown": True} in again(harness, "more")["changes"]


def test_steps_that_never_ran_have_read_nothing(harness: Harness) -> None:
    chain(harness)
    harness.settle()
    harness.send("POST", f"{JOBS}/pipe/cancel")
    run_to_the_end(harness)
    write(harness, "own/new.csv")
    assert status(harness, "pipe") == "Canceled"
    assert [one for one in again(harness, "pipe")["changes"] if one["step"] != "first"] == []


def test_what_was_made_anew_under_its_old_version_is_told(harness: Harness) -> None:
    environment = f"{WORKSPACE}/environments/own/versions/1"
    assert harness.put(environment, {"properties": {"image": "one"}}).status_code == 201
    part = component(harness, "part", environment="azureml:own:1")
    submit_pipeline(harness, {"a": node(part, data=IN)}, inputs={"raw": data()})
    run(harness, "alone", environmentId="azureml:own:1")
    run_to_the_end(harness)
    for url, body in ((environment, {"image": "two"}), (part, None)):
        assert harness.send("DELETE", url).is_success
        harness.settle()
        if body is not None:
            assert harness.put(url, {"properties": body}).status_code == 201
    (gone,) = [one for one in again(harness, "pipe")["changes"] if "component" in one]
    assert gone["component"].endswith("/components/part/versions/1") and "part" in gone["gone"]
    component(harness, "part", environment="azureml:own:1", command="python other.py")
    found = again(harness, "pipe")["changes"]
    assert sorted((one["step"], *({"component", "environment"} & set(one)), one["another"]) for one in found) == [
        ("", "component", True), ("a", "environment", True)
    ]  # fmt: skip
    (alone,) = again(harness, "alone")["changes"]
    assert alone["another"] and alone["environment"].endswith("own/versions/1") and alone["step"] == ""


def test_a_command_jobs_outputs_are_new_ones(harness: Harness) -> None:
    """What is shown of an output is where the first job put it: the second must not write there."""
    named = {"jobOutputType": "uri_folder", "assetName": "made", "assetVersion": "7"}
    mine = {"jobOutputType": "uri_folder", "uri": f"{STORE}/mine/${{{{name}}}}/"}
    run(
        harness,
        "first",
        outputs={"out": {"jobOutputType": "uri_folder"}, "named": named, "mine": mine},
        tags={"a": "b"},
    )
    assert "/first/" in harness.get(f"{JOBS}/first").json()["properties"]["outputs"]["out"]["uri"]
    once_more(harness, "first", "second")
    shown = harness.get(f"{JOBS}/second").json()["properties"]
    assert ["/second/" in shown["outputs"][name]["uri"] for name in ("out", "named", "mine")] == [True, True, True]
    assert shown["outputs"]["named"].get("assetVersion") is None and shown["tags"] == {"a": "b"}


def test_a_sweep_draws_the_same_values_also_as_a_step(harness: Harness) -> None:
    space = {"lr": {"type": "uniform", "min_value": 0, "max_value": 1}}
    component(
        harness, "train", command="python t.py --lr ${{inputs.lr}}", inputs={"lr": {"type": "number"}}, outputs={}
    )
    step = {
        "type": "sweep", "trial": {"componentId": "azureml:train:1"}, "search_space": space, "sampling_algorithm": "random",
        "objective": {"goal": "maximize", "primary_metric": "acc"}, "limits": {"max_total_trials": 1}, "inputs": {},
    }  # fmt: skip
    submit_pipeline(harness, {"tune": step})
    harness.settle()
    once_more(harness, "pipe", "more")
    once_more(harness, "more", "third")
    harness.settle()
    seeds = {
        harness.row(f"{JOBS}/{job_of(harness, 'tune', name)}").spec["smalt"]["seed"]
        for name in ("pipe", "more", "third")
    }
    assert len(seeds) == 1
    sweeps.sweep(harness, "alone", samplingAlgorithm={"samplingAlgorithmType": "Random"})
    harness.settle()
    seed = harness.row(f"{JOBS}/alone").spec["smalt"]["seed"]
    assert again(harness, "alone")["properties"]["samplingAlgorithm"]["seed"] == seed


def test_of_a_sweep_the_first_trial_says_what_was_read(harness: Harness) -> None:
    write(harness, "raw/a.csv")
    sweeps.sweep(harness, inputs={"data": data()})
    harness.settle()
    assert again(harness, "tune")["changes"] == []
    write(harness, "raw/b.csv")
    assert again(harness, "tune")["changes"] == [
        {"step": "", "job": "tune_0", "input": "data", **NOTHING, "added": ["b.csv"]}
    ]


def test_what_cannot_be_run_again_is_refused(harness: Harness) -> None:
    submit(harness, "first")
    for wrong, body in (
        ("nothing", {"jobType": "Pipeline", "jobs": {}}),
        ("x" * 300, {"jobType": "Command"}),
        ("a/../b", {"jobType": "Command"}),
    ):
        error = harness.put(f"{JOBS}/new?again={wrong}", {"properties": body}).json()["error"]
        assert error["target"] == "again" and "there is no job" in error["message"]
    assert harness.get(f"{JOBS}/nothing/again").status_code == 404
