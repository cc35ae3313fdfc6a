"""YAML of jobs: sent as the official client sends the same file, and written again as it was."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import load_job

from smalt.studio.documents import job_form
from smalt.studio.documents.fields import FAULTS_MOST, is_elsewhere
from smalt.studio.documents.job_code import sdk_code
from smalt.studio.documents.job_sent import sent
from smalt.studio.documents.job_written import written
from smalt.studio.documents.written import Faulty, dump, read, target_path

COMMAND = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
type: command
display_name: churn
experiment_name: churn
description: of March
tags:
  team: blue
command: python train.py --data ${{inputs.data}} --rate ${{inputs.rate}} --out ${{outputs.model}}
code: azureml:/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/codes/c/versions/1
environment: azureml:training@latest
environment_variables:
  LEVEL: '3'
inputs:
  data:
    type: uri_file
    path: azureml://datastores/workspaceblobstore/paths/rows.csv
    mode: ro_mount
  rate: 0.1
  fast: true
outputs:
  model:
    type: mlflow_model
    mode: rw_mount
compute: azureml:cluster
resources:
  instance_count: 2
  shm_size: 1g
limits:
  timeout: 3600
distribution:
  type: pytorch
  process_count_per_instance: 2
"""
SWEEP = """\
type: sweep
trial:
  command: python train.py --rate ${{search_space.rate}} --depth ${{search_space.depth}}
  environment: azureml:training:1
search_space:
  rate:
    type: loguniform
    min_value: -6
    max_value: -1
  depth:
    type: choice
    values: [2, 3, 4]
  noise:
    type: qnormal
    mu: 0
    sigma: 1
    q: 0.5
sampling_algorithm:
  type: random
  seed: 7
objective:
  goal: minimize
  primary_metric: loss
limits:
  max_total_trials: 8
  max_concurrent_trials: 2
  timeout: 600
early_termination:
  type: median_stopping
  evaluation_interval: 1
compute: azureml:cluster
"""


def of_the_client(tmp_path: Path, text: str) -> dict[str, Any]:
    file = tmp_path / "job.yml"
    file.write_text(text)
    job: Any = load_job(file)
    job = job._to_job() if hasattr(job, "_to_job") else job
    return job._to_rest_object().properties.as_dict()


def alike(ours: Any, theirs: Any) -> Any:
    """What we send, of what the client sends; names are spelled in two ways."""
    if not isinstance(ours, dict):
        return theirs
    names = {str(name).replace("_", "").lower(): value for name, value in (theirs or {}).items()}
    return {name: alike(one, names.get(name.replace("_", "").lower())) for name, one in ours.items()}


@pytest.mark.parametrize("text", [COMMAND, SWEEP])
def test_a_file_is_sent_as_the_official_client_sends_it(tmp_path: Path, text: str) -> None:
    ours = sent(read(text).document).properties
    compared = alike(ours, of_the_client(tmp_path, text))
    for field in ("environmentId", "computeId", "codeId"):  # which the client's other half resolves
        for one in (compared, compared.get("trial") or {}):
            if one.get(field):
                one[field] = str(one[field]).removeprefix("azureml:")
    for one in (ours, ours.get("trial") or {}):
        for field in ("environmentId", "computeId", "codeId"):
            if one.get(field):
                one[field] = str(one[field]).removeprefix("azureml:")
    assert ours == compared


@pytest.mark.parametrize("text", [COMMAND, SWEEP])
def test_what_was_sent_is_written_as_it_was(text: str) -> None:
    document = read(text).document
    again = written({"properties": sent(document).properties})
    assert again is not None
    again.pop("$schema")
    document.pop("$schema", None)
    assert again == document
    assert read(dump(again)).document == document


FAULTS = [
    ("command: x\nenvironment: e\ncomand: y\n", 3, "Did you mean 'command'"),
    ("type: command\nenvironment: e\n", 1, "command: this is missing"),
    ("command: x\nenvironment: e\ninputs:\n  data:\n    type: uri_file\n    path: ./rows.csv\n", 6, "on your own machine"),
    ("command: x\nenvironment: e\ncode: ./src\n", 3, "choose its folder"),
    ("command: x\nenvironment: e\ncompute: local\n", 3, "on your own machine is not sent"),
    ("command: x\nenvironment: e\nlimits:\n  timeout: long\n", 4, "number of seconds"),
    ("command: x\nenvironment: e\ntags: blue\n", 3, "mapping"),
    ("command: x\nenvironment: e\noutputs:\n  a: {mode: mount}\n", 4, "no mode"),
    ("type: automl\n", 1, "az ml job create -f"),
    ("type: pipeline\njobs:\n  a:\n    type: sweep\n", 4, "registered component"),
    ("type: pipeline\njobs:\n  a:\n    component: ./train.yml\n", 4, "register it"),
    ("type: sweep\ntrial: {command: x, environment: e}\nsearch_space:\n  a: 3\nobjective: {goal: maximize, primary_metric: m}\n",
     4, "'type' is one of"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), FAULTS)
def test_what_is_wrong_has_its_line(text: str, line: int, message: str) -> None:
    document = read(text)
    with pytest.raises(Faulty) as caught:
        sent(document.document)
    (found,) = document.placed(caught.value.faults)
    assert found["line"] == line and message in found["message"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1\nb: 2\n", 2), ("- 1\n", 1), ("a: &x 1\nb: *x\n", 1), ("a: 2026-99-99\n", 1), ("\ta: 1\n", 1), ("", 1)],
)
def test_what_is_no_yaml_has_its_line(text: str, line: int) -> None:
    with pytest.raises(Faulty) as caught:
        read(text)
    assert int(caught.value.faults[0].path[0]) == line


def test_a_field_of_the_api_is_found_in_the_text() -> None:
    document = read(SWEEP)
    assert document.line(target_path("properties.searchSpace.rate.min_value")) == 8
    assert document.line(target_path("properties.trial.environmentId")) == 4
    assert document.line(target_path("properties.nothing")) == 1


PIPELINE = """\
type: pipeline
inputs:
  rows: {type: uri_file, path: 'azureml:rows:1'}
  rate: 0.5
outputs:
  model: {type: mlflow_model}
settings:
  default_compute: azureml:cluster
jobs:
  prepare:
    command: prepare ${{inputs.rows}} ${{outputs.clean}}
    environment: {image: ubuntu, conda_file: {dependencies: [python=3.11]}}
    inputs: {rows: '${{parent.inputs.rows}}'}
    outputs: {clean: {type: uri_folder}}
  train:
    component: azureml:train:3
    inputs:
      clean: ${{parent.jobs.prepare.outputs.clean}}
      rate: ${{parent.inputs.rate}}
    outputs: {model: '${{parent.outputs.model}}'}
"""


def test_a_command_in_a_pipeline_becomes_a_component_without_a_name() -> None:
    found = sent(read(PIPELINE).document)
    (environment, _), (component, body) = found.before
    assert environment.startswith("environments/CliV2AnonymousEnvironment/versions/")
    assert component.startswith("components/azureml_anonymous/versions/")
    specification = body["properties"]["componentSpec"]
    assert specification["inputs"] == {"rows": {"type": "uri_file"}}
    assert specification["environment"] == "azureml:CliV2AnonymousEnvironment:" + environment.rpartition("/")[2]
    jobs = found.properties["jobs"]
    assert jobs["prepare"]["componentId"] == "azureml:azureml_anonymous:" + component.rpartition("/")[2]
    assert jobs["train"]["componentId"] == "azureml:train:3" and found.properties["computeId"] == "cluster"
    assert jobs["train"]["outputs"] == {"model": {"value": "${{parent.outputs.model}}", "type": "literal"}}
    assert sent(read(PIPELINE).document).before == found.before, "the same text makes the same component"


def test_the_form_says_the_same_as_the_file() -> None:
    document = read(COMMAND).document
    shown = job_form.shown(document)
    fields = {name: str(value) for name, value in shown.items() if name not in ("inputs", "outputs")}
    for what in ("input", "output"):
        for at, port in enumerate(shown[f"{what}s"], 1):
            fields |= {f"{what}-{name}-{at}": value for name, value in port._asdict().items()}
    again = job_form.document(fields)
    assert sent(again).properties == sent(document).properties
    with pytest.raises(Faulty, match="NAME=VALUE"):
        job_form.document({**fields, "tags": "blue"})


def test_the_code_makes_the_same_job(tmp_path: Path) -> None:
    document = {name: value for name, value in read(COMMAND).document.items() if name != "code"}
    lines = sdk_code(document)
    made = lines.partition("job = ")[2].rpartition("print(")[0]
    scope: dict[str, Any] = {}
    exec("from azure.ai.ml import Input, Output, command\njob = " + made, scope)
    theirs = of_the_client(tmp_path, dump(document))
    ours = scope["job"]._to_job()._to_rest_object().properties.as_dict()
    for field in ("command", "environment_id", "compute_id", "inputs", "outputs", "limits", "resources", "distribution",
                  "tags", "experiment_name", "display_name", "description", "environment_variables"):  # fmt: skip
        assert ours.get(field) == theirs.get(field), field
    assert "load_job" in sdk_code(read(SWEEP).document)


@pytest.mark.parametrize(
    "text",
    [
        "jobs: {s: {command: x, environment: e, limits: {timeout: .inf}}}\n",
        "jobs: {s: {command: x, environment: e, limits: {timeout: .nan}}}\n",
        "trial: {command: x, environment: e}\nobjective: {goal: minimize, primary_metric: m}\n"
        "search_space: {x: {type: [a]}}\n",
        f"command: x\nlimits: {{timeout: {'9' * 4000}}}\n",
        "# " + "x" * (1 << 17) + "\n",
        "".join(f"field{n}: 1\n" for n in range(5000)),
    ],
)
def test_odd_values_are_a_line_of_a_few(text: str) -> None:
    with pytest.raises(Faulty) as found:
        sent(read(text).document)
    assert len(found.value.faults) <= FAULTS_MOST + 2, "and what is missing"


def test_inputs_that_lead_in_a_circle_have_an_end() -> None:
    bound = "${{parent.inputs.a}}"
    step = f"s: {{command: x, environment: 'azureml:e:1', inputs: {{i: '{bound}'}}}}"
    sent(read(f"jobs: {{{step}}}\ninputs: {{a: '{bound}'}}\n").document)


def test_a_place_is_looked_at_once() -> None:
    begun = time.process_time()
    assert not is_elsewhere("${{" * 300_000)
    assert time.process_time() - begun < 1, "it is looked at from each of its places"
    assert is_elsewhere("a${{b}}") and is_elsewhere("${{\n}}") and not is_elsewhere("}}${{")


def test_what_was_asked_for_is_written_or_the_job_is_not() -> None:
    properties: dict[str, Any] = {
        "jobType": "Command",
        "command": "x",
        "environmentId": "azureml:e:1",
        "properties": {"k": "v"},
        "identity": {"identityType": "UserIdentity"},
        "services": {
            "Tracking": {"jobServiceType": "Tracking", "endpoint": "e"},
            "lab": {"jobServiceType": "JupyterLab", "nodes": {"nodesValueType": "All"}, "endpoint": "e", "status": "s"},
        },
    }
    found = written({"properties": properties})
    assert found is not None
    again = sent(found).properties
    assert again["identity"] == properties["identity"] and again["properties"] == {"k": "v"}
    assert again["services"] == {"lab": {"jobServiceType": "JupyterLab", "nodes": {"nodesValueType": "All"}}}
    client = {"identityType": "Managed", "clientId": "c"}
    assert written({"properties": {**properties, "identity": client}}) is None


def test_a_step_is_written_whole_or_its_pipeline_is_not() -> None:
    step = {
        "type": "command",
        "componentId": "azureml:c:1",
        "limits": {"timeout": "PT1M", "job_limits_type": "Command"},
    }

    def of(**more: Any) -> Any:
        return written({"properties": {"jobType": "Pipeline", "jobs": {"s": {**step, **more}}}})

    assert of(identity=None, _source="X")["jobs"]["s"]["limits"] == {"timeout": 60}
    for lost in ({"mini_batch_size": 10}, {"identity": {"identity_type": "Managed"}}, {"searchSpace": {"a": 1}}):
        assert of(**lost) is None, lost
