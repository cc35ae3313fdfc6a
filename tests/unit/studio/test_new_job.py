"""A job from a form and from YAML: seen before it is sent, refused with the line, and made again as it was."""

from __future__ import annotations

import json
import re
from html import unescape

from fakes.examples import CURATED
from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token

NEW = "/studio/jobs/new"
AS_SCRIPT = {"smalt-form": "1"}
FORM = {"command": "python t.py --rate ${{inputs.rate}}", "environment": CURATED, "experiment_name": "churn", "tags": "team=blue",
        "input-name-1": "rate", "input-type-1": "value", "input-value-1": "0.1", "input-mode-1": "", "instances": "1",
        "input-name-2": "", "input-type-2": "value", "input-value-2": ""}  # fmt: skip


def made(site: StudioSite, to: str) -> dict[str, object]:
    name = re.search(r"/studio/jobs/([^?]+)", to)
    assert name, to
    return site.harness.get(f"{WORKSPACE}/jobs/{name[1]}").json()["properties"]


def test_a_form_is_seen_as_yaml_and_as_code_and_makes_a_job(site: StudioSite) -> None:
    token = form_token(site.open(NEW).text)
    seen = unescape(site.send_form(f"{NEW}/preview", token, FORM, AS_SCRIPT).text)
    assert "experiment_name: churn" in seen and "job = command(" in seen and "rate: 0.1" in seen
    assert site.harness.get(f"{WORKSPACE}/jobs").json()["value"] == [], "it was only looked at"
    properties = made(site, site.send_form(NEW, token, FORM, AS_SCRIPT).json()["to"])
    assert (properties["command"], properties["tags"]) == (FORM["command"], {"team": "blue"})
    assert properties["inputs"]["rate"]["value"] == "0.1"  # type: ignore


def test_what_the_platform_refuses_is_told_and_nothing_is_made(site: StudioSite) -> None:
    token = form_token(site.open(NEW).text)
    for fields, said in (({"environment": "azureml:none:1"}, "no environment 'none'"), ({"tags": "blue"}, "NAME=VALUE"),
                         ({"command": ""}, "command"), ({"compute": "none"}, "no compute 'none'")):  # fmt: skip
        answer = site.send_form(NEW, token, {**FORM, **fields}, AS_SCRIPT).json()
        assert answer["status"] == 400 and said in answer["message"], answer
    assert site.harness.get(f"{WORKSPACE}/jobs").json()["value"] == []


def test_yaml_is_looked_at_with_lines(site: StudioSite) -> None:
    token = form_token(site.open(NEW, {**HERE, "mode": "yaml"}).text)
    for text, faults in (
        (f"command: x\nenvironment: {CURATED}\n", []),
        ("command: x\nenvironment: azureml:none:1\n", [(2, "no environment 'none'")]),
        (f"command: x\nenvironment: {CURATED}\ncompute: none\ncode: /subscriptions/x\n", [(3, "no compute"), (4, "")]),
        ("command: [x\n", [(2, "no YAML")]),
        (
            f"command: x ${{{{inputs.a}}}}\nenvironment: {CURATED}\n",
            [(1, "properties.command: it references the input 'a'")],
        ),
    ):
        found = site.send_form(f"{NEW}/check", token, {"yaml": text}, AS_SCRIPT).json()["faults"]
        assert [one["line"] for one in found] == [line for line, _ in faults], (text, found)
        assert all(said in one["message"] for one, (_, said) in zip(found, faults, strict=True)), found
    assert site.harness.get(f"{WORKSPACE}/jobs").json()["value"] == []


def test_a_pipeline_of_a_file_brings_its_components(site: StudioSite) -> None:
    token = form_token(site.open(NEW, {**HERE, "mode": "yaml"}).text)
    text = (
        "type: pipeline\ninputs:\n  rate: 0.5\njobs:\n  first:\n    command: echo ${{inputs.rate}}\n"
        f"    environment: {CURATED}\n    inputs:\n      rate: ${{{{parent.inputs.rate}}}}\n"
    )
    assert site.send_form(f"{NEW}/check", token, {"yaml": text}, AS_SCRIPT).json()["faults"] == []
    properties = made(site, site.send_form(NEW, token, {"yaml": text}, AS_SCRIPT).json()["to"])
    assert properties["jobType"] == "Pipeline" and list(properties["jobs"]) == ["first"]  # type: ignore
    again = site.send_form(NEW, token, {"yaml": text}, AS_SCRIPT).json()
    assert "to" in again, "its component is there already"


def test_a_name_that_is_taken_is_refused(site: StudioSite) -> None:
    site.submit("taken")
    token = form_token(site.open(NEW).text)
    text = f"name: taken\ncommand: other\nenvironment: {CURATED}\n"
    answer = site.send_form(NEW, token, {"yaml": text}, AS_SCRIPT).json()
    assert answer["status"] in (409, 412) and "exists" in answer["message"]


def test_a_job_is_edited_and_run_again(site: StudioSite) -> None:
    more = {
        "inputs": {"rate": {"jobInputType": "literal", "value": "7"}},
        "tags": {"<b>": "x"},
        "distribution": {"distributionType": "PyTorch", "processCountPerInstance": 2},
    }
    site.submit("first", experimentName="churn", **more)
    page = site.open(NEW, {**HERE, "from": "first"})
    assert page.status_code == 200 and "<b>" not in page.text
    rest = re.search(r'name="rest" value="([^"]*)"', page.text)
    assert rest and json.loads(unescape(rest[1]))["distribution"]["type"] == "pytorch"
    fields = {"command": "python again.py", "environment": CURATED, "rest": unescape(rest[1]), "instances": "1"}
    properties = made(site, site.send_form(NEW, form_token(page.text), fields, AS_SCRIPT).json()["to"])
    assert properties["distribution"]["processCountPerInstance"] == 2  # type: ignore
    as_yaml = site.open(NEW, {**HERE, "from": "first", "mode": "yaml"}).text
    assert "experiment_name: churn" in as_yaml and "rate: 7" in as_yaml
    assert site.open(NEW, {**HERE, "from": "none"}).status_code == 404
    assert site.open(NEW, {**HERE, "from": "first/events"}).status_code == 404
    long = {**fields, "instances": "9" * 5000}
    assert site.send_form(NEW, form_token(page.text), long, AS_SCRIPT).json()["code"] == "InvalidForm"


def test_code_of_what_is_wrong_is_refused_with_what_is(site: StudioSite) -> None:
    token = form_token(site.open(NEW, {**HERE, "mode": "yaml"}).text)
    for text, said in (("command: [x\n", "no YAML"), ("", "mapping"), (f"command: x\nenvironment: {CURATED}\ninputs: 3\n", "inputs"),
                       ("command: x\nresources: [1]\n", "resources"), ("type: automl\n", "automl")):  # fmt: skip
        answer = site.send_form(f"{NEW}/preview", token, {"yaml": text}, AS_SCRIPT).json()
        assert (answer["status"], answer["code"]) == (400, "InvalidJob") and said in answer["message"], answer
    seen = site.send_form(f"{NEW}/preview", token, {"yaml": f"command: x\nenvironment: {CURATED}\n"}, AS_SCRIPT).text
    assert "job = command(" in seen
