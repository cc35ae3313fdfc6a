"""Environments, components and batch endpoints from forms: seen before they are sent, refused with what is wrong, and made."""

from __future__ import annotations

from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.ai.ml import load_batch_endpoint, load_component, load_environment
from azure.ai.ml.entities._load_functions import load_model_batch_deployment

from fakes.examples import CURATED, prepare
from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token
from smalt.studio.documents import batch_deployment, environment_form
from smalt.studio.documents.component_sent import EXAMPLE
from smalt.studio.documents.written import dump

AS_SCRIPT = {"smalt-form": "1"}
ENVIRONMENT = "/studio/environments/new"
COMPONENT = "/studio/components/new"
BATCH = "/studio/batch-endpoints/new"
PIP = {"name": "tools", "packages": "pip", "requirements": "six==1.16.0  # old\n\n# all\nattrs\n", "python": "3.11"}
PIPELINE = """\
type: pipeline
name: twice
display_name: Twice
inputs:
  rate:
    type: number
    default: 0.1
outputs:
  model:
    type: uri_folder
jobs:
  first:
    type: command
    component: azureml:train:1
    inputs:
      rate: ${{parent.inputs.rate}}
    outputs:
      model: ${{parent.outputs.model}}
  second:
    type: command
    component: azureml:train:2
    inputs:
      rate: 0.5
"""
PARALLEL = f"""\
type: parallel
name: by_files
inputs:
  files:
    type: uri_folder
outputs:
  rows:
    type: uri_file
input_data: ${{{{inputs.files}}}}
mini_batch_size: "10"
partition_keys: [store]
task:
  type: run_function
  code: azureml:{WORKSPACE}/codes/c0de/versions/1
  entry_script: score.py
  environment: {CURATED}
  append_row_to: ${{{{outputs.rows}}}}
retry_settings:
  max_retries: 2
  timeout: 60
"""
MODEL = {"endpoint": "nightly", "deployment": "blue", "model": "churn-model:1", "environment": CURATED,
         "code": f"{WORKSPACE}/codes/c0de/versions/1", "script": "score.py", "default": "yes"}  # fmt: skip


def test_an_environment_of_requirements_is_seen_made_and_built(site: StudioSite) -> None:
    site.harness.environments.build_at_once = False
    token = form_token(site.open(ENVIRONMENT).text)
    seen = unescape(site.send_form(f"{ENVIRONMENT}/preview", token, PIP, AS_SCRIPT).text)
    assert "conda_file:" in seen and "- six==1.16.0" in seen and "Environment(" in seen
    answer = site.send_form(ENVIRONMENT, token, {**PIP, "build": "now"}, AS_SCRIPT).json()
    assert "to" in answer, answer
    to = answer["to"]
    assert "/environments/tools/1" in to and "tab=log" in to
    version = site.harness.get(f"{WORKSPACE}/environments/tools/versions/1").json()["properties"]
    conda = yaml.safe_load(version["condaFile"])
    assert conda["dependencies"] == ["python=3.11", "pip", {"pip": ["six==1.16.0", "attrs"]}]
    builds = site.harness.get(f"{WORKSPACE}/environments/tools/versions/1/builds").json()
    assert (builds["jobs"]["state"], builds["deployments"]["state"]) == ("Creating", "NotBuilt")
    again = site.send_form(ENVIRONMENT, token, PIP, AS_SCRIPT).json()["to"]
    assert "/environments/tools/2" in again and "tab=log" not in again
    page = site.open("/studio/environments/tools/2", {**HERE, "tab": "log", "for": "deployments"}).text
    assert "Build it" in page
    built = site.send_form("/studio/environments/tools/2/build", token, {"use": "deployments"}, AS_SCRIPT).json()
    assert "for=deployments" in built["to"]
    assert "conda-forge" in site.open(ENVIRONMENT, {**HERE, "from": "tools:2"}).text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "name: give"),
        ({"requirements": "-r other.txt"}, "of your own machine"),
        ({"requirements": "# nothing\n"}, "at least one package"),
        ({"python": "three"}, "python: 'three'"),
        ({"packages": "conda", "conda": "a: [\n"}, "conda, line 2: This is no YAML"),
        ({"packages": "conda", "conda": "- six\n"}, "A conda file is a mapping"),
        ({"packages": "conda", "conda": "dependencies: six\n"}, "are a list of packages"),
        ({"packages": "conda", "conda": "a: &a 1\nb: *a\n"}, "aliases"),
        ({"name": "AzureML-sklearn-1.5-ubuntu22.04-py311-cpu"}, "curated"),
        ({"name": "a/b"}, ""),
        ({"use": "neither"}, ""),
    ],
)
def test_what_is_no_environment_is_refused(site: StudioSite, fields: dict[str, str], said: str) -> None:
    token = form_token(site.open(ENVIRONMENT).text)
    if "use" in fields:
        site.send_form(ENVIRONMENT, token, PIP, AS_SCRIPT)
        answer = site.send_form("/studio/environments/tools/1/build", token, fields, AS_SCRIPT).json()
        assert answer["status"] == 400 and "use" in answer["message"]
        return
    answer = site.send_form(ENVIRONMENT, token, {**PIP, **fields}, AS_SCRIPT).json()
    assert 400 <= answer["status"] < 500 and said in answer["message"], answer


def test_a_component_of_yaml_is_checked_and_made_and_made_again(site: StudioSite) -> None:
    page = site.open(COMPONENT).text
    token = form_token(page)
    for more, faults in (
        ("", []),
        ("inputz: {}\n", [(16, "Did you mean 'inputs'")]),
        ("tags: 3\n", [(16, "tags")]),
        ("version: [1]\n", [(16, "version")]),
        ("version: a/b\n", [(0, "letters, digits")]),
    ):
        answer = site.send_form(f"{COMPONENT}/check", token, {"yaml": EXAMPLE + more}, AS_SCRIPT).json()
        told = answer.get("faults", [{**answer, "line": 0}])
        assert [one["line"] for one in told] == [line for line, _ in faults], told
        assert all(said in one["message"] for one, (_, said) in zip(told, faults, strict=True)), told
    assert site.send_form(f"{COMPONENT}/preview", token, {"yaml": "a: [\n"}, AS_SCRIPT).json()["status"] == 400
    assert "load_component" in site.send_form(f"{COMPONENT}/preview", token, {"yaml": EXAMPLE}, AS_SCRIPT).text
    assert "/components/train/1" in site.send_form(COMPONENT, token, {"yaml": EXAMPLE}, AS_SCRIPT).json()["to"]
    spec = site.harness.get(f"{WORKSPACE}/components/train/versions/1").json()["properties"]["componentSpec"]
    assert spec["inputs"]["rate"]["type"] == "number" and spec["environment"].startswith("azureml:")
    as_it_was = site.open(COMPONENT, {**HERE, "from": "train:1"}).text
    text = unescape(as_it_was.partition('aria-label="YAML">')[2].partition("</textarea>")[0])
    assert "/components/train/2" in site.send_form(COMPONENT, token, {"yaml": text}, AS_SCRIPT).json()["to"]
    taken = site.send_form(COMPONENT, token, {"yaml": EXAMPLE + "version: 1\n"}, AS_SCRIPT).json()
    assert taken["status"] in (409, 412), taken
    for kind, said in (("spark", "az ml component create"), ("sweep", "its trial is a component")):
        other = site.send_form(COMPONENT, token, {"yaml": f"type: {kind}\n"}, AS_SCRIPT).json()
        assert said in other["message"]


@pytest.mark.parametrize(("name", "text"), [("twice", PIPELINE), ("by_files", PARALLEL)])
def test_a_component_of_steps_or_of_mini_batches_is_what_the_official_client_makes_of_it(
    site: StudioSite, tmp_path: Path, name: str, text: str
) -> None:
    for version in ("1", "2"):
        step = {"type": "command", "command": "echo ${{inputs.rate}}", "environment": CURATED}
        step |= {"inputs": {"rate": {"type": "number"}}, "outputs": {"model": {"type": "uri_folder"}}}
        site.harness.put(f"{WORKSPACE}/components/train/versions/{version}", {"properties": {"componentSpec": step}})
    token = form_token(site.open(COMPONENT).text)
    assert site.send_form(f"{COMPONENT}/check", token, {"yaml": text}, AS_SCRIPT).json() == {"faults": []}
    assert f"/components/{name}/1" in site.send_form(COMPONENT, token, {"yaml": text}, AS_SCRIPT).json()["to"]
    ours = site.harness.get(f"{WORKSPACE}/components/{name}/versions/1").json()["properties"]["componentSpec"]
    theirs: Any = load_component(_written(tmp_path, yaml.safe_load(text)))._to_rest_object().properties.component_spec
    assert _alike(ours, theirs) == _alike(theirs, ours)
    assert "New version" in site.open(f"/studio/components/{name}/1").text
    as_it_was = site.open(COMPONENT, {**HERE, "from": f"{name}:1"}).text
    again = unescape(as_it_was.partition('aria-label="YAML">')[2].partition("</textarea>")[0])
    to = str(site.send_form(COMPONENT, token, {"yaml": again}, AS_SCRIPT).json()["to"]).partition("?")[0]
    made = site.harness.get(f"{WORKSPACE}/components/{name}/versions/{to.rpartition('/')[2]}").json()["properties"]
    assert {**made["componentSpec"], "version": "1"} == ours


def test_what_is_wrong_in_a_component_has_its_line(site: StudioSite) -> None:
    token = form_token(site.open(COMPONENT).text)
    for text, line, said in (
        (PIPELINE.replace("azureml:train:2", "./train.yml"), 21, "register it"),
        (PARALLEL.replace("  entry_script: score.py\n", ""), 12, "entry_script: this is missing"),
        (PARALLEL.replace("append_row_to", "append_rows"), 17, "Did you mean"),
        (PARALLEL.replace("input_data: ${{inputs.files}}\n", ""), 1, "input_data: this is missing"),
    ):
        answer = site.send_form(f"{COMPONENT}/check", token, {"yaml": text}, AS_SCRIPT).json()
        (fault,) = answer["faults"]
        assert fault["line"] == line and said in fault["message"], answer


def test_a_model_is_put_behind_a_batch_endpoint(site: StudioSite) -> None:
    prepare(site.harness, "workspaces/batchendpoints/deployments")
    token = form_token(site.open(BATCH, {**HERE, "model": "churn-model:1"}).text)
    seen = unescape(site.send_form(f"{BATCH}/preview", token, MODEL, AS_SCRIPT).text)
    assert "ModelBatchDeployment(" in seen and "az ml batch-deployment create --set-default" in seen
    for fields, said in (({"model": ""}, "model: this is missing"), ({"script": ""}, "script"), ({"environment": ""}, "environment"),
                         ({"mini_batch_size": "0"}, "mini_batch_size"), ({"model": "none:1"}, "none"), ({"compute": "none"}, "none")):  # fmt: skip
        answer = site.send_form(BATCH, token, {**MODEL, **fields}, AS_SCRIPT).json()
        assert 400 <= answer.get("status", 0) < 500 and said in answer["message"], (fields, answer)
        site.harness.settle()
        assert site.harness.get(f"{WORKSPACE}/batchEndpoints/nightly").status_code == 404, fields
    assert "/batch-endpoints/nightly" in site.send_form(BATCH, token, MODEL, AS_SCRIPT).json()["to"]
    endpoint = site.harness.get(f"{WORKSPACE}/batchEndpoints/nightly").json()["properties"]
    assert endpoint["defaults"]["deploymentName"] == "blue"
    page = site.open(BATCH, {**HERE, "endpoint": "nightly"}).text
    assert 'name="deployment" value="green"' in page and "checked" not in page
    again = site.send_form(BATCH, token, MODEL, AS_SCRIPT).json()
    assert again["status"] in (409, 412)
    assert site.harness.get(f"{WORKSPACE}/batchEndpoints/nightly").status_code == 200, "it was there before"


def test_the_official_client_loads_what_is_shown(tmp_path: Path) -> None:
    environment = environment_form.document(PIP)
    loaded: Any = load_environment(_written(tmp_path, environment))._to_rest_object().properties
    said = environment_form.sent(environment)
    assert (loaded.image, yaml.safe_load(loaded.conda_file)) == (said["image"], yaml.safe_load(said["condaFile"]))
    component = yaml.safe_load(EXAMPLE)
    assert load_component(_written(tmp_path, component)).name == "train"
    endpoint, deployment = batch_deployment.documents(MODEL)
    assert load_batch_endpoint(_written(tmp_path, endpoint)).name == "nightly"
    batch: Any = load_model_batch_deployment(_written(tmp_path, deployment))
    assert (batch.compute, batch.settings.mini_batch_size, batch.resources.instance_count) == ("serverless", 10, 1)
    for code in (environment_form.sdk_code(environment), batch_deployment.sdk_code(endpoint, deployment, True)):
        compile(code, "shown", "exec")


def _written(folder: Path, document: Mapping[str, Any]) -> Path:
    file = folder / "file.yml"
    file.write_text(dump(document))
    return file


def _alike(one: Any, other: Any) -> Any:
    """What both say, in one spelling: neither what only one has, nor how ids are written."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: _alike(one[name], other[name]) for name in sorted(one.keys() & other.keys() - {"_source"})}
    return str(one).removeprefix("azureml:")
