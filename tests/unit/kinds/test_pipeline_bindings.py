"""What a step says with what the pipeline is given: in texts, paths and settings, and what reaches its job."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.jobs import JOBS, status
from fakes.pipelines import FOLDER, child, component, data, literal, node, run_to_the_end, submit
from fakes.platform import WORKSPACE, Harness

IN = "${{parent.inputs.raw}}"


def test_literals_may_hold_inputs_of_the_pipeline_in_their_text(harness: Harness) -> None:
    part = component(harness, "part", inputs={"name": {"type": "string"}, "on": {"type": "boolean"}})
    jobs = {"a": node(part, name="run-${{parent.inputs.n}}-${{parent.inputs.n}}", on=literal("True"))}
    given = {"n": {"jobInputType": "literal", "value": "4"}}
    assert submit(harness, jobs, inputs=given).status_code == 201
    harness.settle()
    assert child(harness, "a")["inputs"]["name"]["value"] == "run-4-4"


@pytest.mark.parametrize(
    "text", ["${{parent.inputs.n}}_${{parent.inputs.n}}", "${{ parent.inputs.n }}_${{parent.inputs.n }}"]
)
def test_two_bindings_and_nothing_else_are_a_text(harness: Harness, text: str) -> None:
    part = component(harness, "part", inputs={"name": {"type": "string", "default": "other"}})
    given = {"n": {"jobInputType": "literal", "value": "4"}}
    assert submit(harness, {"a": node(part, name=text)}, inputs=given).status_code == 201
    harness.settle()
    assert child(harness, "a")["inputs"]["name"]["value"] == "4_4"


@pytest.mark.parametrize("asset", [True, False])
def test_a_path_below_a_folder_that_is_an_input(harness: Harness, asset: bool) -> None:
    versions = f"{WORKSPACE}/data/raw/versions"
    harness.put(f"{versions}/1", {"properties": {"dataUri": FOLDER, "dataType": "uri_folder"}})
    part = component(harness, "part", inputs={"file": {"type": "uri_file", "optional": True}})
    given = {
        "raw": data("azureml:raw:1") if asset else data(),
        "name": {"jobInputType": "literal", "value": "b.csv"},
    }
    jobs = {"a": node(part, file=f"{IN}/a/${{{{parent.inputs.name}}}}")}
    answer = submit(harness, jobs, inputs=given)
    assert answer.status_code == 201, answer.text
    harness.settle()
    file = child(harness, "a")["inputs"]["file"]
    assert (file["jobInputType"], file["uri"]) == ("uri_file", f"{FOLDER}a/b.csv")


def test_an_output_that_no_step_makes_is_none(harness: Harness) -> None:
    part = component(harness, "part")
    outputs = {"o": {"jobOutputType": "uri_folder", "assetName": "never"}}
    assert submit(harness, {"a": node(part, data=IN)}, inputs={"raw": data()}, outputs=outputs).status_code == 201
    run_to_the_end(harness)
    assert status(harness, "pipe") == "Completed"
    assert harness.get(f"{WORKSPACE}/data/never").status_code == 404


@pytest.mark.parametrize(
    ("written", "type_"),
    [("aml_token", "AMLToken"), ("managed_identity", "Managed"), ("user_identity", "UserIdentity")],
)
def test_an_identity_as_yaml_spells_it_is_the_jobs(harness: Harness, written: str, type_: str) -> None:
    step = node(component(harness, "part"), data=IN, more={"identity": {"type": written}})
    assert submit(harness, {"a": step}, inputs={"raw": data()}).status_code == 201
    harness.settle()
    assert child(harness, "a")["identity"] == {"identityType": type_}


def test_an_identity_that_is_none(harness: Harness) -> None:
    step = node(component(harness, "part"), data=IN, more={"identity": {"type": "somebody"}})
    answer = submit(harness, {"a": step}, inputs={"raw": data()})
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, "properties.jobs.a.identity.identityType")


def test_what_only_the_steps_job_knows_reaches_it(harness: Harness) -> None:
    part = component(harness, "part")
    more: dict[str, Any] = {
        "identity": {"identity_type": "UserIdentity"},
        "services": {"my_lab": {"job_service_type": "JupyterLab"}},
        "limits": {"timeout": 33},
        "queue_settings": {"job_tier": "standard", "priority": "high"},
        "resources": {"instance_type": "STANDARD_D2_v2", "properties": {"A_b": {"c_d": 1}}},
        "tags": {"my_tag": "x"},
        "properties": {"my_property": "y"},
        "description": "about it",
    }
    answer = submit(harness, {"a": node(part, data=IN, more=more)}, inputs={"raw": data()}, experimentName="tuning")
    assert answer.status_code == 201, answer.text
    harness.settle()
    job = child(harness, "a")
    assert job["identity"] == {"identityType": "UserIdentity"} and job["experimentName"] == "tuning"
    assert job["services"]["my_lab"]["jobServiceType"] == "JupyterLab"
    assert job["limits"]["timeout"] == "PT33S" and job["queueSettings"]["priority"] == 3
    assert job["resources"]["properties"] == {"A_b": {"c_d": 1}}
    assert (job["tags"]["my_tag"], job["properties"]["my_property"], job["description"]) == ("x", "y", "about it")
    shown = harness.get(f"{JOBS}/pipe").json()["properties"]["jobs"]["a"]
    spelled = {"limits": {"timeout": "PT33S"}, "queue_settings": {"job_tier": "standard", "priority": 3}}
    assert {key: shown[key] for key in more} == {**more, **spelled}, "as clients read it"
