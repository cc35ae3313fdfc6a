"""What is wrong with a form is said of its fields, whoever finds it: the form itself, or the platform."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fakes.examples import CURATED
from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token
from smalt.studio.app import STATIC

AS_SCRIPT = {"smalt-form": "1"}
JOB = {"command": "echo", "environment": CURATED}
CRON = {"job": "train-1", "name": "nightly", "kind": "cron", "expression": "0 2 * * *", "zone": "UTC"}
EVERY = {**CRON, "kind": "recurrence", "interval": "1", "frequency": "day", "at": "02:00"}
CONDA = {"name": "mine", "packages": "conda", "conda": "dependencies: [pip]"}
CLUSTER = {"kind": "cluster", "name": "farm", "size": "Standard_DS3_v2", "least": "0", "most": "1", "idle": ""}
ONLINE = {"endpoint": "churn", "deployment": "blue", "model": "churn:1", "instance_type": "Standard_DS3_v2"}
DATA = "azureml://datastores/workspaceblobstore/paths/uploads/a/b.csv"
ASSET = {"name": "rows", "version": "1", "dataType": "uri_file", "uri": DATA}
ALERT = {
    "name": "slow",
    "watch": "latency",
    "threshold": "500",
    "endpoint": "churn-scores",
    "window": "PT5M",
    "every": "PT1M",
}
FORMS: dict[str, tuple[str, dict[str, str], dict[str, dict[str, str]]]] = {
    "job": ("/jobs/new", JOB, {
        "environment": {"environment": "azureml:nobody:1"}, "compute": {"compute": "nobody"}, "timeout": {"timeout": "x"},
        "instances": {"instances": "1.5"}, "tags": {"tags": "=x"}, "variables": {"variables": "novalue"},
        "command": {"command": "echo ${{inputs.none}}"},
        "inputs.data": {"input-name-1": "data", "input-type-1": "uri_file", "input-value-1": "azureml:nobody:1"},
    }),
    "schedule": ("/schedules/new", CRON, {
        "name": {"name": ""}, "expression": {"expression": "not a cron"}, "zone": {"zone": "Mars/Olympus"},
        "start_time": {"start_time": "yesterday"}, "name ": {"name": "a/b"},
    }),
    "recurrence": ("/schedules/new", EVERY, {
        "interval": {"interval": "0"}, "frequency": {"frequency": "eon"}, "at": {"at": "25:00"},
    }),
    "environment": ("/environments/new", CONDA, {
        "name": {"name": "a b"}, "conda": {"conda": "just text"}, "python": {"packages": "pip", "python": "x"},
        "requirements": {"packages": "pip", "requirements": "-r mine.txt"},
    }),
    "compute": ("/computes-new", CLUSTER, {
        "name": {"name": "1"}, "idle": {"idle": "soon"}, "least": {"least": "x"}, "most": {"most": "-1"},
        "size": {"size": "Standard_Nothing"},
    }),
    "endpoint": ("/endpoints/new", ONLINE, {
        "endpoint": {"endpoint": "_"}, "deployment": {"deployment": ""}, "model": {"model": "nobody:1"},
        "instances": {"instances": "many"}, "endpoint ": {"endpoint": "a/b"},
    }),
    "alert": ("/alerts-new", ALERT, {
        "name": {"name": ""}, "name ": {"name": "a/b"}, "name  ": {"name": "a b", "endpoint": "churn"}, "threshold": {"threshold": "much"},
        "threshold ": {"threshold": "-1"}, "endpoint": {"endpoint": "nobody"}, "endpoint ": {"endpoint": ""}, "watch": {"watch": "all"},
        "severity": {"severity": "9"},
    }),
    "data": ("/data/new", ASSET, {"name": {"name": "a b"}, "version": {"version": "a/b"}}),
}  # fmt: skip
CASES = [(form, field) for form, (_, _, fields) in FORMS.items() for field in fields]


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def means() -> dict[str, str]:
    """What `static/wrong.js` knows of words of the API."""
    table = re.search(r"const MEANS = \{(.*?)\};", (STATIC / "wrong.js").read_text(), re.DOTALL)
    assert table
    return dict(re.findall(r'(\w+): "(\w+)"', table[1]))


@pytest.mark.parametrize(("form", "field"), CASES)
def test_a_refusal_names_its_field(site: StudioSite, form: str, field: str) -> None:
    site.submit("train-1")
    page, right, wrong = FORMS[form]
    token = form_token(site.open("/studio/jobs", HERE).text)
    said = site.send_form(f"/studio{page}", token, {**right, **wrong[field]}, AS_SCRIPT).json()
    assert "to" not in said and said["message"], said
    known = means()
    words = {plain(word) for one in said["fields"] for word in one["target"].split(".")}
    assert plain(field.rpartition(".")[2]) in words | {plain(known.get(word, "")) for word in words}, said


def test_the_times_of_an_instance(site: StudioSite) -> None:
    desk = {"computeType": "ComputeInstance", "properties": {}}
    assert site.harness.put(f"{WORKSPACE}/computes/desk", {"properties": desk}).status_code == 201
    token = form_token(site.open("/studio/computes/desk").text)
    right = {"start": "0 8 * * *", "stop": "0 18 * * *", "zone": "UTC", "idle": "", "etag": "*"}
    for field, value in (("start", "x"), ("stop", "99 * * * *"), ("zone", "Mars"), ("idle", "3")):
        said = site.send_form("/studio/computes/desk/change", token, {**right, field: value}, AS_SCRIPT).json()
        words = {plain(word) for one in said["fields"] for word in one["target"].split(".")}
        assert field in words | {means().get(word) for word in words}, said
        assert all("properties." not in one["message"] for one in said["fields"]), "it stands at its field"


def test_what_is_there_already_is_another_name(site: StudioSite) -> None:
    token = form_token(site.open("/studio/jobs", HERE).text)
    assert "to" in site.send_form("/studio/computes-new", token, CLUSTER, AS_SCRIPT).json()
    second = site.send_form("/studio/computes-new", token, CLUSTER, AS_SCRIPT).json()
    assert second["fields"] == [{"target": "name", "message": "'farm' exists already."}]
    assert site.harness.get(f"{WORKSPACE}/computes/farm").status_code == 200


def test_each_word_of_the_api_means_a_field_of_some_form() -> None:
    templates = Path(STATIC).parent / "templates"
    names = {
        one
        for page in templates.glob("*.html")
        for one in re.findall(r'name="(\w+)"|field\("[^"]*", "(\w+)"', page.read_text())
    }
    there = {plain(one) for pair in names for one in pair if one}
    assert set(means().values()) <= there
