"""The pages of batch endpoints: what there is, and a form that becomes a job."""

from __future__ import annotations

import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.pipelines import FOLDER
from fakes.platform import WORKSPACE
from fakes.studio import StudioSite, form_token

ENDPOINT = f"{WORKSPACE}/batchEndpoints/churn-nightly"
PAGE = "/studio/batch-endpoints/churn-nightly"
KEY = "workspaces/batchendpoints/deployments"
AS_SCRIPT = {"smalt-form": "1"}


@pytest.fixture
def ready(site: StudioSite) -> StudioSite:
    prepare(site.harness, KEY)
    for name in ("v1", "v2"):
        answer = site.harness.put(f"{ENDPOINT}/deployments/{name}", {"properties": EXAMPLES[KEY].properties})
        assert answer.status_code == 201, answer.text
    return site


def test_a_request_becomes_a_job(ready: StudioSite) -> None:
    assert "churn-nightly" in ready.open("/studio/batch-endpoints").text
    page = ready.open(PAGE).text
    assert "Nobody has asked it." in page and "v1" in page
    token = form_token(page)
    fields = {
        "name-0": "data",
        "type-0": "UriFolder",
        "value-0": FOLDER,
        "name-1": "",
        "type-1": "Literal",
        "value-1": "",
    }
    refused = ready.send_form(f"{PAGE}/invoke", token, fields, AS_SCRIPT).json()
    assert refused["status"] == 400 and "default" in refused["message"]
    chosen = ready.send_form(f"{PAGE}/invoke", token, {**fields, "deployment": "v2"}, AS_SCRIPT).json()
    name = chosen["to"].split("/jobs/")[1].split("?")[0]
    job = ready.harness.get(f"{WORKSPACE}/jobs/{name}").json()["properties"]
    assert job["properties"]["azureml.deploymentname"] == "v2" and name in ready.open(PAGE).text
    assert ready.send_form(f"{PAGE}/invoke", token, {**fields, "type-0": "Other"}, AS_SCRIPT).json()["status"] == 400


def test_the_default_is_chosen_and_is_not_deleted(ready: StudioSite) -> None:
    token = form_token(ready.open(PAGE).text)
    assert ready.send_form(f"{PAGE}/default", token, {"deployment": "v1"}).status_code == 303
    assert ready.harness.get(ENDPOINT).json()["properties"]["defaults"]["deploymentName"] == "v1"
    assert ready.send_form(f"{PAGE}/deployments/v1/delete", token).status_code == 409
    assert ready.send_form(f"{PAGE}/deployments/v2/delete", token).status_code == 303
    assert ready.send_form(f"{PAGE}/default", token, {"deployment": "none"}).status_code in (400, 404)
    assert ready.send_form(f"{PAGE}/delete", token).status_code == 303
    assert ready.open(PAGE).status_code == 404


def test_the_palette_finds_by_words(ready: StudioSite) -> None:
    ready.submit("train-1", displayName="Churn of <March>")
    found = ready.open("/studio/find", {"q": "churn", "wsid": WORKSPACE}).json()["found"]
    assert {(one["kind"], one["name"]) for one in found} >= {
        ("Job", "Churn of <March> (train-1)"),
        ("Batch endpoint", "churn-nightly"),
    }
    assert all("/studio/" in one["to"] for one in found)
    assert [one["name"] for one in ready.open("/studio/find", {"q": "train-1", "wsid": WORKSPACE}).json()["found"]]
    for words in ("x", "", "no such thing", "a/../b", "%"):
        assert ready.open("/studio/find", {"q": words, "wsid": WORKSPACE}).json()["found"] == [], words
    ready.allowed = False
    assert ready.open("/studio/find", {"q": "churn", "wsid": WORKSPACE}).json()["found"] == []
