"""A person in the Studio: signs in, watches a job and reads what it says, ends it, archives it; watches an endpoint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from live.pages import follow
from live.platform import HOME, Platform
from live.serving import Endpoint

pytestmark = pytest.mark.e2e
TALKS = "for i in $(seq 1 400); do echo line $i; done; until [ -e {gate} ]; do sleep 0.1; done; echo the end"
# How many milliseconds after its change a status is on screen; both clocks are this machine's.
WATCH = """document.addEventListener("smalt:change", ({ detail }) => {
  if (detail.to === "Completed") document.body.dataset.late = Date.now() - Date.parse(detail.at);
});"""
LATEST_MS = 2000  # 200 is what is wanted of a machine that has nothing else to do


def submit(platform: Platform, name: str, gate: Path, **more: str) -> None:
    answer = platform.submit(name, TALKS.format(gate=gate), experimentName="browsing", **more)
    assert answer.status_code == 201, answer.text


def log_loss(platform: Platform, job: str, steps: int) -> None:
    metrics = [
        {"key": "loss", "value": 1 / (step + 1), "timestamp": 1000 * step, "step": step} for step in range(steps)
    ]
    body = {"run_id": job, "metrics": metrics, "params": [{"key": "depth", "value": "7"}]}
    answer = platform.call("POST", f"/mlflow/v1.0{HOME}/api/2.0/mlflow/runs/log-batch", body)
    assert answer.status_code == 200, answer.text


def test_the_link_opens_the_studio_once(platform: Platform, browser: Browser, page: Page) -> None:
    link = platform.login_link()
    page.goto(link)
    expect(page.get_by_role("heading", name="default")).to_be_visible()
    stranger = browser.new_context(ignore_https_errors=True).new_page()
    refused = stranger.goto(link)
    assert refused is not None and refused.status == 403, "a login link opened twice"
    stranger.goto(f"{platform.url}/jobs/any?wsid={HOME}")
    expect(stranger.get_by_role("heading", name="Sign in")).to_be_visible()
    stranger.context.close()


def test_a_job_is_watched_to_its_end(platform: Platform, studio: Page) -> None:
    gate = platform.shared() / "gate"
    studio.goto(f"{platform.url}/studio/jobs")
    expect(studio.locator("#feed")).to_have_text("Live")
    submit(platform, "watched", gate, displayName="<b>watched</b>")
    studio.get_by_role("button", name="There are new jobs").click()
    row = studio.get_by_role("row").filter(has_text="<b>watched</b>")
    expect(row.locator(".status")).to_have_text("Running")

    log_loss(platform, "watched", 30)
    row.get_by_role("link").first.click()
    expect(studio.get_by_role("heading", name="<b>watched</b>")).to_be_visible()
    expect(studio.get_by_role("row").filter(has_text="depth")).to_contain_text("7")
    studio.get_by_role("link", name="Metrics", exact=True).click()
    expect(studio.locator("s-chart[label=loss] canvas")).to_be_visible()
    expect(studio.locator("s-chart[label=loss]")).to_contain_text("at step 29")
    log_loss(platform, "watched", 40)
    expect(studio.locator("s-chart[label=loss]")).to_contain_text("at step 39")
    studio.get_by_role("link", name="time", exact=True).click()
    expect(studio).to_have_url(re.compile("axis=time"))
    expect(studio.locator("s-chart[label=loss] canvas")).to_be_visible()

    studio.get_by_role("link", name="Logs").click()
    log = studio.get_by_role("log")
    expect(log).to_contain_text("line 400")
    log.evaluate("one => one.scrollTop = 0")
    expect(studio.get_by_role("button", name="Follow the end")).to_be_visible()
    expect(studio.locator("#feed")).to_have_text("Live")
    gate.touch()
    expect(studio.locator("#live .status")).to_have_text("Completed")
    expect(log).to_contain_text("the end")
    assert log.evaluate("one => one.scrollTop") == 0, "somebody read there"
    studio.get_by_role("button", name="Follow the end").click()
    studio.wait_for_function("() => document.querySelector('[role=log]').scrollTop > 0")
    expect(studio.get_by_role("button", name="Cancel the job")).to_be_hidden()


def test_an_end_is_on_screen_soon(platform: Platform, studio: Page) -> None:
    """By the best of several: a machine may have much else to do."""
    late = list[int]()
    while not late or (late[-1] >= LATEST_MS and len(late) < 5):
        name, gate = f"soon-{len(late)}", platform.shared() / "gate"
        submit(platform, name, gate)
        platform.wait_for(name, "Running")
        studio.goto(f"{platform.url}/studio/jobs/{name}")
        expect(studio.locator("#feed")).to_have_text("Live")
        studio.evaluate(WATCH)
        gate.touch()
        expect(studio.locator("#live .status")).to_have_text("Completed")
        expect(studio.locator("body")).to_have_attribute("data-late", re.compile(r"\d+"))
        late.append(int(str(studio.locator("body").get_attribute("data-late"))))
    print(f"on screen after {late[-1]} ms")
    assert min(late) < LATEST_MS, late


def test_a_job_is_canceled_and_archived(platform: Platform, studio: Page) -> None:
    submit(platform, "unwanted", platform.shared() / "never")
    platform.wait_for("unwanted", "Running")
    studio.goto(f"{platform.url}/studio")
    running = studio.get_by_role("region", name="Running")
    follow(running.get_by_role("link", name="unwanted"))
    studio.get_by_role("button", name="Cancel the job").click()
    studio.get_by_role("button", name="Cancel", exact=True).click()
    studio.get_by_role("button", name="Cancel the job").click()
    studio.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(studio.locator("#live .status")).to_have_text("Canceled")
    studio.get_by_role("button", name="Archive").click()
    studio.get_by_role("dialog").get_by_role("button", name="Archive").click()
    expect(studio.get_by_role("button", name="Restore")).to_be_visible()
    studio.get_by_role("link", name="Jobs", exact=True).first.click()
    expect(studio.locator("#feed")).to_have_text("Live")
    studio.get_by_label("Words").fill("unwanted")
    expect(studio.get_by_text("No job is like that")).to_be_visible()
    studio.get_by_label("Shown").select_option("archived")
    expect(studio.get_by_role("link", name="unwanted")).to_be_visible()
    expect(studio).to_have_url(re.compile("(?=.*search=unwanted).*view=archived"))
    studio.reload()
    expect(studio.get_by_role("link", name="unwanted")).to_be_visible()


def test_pages_fit_a_phone_and_have_two_themes(platform: Platform, studio: Page) -> None:
    submit(platform, "small", platform.shared() / "never")
    studio.set_viewport_size({"width": 360, "height": 640})
    shades: set[str] = set()
    for path in (
        "",
        "/jobs",
        "/jobs/small",
        "/jobs/small?tab=metrics",
        "/jobs/small?tab=logs",
        "/jobs/small?tab=origin",
    ):
        studio.goto(f"{platform.url}/studio{path}")
        assert studio.evaluate("document.documentElement.scrollWidth") <= 360, path
    studio.get_by_role("button", name="Pages", exact=True).click()
    for theme in ("light", "dark"):
        studio.get_by_role("button", name=re.compile("Theme")).click()
        expect(studio.get_by_role("button", name=f"Theme: {theme}")).to_be_visible()
        shades.add(studio.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(shades) == 2
    assert platform.call("POST", "jobs/small/cancel").status_code in (200, 202)


def test_what_happens_while_the_server_is_away_is_on_the_page(platform: Platform, studio: Page) -> None:
    gate = platform.shared() / "gate"
    submit(platform, "missed", gate)
    platform.wait_for("missed", "Running")
    studio.goto(f"{platform.url}/studio/jobs/missed")
    expect(studio.locator("#feed")).to_have_text("Live")
    form = studio.context.new_page()
    form.goto(f"{platform.url}/studio/environments/new")
    form.locator("[name=name]").fill("typed-before")
    before = platform.kill("server")
    gate.touch()
    platform.restarted("server", before)
    expect(studio.locator("#live .status")).to_have_text("Completed")
    expect(studio.locator("#feed")).to_have_text("Live")
    form.get_by_role("button", name="See its YAML").click()
    expect(form.locator("#preview-yaml")).to_contain_text("name: typed-before")
    form.close()


def test_a_list_that_comes_late_does_not_show_what_was(platform: Platform, studio: Page) -> None:
    """A page that joins the feed asks for its list once more; its answer may be older than what the feed says meanwhile."""
    gate = platform.shared() / "late"
    submit(platform, "overtaken", gate)
    platform.wait_for("overtaken", "Running")
    studio.goto(f"{platform.url}/studio/jobs")
    status = studio.get_by_role("row").filter(has_text="overtaken").locator(".status")
    expect(status).to_have_text("Running")

    def late(route: Route) -> None:
        answer = route.fetch()
        gate.touch()
        expect(status).to_have_text("Completed")
        route.fulfill(response=answer)

    studio.route(re.compile(r"/studio/jobs$"), late)
    come = "window.come = new Promise((then) => document.addEventListener('htmx:afterSettle', () => then(), { once: true }))"
    studio.evaluate(f"{come}; dispatchEvent(new PageTransitionEvent('pageshow', {{ persisted: true }}))")
    studio.evaluate("window.come")
    expect(status).to_have_text("Completed")


def test_an_endpoint_is_watched(platform: Platform, studio: Page) -> None:
    endpoint = Endpoint(platform, "watched")
    endpoint.create(1)
    assert endpoint.ask().status_code == 200
    studio.goto(f"{platform.url}/studio/endpoints")
    studio.get_by_role("link", name="watched").click()
    deployment = studio.get_by_role("region", name="Deployments").get_by_role("row").filter(has_text="blue")
    expect(deployment).to_contain_text("Succeeded")
    expect(deployment).to_contain_text("100 %")
    expect(studio.locator("s-chart")).to_have_count(2)
    studio.locator("summary", has_text="blue").click()
    expect(studio.get_by_label("Log of blue")).to_contain_text("init was called")
    expect(studio.locator("#feed")).to_have_text("Live")
    platform.put("onlineEndpoints/watched", {"authMode": "Key", "traffic": {"blue": 0}}, location="local")
    expect(deployment).to_contain_text("0 %")
    expect(deployment).not_to_contain_text("100 %")
    expect(studio.get_by_label("Log of blue"), "what somebody reads stays open").to_be_visible()


def test_what_is_pressed_before_the_scripts_have_run_waits_for_them(platform: Platform, studio: Page) -> None:
    held = list[Route]()
    studio.route("**/static/studio.js", lambda route: held.append(route))
    studio.goto(f"{platform.url}/studio/jobs", wait_until="commit")
    studio.get_by_role("button", name="Save the view").click()
    dialog = studio.get_by_role("dialog", name="Save the view")
    expect(dialog).to_be_hidden()
    held.pop().continue_()
    expect(dialog).to_be_visible()

    studio.goto(f"{platform.url}/studio/schedules?as=calendar&month=2030-01", wait_until="commit")
    studio.get_by_label("Time zone").fill("Asia/Tokyo")
    studio.get_by_label("Time zone").press("Tab")
    expect(studio.get_by_role("table")).not_to_contain_text("Asia/Tokyo")
    held.pop().continue_()
    expect(studio.get_by_role("table")).to_contain_text("times of Asia/Tokyo")
