"""What is made and changed in the Studio: a job with code, a model behind an endpoint, traffic; a session's end; and from an
alert on a phone to the way back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, StorageState, expect

from live.pages import follow
from live.patience import ANSWER_S
from live.platform import HOME, Platform
from live.serving import Endpoint

pytestmark = pytest.mark.e2e
GROUP = HOME.partition("/providers/")[0]
QUIET = {
    "odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
    "allOf": [{"name": "quiet", "metricName": "RequestsPerMinute", "operator": "LessThan", "threshold": 1000000,
               "timeAggregation": "Total"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def endpoint(platform: Platform) -> Endpoint:
    """With an alert that fires at the next look at the numbers, some ten seconds later."""
    made = Endpoint(platform, "made")
    made.create(1)
    rule = {
        "severity": 1,
        "enabled": True,
        "scopes": [f"{HOME}/onlineEndpoints/made"],
        "evaluationFrequency": "PT1M",
        "windowSize": "PT1M",
        "criteria": QUIET,
    }
    url = f"{GROUP}/providers/Microsoft.Insights/metricAlerts/too-quiet?api-version=2018-03-01"
    answer = platform.call("PUT", url, {"location": "global", "properties": rule})
    assert answer.status_code == 200, answer.text
    return made


def test_a_job_is_made_of_a_form_with_code(
    platform: Platform, studio: Page, endpoint: Endpoint, tmp_path: Path
) -> None:
    (tmp_path / "src/inner").mkdir(parents=True)
    (tmp_path / "src/t.py").write_text("print(open('inner/said.txt').read())")
    (tmp_path / "src/inner/said.txt").write_text("from a browser")
    studio.goto(f"{platform.url}/studio/jobs/new")
    studio.get_by_label("Command").fill("python3 t.py")
    environment = studio.locator("[name=environment]")  # what is wrong with it stands in its label
    environment.fill("azureml:none:1")
    held: list[Route] = []
    studio.route(re.compile(r"/said\.txt\?"), lambda one: held.append(one), times=1)
    with studio.expect_request(re.compile(r"/said\.txt\?")):
        studio.locator("input[webkitdirectory]").set_input_files(tmp_path / "src")
    studio.get_by_role("button", name="Submit").click()
    expect(studio.get_by_text("The code is being uploaded")).to_be_visible()
    held[0].continue_()
    expect(studio.get_by_text("2 files")).to_be_visible()
    studio.get_by_role("button", name="Submit").click()
    expect(studio.get_by_role("alert")).to_contain_text("there is no environment 'none'")
    expect(environment).to_be_focused()
    expect(environment).to_have_accessible_name("Environment")
    expect(environment).to_have_accessible_description(re.compile("there is no environment 'none'"))
    environment.fill("azureml:plain:1")
    expect(studio.locator(".wrong-field")).to_have_count(0)
    studio.get_by_role("button", name="Go on in YAML").click()
    expect(studio.get_by_text("The platform would take it.")).to_be_visible()
    studio.get_by_role("textbox", name="YAML").press("Control+End")
    studio.keyboard.type("tagss: {a: b}\n")
    expect(studio.get_by_role("button", name="Line")).to_be_visible()
    expect(studio.get_by_text("Did you mean 'tags'")).to_be_visible()
    for _ in range(len("tagss: {a: b}\n")):
        studio.keyboard.press("Backspace")
    expect(studio.get_by_text("The platform would take it.")).to_be_visible()
    studio.get_by_role("button", name="Submit").click()
    expect(studio.locator("#live .status")).to_have_text("Completed")
    studio.get_by_role("link", name="Logs").click()
    expect(studio.get_by_role("log")).to_contain_text("from a browser")


def test_a_notebook_becomes_a_job_and_a_schedule(platform: Platform, studio: Page, tmp_path: Path) -> None:
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "rate = 0.1", "outputs": []}
    (tmp_path / "fit.ipynb").write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": [cell]}))
    studio.goto(f"{platform.url}/studio/jobs/new?mode=notebook")
    studio.locator("input[type=file]").set_input_files(tmp_path / "fit.ipynb")
    expect(studio.get_by_text("fit.ipynb: 1 cells")).to_be_visible()
    studio.get_by_label("rate").fill("0.5")
    studio.get_by_label("Environment").fill("azureml:plain:1")  # which has no papermill: nothing is built here
    studio.get_by_role("button", name="Submit").click()
    expect(studio.locator("pre").first).to_contain_text('-p rate "${{inputs.rate}}"')
    follow(studio.get_by_role("link", name="Schedule", exact=True))
    studio.locator("input[name=name]").fill("fits")
    studio.get_by_role("button", name="Make it").click()
    expect(studio.get_by_role("heading", name="fits")).to_be_visible()
    made = platform.get("schedules/fits")["properties"]["action"]["jobDefinition"]
    assert made["inputs"]["rate"]["value"] == "0.5" and "fit.ipynb" in made["command"]


def test_an_endpoint_is_asked_and_its_traffic_moved(platform: Platform, studio: Page, endpoint: Endpoint) -> None:
    studio.goto(f"{platform.url}/studio/endpoints/made?tab=test")
    studio.get_by_label("Body, in JSON").fill('{"rows": [1]}')
    studio.get_by_role("button", name="Ask").click()
    expect(studio.locator("[data-is=said]")).to_have_text(re.compile(r"200 after \d+ ms by blue"))
    expect(studio.get_by_label("Answer")).to_contain_text('"note": "first"')
    studio.get_by_role("button", name="Show the keys").click()
    key = platform.call("POST", "onlineEndpoints/made/listKeys").json()["primaryKey"]
    expect(studio.locator("#primaryKey")).to_have_text(key)
    follow(studio.get_by_role("link", name="Traffic and scale"))
    platform.call("PATCH", "onlineEndpoints/made", {"tags": {"by": "another"}})
    studio.get_by_label("Traffic blue, percent").fill("0")
    studio.get_by_role("button", name="Apply traffic").click()
    expect(studio.get_by_role("alert")).to_contain_text("Somebody changed it")
    studio.reload()
    slider = studio.get_by_role("slider", name="Traffic blue")
    expect(slider).to_have_value("100")
    slider.fill("0")
    studio.get_by_role("button", name="Apply traffic").click()
    expect(studio.get_by_role("region", name="Deployments")).to_contain_text("0 %")


def test_an_alert_is_made_and_disabled(platform: Platform, studio: Page, endpoint: Endpoint) -> None:
    studio.goto(f"{platform.url}/studio/endpoints/made?tab=alerts")
    follow(studio.get_by_role("link", name="New alert"))
    studio.locator("[name=name]").fill("often-failing")
    studio.get_by_label("It fires when").select_option("errors")
    studio.get_by_role("button", name="Make it").click()
    expect(studio.get_by_label("Threshold")).to_have_accessible_description(re.compile("give a number"))
    studio.get_by_label("Threshold").fill("1000000")
    studio.get_by_role("button", name="Make it").click()
    expect(studio.get_by_role("heading", name="often-failing")).to_be_visible()
    expect(studio.locator("[name=endpoint]")).to_have_value("made")
    studio.wait_for_load_state()
    studio.get_by_role("button", name="Disable").click()
    studio.get_by_role("dialog").get_by_role("button", name="Disable").click()
    expect(studio.get_by_role("button", name="Enable")).to_be_visible()


def test_from_an_alert_on_a_phone_to_the_way_back(platform: Platform, studio: Page, endpoint: Endpoint) -> None:
    studio.set_viewport_size({"width": 360, "height": 640})
    studio.goto(f"{platform.url}/studio/alerts")
    row = studio.get_by_role("row").filter(has_text="too-quiet")
    expect(row.locator(".status")).to_have_text("Fired")  # it comes by itself
    expect(row).to_contain_text("RequestsPerMinute")
    row.get_by_role("button", name="Acknowledge").click()
    expect(row.get_by_role("button", name="Acknowledge")).to_be_hidden()
    follow(row.get_by_role("link", name="made"))
    expect(studio.get_by_text("traffic: blue 100 → none")).to_be_visible()
    studio.get_by_role("button", name="Roll back", exact=True).click()
    studio.get_by_role("dialog").get_by_role("button", name="Roll back", exact=True).click()
    expect(studio.get_by_role("region", name="Deployments")).to_contain_text("100 %")
    expect(studio.get_by_text("rolled back by").first).to_be_visible()
    assert studio.evaluate("document.documentElement.scrollWidth") <= 360
    assert endpoint.ask().status_code == 200


def test_a_session_is_ended_in_all_its_pages(platform: Platform, browser: Browser) -> None:
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(1000 * ANSWER_S)
    page = context.new_page()
    page.goto(platform.login_link())
    kept: StorageState = context.storage_state()
    form, list_ = context.new_page(), context.new_page()
    form.goto(f"{platform.url}/studio/computes-new?kind=cluster")
    form.get_by_label("Name").fill("typed before")
    list_.goto(f"{platform.url}/studio/jobs")
    expect(list_.locator("#feed")).to_have_text("Live")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    for one in (form, list_):
        expect(one.get_by_role("alert")).to_contain_text("Your session has ended")
        expect(one.get_by_role("link", name="Sign in again")).to_have_attribute("href", re.compile("/studio/sign-in"))
    expect(list_.locator("#feed")).to_have_text("Signed out")
    page.goto(platform.login_link())
    for one in (form, list_):
        expect(one.get_by_role("alert")).to_have_count(0)
    expect(list_.locator("#feed")).to_have_text("Live")
    form.get_by_label("Nodes at most").fill("no number")
    form.get_by_label("Name").fill("typed-before")
    form.get_by_role("button", name="Create").click()
    expect(form.get_by_role("alert"), "the form is of the new session").to_contain_text("no number of nodes")
    expect(form.get_by_label("Name")).to_have_value("typed-before")
    again = browser.new_context(ignore_https_errors=True, storage_state=kept)
    other = again.new_page()
    other.goto(f"{platform.url}/studio")
    expect(other.get_by_role("heading", name="Sign in"), "whoever kept the cookie").to_be_visible()
    for one in (context, again):
        one.close()
