"""An alert is made, changed, disabled and deleted by forms; what `az` and the SDK are said to send is what the form sends."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from fakes.deployments import ENDPOINT, KEY
from fakes.examples import prepare
from fakes.platform import GROUP, WORKSPACE
from fakes.studio import HERE, StudioSite, form_token
from smalt.store import resources
from smalt.studio.documents.alert_form import WATCHES
from smalt.studio.pages.jobs import PAGE

RULES = f"{GROUP}/providers/Microsoft.Insights/metricAlerts"
GROUPS = f"{GROUP}/providers/Microsoft.Insights/actionGroups"
NAME = ENDPOINT.rpartition("/")[2]
SLOW = {"name": "slow", "watch": "latency", "threshold": "500", "endpoint": NAME, "deployment": "", "window": "PT5M",
        "every": "PT1M", "severity": "1", "description": "'<b>slow</b>"}  # fmt: skip
AS_SCRIPT = {"smalt-form": "1"}


@pytest.fixture
def served(site: StudioSite) -> StudioSite:
    prepare(site.harness, KEY)
    return site


def token_of(site: StudioSite) -> str:
    return form_token(site.open("/studio/alerts-new").text)


def send(site: StudioSite, page: str, fields: dict[str, str]) -> Any:
    return site.send_form(f"/studio{page}", token_of(site), fields, AS_SCRIPT).json()


def rule(site: StudioSite, name: str = "slow") -> Any:
    answer = site.harness.get(f"{RULES}/{name}")
    return answer.json() if answer.status_code == 200 else None


def etag(site: StudioSite, name: str = "slow") -> str:
    found = re.search(r'name="etag" value="([^"]+)"', site.open(f"/studio/alerts/{name}").text)
    assert found
    return unescape(found[1])


def said(page: str, part: str) -> str:
    found = re.search(rf'id="preview-{part}">(.*?)</pre>', page, re.DOTALL)
    assert found
    return unescape(found[1])


@pytest.mark.parametrize("watch", WATCHES)
def test_each_watch_is_made_and_known_again(served: StudioSite, watch: str) -> None:
    assert send(served, "/alerts-new", {**SLOW, "watch": watch})["to"].startswith("/studio/alerts/slow")
    made = rule(served)["properties"]
    assert (made["scopes"], made["severity"], made["windowSize"]) == ([ENDPOINT], 1, "PT5M")
    page = served.open("/studio/alerts/slow").text
    assert f'<option value="{watch}" selected>' in page and "As it is" not in page
    assert f'value="{NAME}"' in page and "&lt;b&gt;slow" in page and "<b>slow" not in page


def test_what_is_shown_before_is_what_is_sent(served: StudioSite) -> None:
    fields = {**SLOW, "watch": "errors", "threshold": "1234567"}
    page = served.send_form("/studio/alerts-new/preview", token_of(served), fields).text
    sent, az, code = (said(page, one) for one in ("rest", "az", "code"))
    assert f"PUT {RULES}/slow" in sent and rule(served) is None, "nothing is made by looking"
    body = json.loads(sent.partition("\n\n")[2])
    assert "'total RequestsPerMinute > 1234567 where statusCodeClass includes 5xx'" in az and "--window-size 5m" in az
    assert send(served, "/alerts-new", fields)["to"]
    assert {**rule(served)["properties"], **body["properties"]} == rule(served)["properties"]
    given: list[Any] = []

    class Client:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.metric_alerts = self.action_groups = self

        def create_or_update(self, group: str, name: str, document: Any) -> None:
            given.append((group, name, document))

    lines = "\n".join(line for line in code.splitlines() if not line.startswith("from "))
    exec(lines, {"MonitorManagementClient": Client, "DefaultAzureCredential": object})
    assert given == [(GROUP.rpartition("/")[2], "slow", body)]


def test_a_webhook_comes_with_a_group_of_its_own(tmp_path: Path) -> None:
    served = StudioSite(tmp_path, webhook_hosts="hooks.example")
    prepare(served.harness, KEY)
    refused = send(served, "/alerts-new", {**SLOW, "webhook": "https://elsewhere.example/x?code=secret"})
    assert refused["fields"][0]["target"].endswith("serviceUri") and rule(served) is None
    assert "secret" not in json.dumps(refused) and served.harness.get(f"{GROUPS}/slow").status_code == 404
    hook = {**SLOW, "webhook": "https://hooks.example/x?code=secret"}
    wrong = send(served, "/alerts-new", {**hook, "endpoint": "nobody"})
    assert "to" not in wrong and served.harness.get(f"{GROUPS}/slow").status_code == 404, (
        "what is for nothing goes again"
    )
    assert "to" in send(served, "/alerts-new", hook)
    group = served.harness.get(f"{GROUPS}/slow").json()["properties"]
    assert group["webhookReceivers"][0]["serviceUri"] == hook["webhook"]
    assert [one["actionGroupId"] for one in rule(served)["properties"]["actions"]] == [f"{GROUPS}/slow"]
    assert "code=secret" not in served.open("/studio/alerts/slow").text
    other = {**SLOW, "name": "other", "webhook": hook["webhook"], "group.slow": "on"}
    assert "to" in send(served, "/alerts-new", other) and len(rule(served, "other")["properties"]["actions"]) == 2


def test_a_group_that_is_called_so_in_other_letters_is_not_taken(tmp_path: Path) -> None:
    served = StudioSite(tmp_path, webhook_hosts="hooks.example")
    prepare(served.harness, KEY)
    hook = {**SLOW, "webhook": "https://hooks.example/x"}
    group = {"location": "Global", "properties": {"groupShortName": "ops", "enabled": True}}
    served.harness.send("PUT", f"{GROUPS}/SLOW", group)
    assert "to" in send(served, "/alerts-new", hook)
    assert [one["actionGroupId"] for one in rule(served)["properties"]["actions"]] == [f"{GROUPS}/slow-2"]


async def nobody(visit: Any) -> dict[str, Any]:
    return {}


def test_the_second_of_two_editors_is_told_and_what_others_added_stays(
    served: StudioSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "to" in send(served, "/alerts-new", SLOW)
    group = {"location": "Global", "properties": {"groupShortName": "ops", "enabled": True}}
    assert served.harness.put(f"{GROUPS}/ops", group).status_code == 201
    own = {"actionGroupId": f"{GROUPS}/ops", "webHookProperties": {"team": "b"}}
    assert send(served, "/alerts-new/preview", {**SLOW, "watch": "kept"})["fields"][0]["target"] == "watch"
    before = etag(served)
    answer = served.harness.send("PATCH", f"{RULES}/slow", {"properties": {"actions": [own]}})
    assert answer.status_code == 200
    late = send(served, "/alerts/slow", {**SLOW, "etag": before, "threshold": "900"})
    assert late["status"] == 412 and "Somebody changed it" in late["message"]
    now = {**SLOW, "etag": etag(served), "threshold": "900", "group.ops": "on"}
    assert "to" in send(served, "/alerts/slow", now)
    made = rule(served)["properties"]
    assert made["actions"] == [own] and made["criteria"]["allOf"][0]["threshold"] == 900
    assert 'name="group.ops" checked' in served.open("/studio/alerts/slow").text
    monkeypatch.setattr("smalt.studio.pages.alert._groups", nobody)  # as where it is of another resource group
    assert "to" in send(served, "/alerts/slow", {**SLOW, "etag": etag(served)})
    assert rule(served)["properties"]["actions"] == [own]
    monkeypatch.undo()
    assert "to" in send(served, "/alerts/slow", {**SLOW, "etag": etag(served)})
    assert rule(served)["properties"]["actions"] == []


def test_conditions_of_others_are_kept(served: StudioSite) -> None:
    assert "to" in send(served, "/alerts-new", SLOW)
    criteria = rule(served)["properties"]["criteria"]
    criteria["allOf"][0]["metricName"] = "CpuUtilizationPercentage"
    patched = served.harness.send("PATCH", f"{RULES}/slow", {"properties": {"criteria": criteria}})
    assert patched.status_code == 200
    page = served.open("/studio/alerts/slow").text
    assert '<option value="kept" selected>As it is: average CpuUtilizationPercentage' in page
    assert "to" in send(served, "/alerts/slow", {"watch": "kept", "severity": "0", "etag": etag(served)})
    made = rule(served)["properties"]
    assert made["criteria"]["allOf"][0]["metricName"] == "CpuUtilizationPercentage" and made["severity"] == 0


def test_it_is_disabled_enabled_and_deleted(served: StudioSite) -> None:
    assert "to" in send(served, "/alerts-new", SLOW)
    assert send(served, "/alerts-new", SLOW)["fields"][0]["target"] == "name", "it is there already"
    for verb, on in (("disable", False), ("enable", True)):
        assert "to" in send(served, f"/alerts/slow/{verb}", {"etag": etag(served)})
        assert rule(served)["properties"]["enabled"] is on
    assert send(served, "/alerts/slow/disable", {"etag": '"0"'})["status"] == 412
    assert "to" in send(served, "/alerts/slow/delete", {}) and rule(served) is None
    assert served.open("/studio/alerts/slow").status_code == 404


def test_pages_lead_there(served: StudioSite) -> None:
    assert 'href="/studio/alerts-new' in served.open("/studio/alerts").text
    tab = served.open(f"/studio/endpoints/{NAME}", {**HERE, "tab": "alerts"}).text
    assert f"/studio/alerts-new?endpoint={NAME}" in tab
    page = served.open("/studio/alerts-new", {**HERE, "endpoint": NAME}).text
    assert f'name="endpoint" value="{NAME}"' in page and WORKSPACE


def test_what_is_fired_is_said_at_home(served: StudioSite) -> None:
    assert "to" in send(served, "/alerts-new", SLOW)
    for number in range(PAGE):
        assert "to" in send(served, "/alerts-new", {**SLOW, "name": f"calm-{number}"})
    assert "fired" not in served.open("/studio").text
    fired = {"at": served.harness.clock(), "reason": "it <b>is</b>", "scope": ENDPOINT, "id": "1", "cause": ""}
    with served.harness.database.write() as connection:
        resources.merge_status(connection, f"{RULES}/slow".lower(), {"fired": fired})
    home, page = served.open("/studio").text, served.open("/studio/alerts/slow").text
    assert "An alert is fired" in home and "/studio/alerts/slow" in home
    assert "it &lt;b&gt;is" in page and "Acknowledge" in page and "above 500, within 5 minutes" in page
