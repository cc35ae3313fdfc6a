"""Connect, activity, alerts, settings, deploying, and the end of a session."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from html import unescape

import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token
from smalt.studio.navigation import AREAS

AS_SCRIPT = {"smalt-form": "1"}
DATA = {"properties": {"dataUri": "azureml://datastores/workspaceblobstore/paths/x/", "dataType": "uri_folder"}}


@pytest.mark.parametrize("path", [to for _, pages in AREAS for _, to in pages])
def test_every_page_of_the_navigation_is_there(site: StudioSite, path: str) -> None:
    page = site.open(f"/studio{path}")
    assert page.status_code == 200 and 'aria-current="page"' in page.text
    site.allowed = False
    assert site.open(f"/studio{path}").status_code == 403


def test_what_a_client_needs_is_to_be_copied(site: StudioSite) -> None:
    page = site.open("/studio/connect").text
    assert "smalt env" in page and "ARM_CLOUD_METADATA_URL=https://localhost:7443/" in page and "az login" in page
    texts = {name: unescape(text) for name, text in re.findall(r'id="text-(\w+)">(.*?)</pre>', page, re.DOTALL)}
    assert "…" not in texts["elsewhere"], "each runs as it is copied"
    for name in ("python", "mlflow"):
        used = [one.id for one in ast.walk(ast.parse(texts[name])) if isinstance(one, ast.Name)]
        assert name == "python" or "ml_client" not in used, "without the text above it"
    for name in ("here", "elsewhere", "az"):
        subprocess.run(["bash", "-n"], input=texts[name], text=True, check=True)
    config = site.open("/studio/connect/config.json")
    assert json.loads(config.text)["workspace_name"] == "bank" and "attachment" in config.headers["content-disposition"]
    assert site.open("/studio/connect/ca.pem").status_code == 404
    tls = site.harness.settings.tls
    tls.mkdir(parents=True, exist_ok=True)
    (tls / "ca.pem").write_text("-----BEGIN CERTIFICATE-----")
    assert site.open("/studio/connect/ca.pem").text.startswith("-----BEGIN")


def test_activity_says_who_did_what_newest_first(site: StudioSite) -> None:
    for number in range(52):
        site.harness.put(f"{WORKSPACE}/data/d{number}/versions/1", DATA)
    first = site.open("/studio/activity", {**HERE, "what": "created"}).text
    shown = re.findall(r">(d\d+:1)</a><small>data<", first)
    assert shown[0] == "d51:1" and 20 < len(shown) <= 50
    link = re.search(r'<a href="([^"]+)" rel="next">Older', first)
    assert link
    second = re.findall(r">(d\d+:1)</a><small>data<", site.open(unescape(link[1]), {}).text)
    assert second and not {*shown} & {*second} and second[0] < "d51:1"
    assert "d51:1" not in site.open("/studio/activity", {**HERE, "actor": "nobody"}).text
    assert site.open("/studio/activity", {**HERE, "what": "nonsense"}).status_code == 400


def test_activity_is_of_people_of_some_days_and_a_file(site: StudioSite) -> None:
    site.harness.put(f"{WORKSPACE}/data/mine/versions/1", DATA)
    page = site.open("/studio/activity").text
    assert "/studio/data/mine/1?" in page and ">smalt</a>" not in page
    assert ">smalt</a>" in site.open("/studio/activity", {**HERE, "actor": "smalt"}).text
    for wanted, days in ((True, {"since": "2000-01-01", "until": "2200-01-01"}), (False, {"since": "2200-01-01"})):
        assert ("mine:1" in site.open("/studio/activity", {**HERE, **days}).text) == wanted
        assert ("/data/mine/versions/1" in site.open("/studio/activity.csv", {**HERE, **days}).text) == wanted
    assert "mine:1" not in site.open("/studio/activity", {**HERE, "until": "2000-01-01"}).text
    for wrong in ({"since": "then"}, {"until": "then"}):
        assert site.open("/studio/activity", {**HERE, **wrong}).status_code == 400
    rows = site.open("/studio/activity.csv")
    assert rows.text.startswith("at,actor,what,resource,") and "attachment" in rows.headers["content-disposition"]


def test_a_session_is_ended_on_the_server(site: StudioSite) -> None:
    token = form_token(site.open("/studio/settings").text)
    done = site.send_form("/studio/sign-out", token)
    assert done.status_code == 303 and "Max-Age=0" in done.headers["set-cookie"]
    assert site.open("/studio/settings").headers["location"].startswith("/studio/sign-in")
    refused = site.send_form("/studio/settings", token, {}, AS_SCRIPT)
    assert refused.json()["code"] == "NoSession"


def test_a_workspace_is_described(site: StudioSite) -> None:
    page = site.open("/studio/settings").text
    etag = re.search(r'name="etag" value="([^"]*)"', page)
    assert etag
    fields = {"title": "<b>The bank", "description": "d", "etag": unescape(etag[1])}
    assert site.send_form("/studio/settings", form_token(page), fields).status_code == 303
    again = site.open("/studio/settings").text
    assert "&lt;b&gt;The bank" in again and "<b>" not in again
    assert site.send_form("/studio/settings", form_token(page), fields).status_code == 412


def test_an_alert_is_listed_and_acknowledged(site: StudioSite) -> None:
    prepare(site.harness, "microsoft.insights/metricalerts")
    alert = EXAMPLES["microsoft.insights/metricalerts"]
    assert site.harness.put(alert.url, alert.body()).status_code == 200
    page = site.open("/studio/alerts").text
    assert 'data-state="Resolved"' in page and "Acknowledge" not in page
    name = alert.url.rpartition("/")[2]
    token = form_token(site.open("/studio/settings").text)
    refused = site.send_form(f"/studio/alerts/{name}/acknowledge", token, {}, AS_SCRIPT).json()
    assert refused["code"] == "AlertNotFired"


def test_a_model_is_deployed_and_a_refusal_leaves_nothing(site: StudioSite) -> None:
    prepare(site.harness, "workspaces/onlineendpoints/deployments")
    made = EXAMPLES["workspaces/onlineendpoints/deployments"].body()["properties"]
    new = site.open("/studio/endpoints/new", {**HERE, "model": "churn:1"})
    assert new.status_code == 200 and 'value="churn:1"' in new.text and 'value="blue"' in new.text
    token = form_token(new.text)
    fields = {
        "endpoint": "fresh-one",
        "deployment": "blue",
        "instance_type": "Standard_DS3_v2",
        "instances": "1",
        "model": "none:1",
        "auth": "aml_token",
        "environment": made["environmentId"],
        "code": made["codeConfiguration"]["codeId"],
        "script": made["codeConfiguration"]["scoringScript"],
    }
    refused = site.send_form("/studio/endpoints/new", token, fields, AS_SCRIPT).json()
    assert refused["status"] == 400 and "none" in refused["message"]
    site.harness.settle()
    endpoint = f"{WORKSPACE}/onlineEndpoints/fresh-one"
    assert site.harness.get(endpoint).status_code == 404, "an endpoint without a deployment"
    model = str(made.get("model") or "").partition("/models/")[2].replace("/versions/", ":")
    seen = site.send_form("/studio/endpoints/new/preview", token, {**fields, "model": model}, AS_SCRIPT).text
    assert "ManagedOnlineDeployment(" in seen and "auth_mode: aml_token" in seen
    done = site.send_form(
        "/studio/endpoints/new", token, {**fields, "model": model, "traffic": "all"}, AS_SCRIPT
    ).json()
    assert done["to"].startswith("/studio/endpoints/fresh-one/deploying/blue?traffic="), done
    shown = site.open(done["to"], {}).text
    assert "data-when-shown" not in shown, "it is not up"
    assert site.harness.get(endpoint).json()["properties"]["authMode"] == "AMLToken"
    assert "It does not answer yet." in site.open(done["to"], {}).text
    again = site.send_form("/studio/endpoints/new", token, {**fields, "model": model}, AS_SCRIPT).json()
    assert again["status"] == 412 and site.harness.get(endpoint).status_code == 200, "what was there stays"
