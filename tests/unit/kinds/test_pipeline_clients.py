"""What Microsoft's own tests of its client expect of pipelines, beyond what its documentation says."""

from __future__ import annotations

from typing import Any

from fakes.jobs import JOBS, status
from fakes.pipelines import child, component, data, end, node, run_to_the_end, submit
from fakes.platform import Harness

IN = "${{parent.inputs.raw}}"


def shown(harness: Harness, name: str = "pipe") -> dict[str, Any]:
    return harness.get(f"{JOBS}/{name}").json()["properties"]


class TestModesThatNobodySaid:
    def submitted(self, harness: Harness, name: str = "pipe", **properties: Any) -> Any:
        jobs = {"a": node(component(harness, "part"), data=IN, outputs={"made": "${{parent.outputs.kept}}"})}
        given = {
            "inputs": {"raw": data(), "table": data(type="mltable")},
            "outputs": {"kept": {"jobOutputType": "uri_folder"}},
        }
        answer = submit(harness, jobs, name, **{**given, **properties})
        assert answer.status_code in (200, 201), answer.text
        return answer.json()["properties"]

    def test_they_are_shown(self, harness: Harness) -> None:
        for one in (self.submitted(harness), shown(harness)):
            assert one["inputs"]["raw"]["mode"] == "ReadOnlyMount"
            assert "mode" not in one["inputs"]["table"]
            assert one["outputs"]["kept"]["mode"] == "ReadWriteMount"
            assert "mode" not in one["jobs"]["a"]["outputs"]["made"]

    def test_what_was_said_stays(self, harness: Harness) -> None:
        outputs = {"kept": {"jobOutputType": "uri_folder", "mode": "Upload"}}
        one = self.submitted(harness, inputs={"raw": {**data(), "mode": "Download"}}, outputs=outputs)
        assert (one["inputs"]["raw"]["mode"], one["outputs"]["kept"]["mode"]) == ("Download", "Upload")

    def test_the_job_written_back_is_the_same_and_its_copy_reuses_the_steps(self, harness: Harness) -> None:
        read = self.submitted(harness)
        again = {name: read[name] for name in ("inputs", "outputs")}
        self.submitted(harness, **again)
        end(harness, "a")
        self.submitted(harness, "copy", **again)
        harness.settle()
        assert child(harness, "a", "copy")["properties"]["azureml.isreused"] == "true"

    def test_a_copy_of_what_was_read_has_its_components_modes(self, harness: Harness) -> None:
        part = component(harness, "part", outputs={"made": {"type": "uri_folder", "mode": "upload"}})
        jobs = {"a": node(part, data=IN, outputs={"made": "${{parent.outputs.kept}}"})}
        given = {"inputs": {"raw": data()}, "outputs": {"kept": {"jobOutputType": "uri_folder"}}}
        assert submit(harness, jobs, **given).status_code == 201
        read = shown(harness)
        assert read["outputs"]["kept"]["mode"] == "ReadWriteMount"
        again = {name: read[name] for name in ("inputs", "outputs")} | {"settings": {"forceRerun": True}}
        assert submit(harness, jobs, "copy", **again).status_code == 201
        harness.settle()
        assert [child(harness, "a", one)["outputs"]["made"]["mode"] for one in ("pipe", "copy")] == ["Upload"] * 2


def test_a_fraction_may_be_an_integers(harness: Harness) -> None:
    """Azure hands it on as it is."""
    part = component(harness, "part", inputs={"rate": {"type": "integer", "max": "2"}})
    within = component(
        harness,
        "within",
        type="pipeline",
        inputs={"rate": {"type": "integer"}},
        outputs={},
        jobs={"a": node(part, rate="${{parent.inputs.rate}}")},
    )
    rate = {"jobInputType": "literal", "value": "0.1"}
    answer = submit(
        harness, {"b": node(within, type="pipeline", rate="${{parent.inputs.rate}}")}, inputs={"rate": rate}
    )
    assert answer.status_code == 201, answer.text
    for wrong, words in (("many", "no integer"), ("2.5", "beyond what the component allows"), ("nan", "no integer")):
        error = submit(harness, {"a": node(part, rate=wrong)}, "other").json()["error"]
        assert error["target"] == "properties.jobs.a.inputs.rate" and words in error["message"]


def test_steps_sent_with_their_pipeline_component_are_bound_to_its_outputs(harness: Harness) -> None:
    """The client sends the steps of a component that it read, and none of its outputs."""
    part = component(harness, "part")
    steps = {"a": node(part, data=IN, rate="${{parent.inputs.rate}}", outputs={"made": "${{parent.outputs.end}}"})}
    ports = {"raw": {"type": "uri_folder"}, "rate": {"type": "number", "default": "0.7"}}
    whole = component(
        harness, "whole", type="pipeline", jobs=steps, inputs=ports, outputs={"end": {"type": "uri_folder"}}
    )
    answer = submit(harness, steps, componentId=whole, inputs={"raw": data()}, outputs={})
    assert answer.status_code == 201, answer.text
    run_to_the_end(harness)
    assert status(harness, "pipe") == "Completed"
    assert shown(harness)["outputs"]["end"]["uri"] == child(harness, "a")["outputs"]["made"]["uri"]
    assert child(harness, "a")["inputs"]["rate"]["value"] == "0.7"
    assert list(shown(harness)["inputs"]) == ["raw"]  # as on Azure


def test_a_component_that_says_mount_alone_is_a_job_that_clients_can_read(harness: Harness) -> None:
    mounted = {"type": "uri_folder", "mode": "mount"}
    part = component(harness, "part", inputs={"data": mounted}, outputs={"made": mounted})
    assert submit(harness, {"a": node(part, data=IN)}, inputs={"raw": {**data(), "mode": None}}).status_code == 201
    harness.settle()
    job = child(harness, "a")
    assert (job["inputs"]["data"]["mode"], job["outputs"]["made"]["mode"]) == ("ReadOnlyMount", "ReadWriteMount")


def test_what_a_pipeline_was_told_is_among_its_properties(harness: Harness) -> None:
    inputs = {"raw": data(), "rate": {"jobInputType": "literal", "value": "0.5"}}
    jobs = {"a": node(component(harness, "part"), data=IN)}
    assert submit(harness, jobs, inputs=inputs, settings={"force_rerun": True}, properties={"mine": "1"}).is_success
    told = shown(harness)["properties"]
    assert (told["mine"], told["azureml.runsource"]) == ("1", "azureml.PipelineRun")
    assert (told["azureml.parameters"], told["azureml.enforceRerun"]) == ('{"rate": "0.5"}', "True")
    assert told["azureml.defaultDataStoreName"] == "workspaceblobstore"
