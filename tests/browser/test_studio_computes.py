"""A person makes an instance in the Studio, works in its JupyterLab, and stops it; opens the service of a job."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from live.platform import Platform
from live.ports import free_port

pytestmark = pytest.mark.e2e
BUILT_MS, SLOW_MS = 120_000, 30_000  # where its environment has to be built first; where others keep the machine busy


def test_an_instance_is_made_opened_and_stopped(platform: Platform, studio: Page) -> None:
    studio.goto(f"{platform.url}/studio/computes")
    studio.get_by_role("link", name="New instance").click()
    studio.get_by_label("Name").fill("desk")
    studio.get_by_role("button", name="Create").click()
    expect(studio.locator("#live .status")).to_have_text("Running", timeout=BUILT_MS)
    with studio.context.expect_page() as opened:
        studio.get_by_role("link", name="Open Jupyter Lab").click()
    lab = opened.value
    expect(lab).to_have_title(re.compile("JupyterLab"), timeout=SLOW_MS)
    assert ".services.localhost:" in lab.url, "an origin of its own"
    assert not {one["name"] for one in lab.context.cookies(lab.url)} & {
        one["name"] for one in lab.context.cookies(platform.url)
    }, "nothing of the platform's goes there"
    lab.close()
    studio.get_by_role("button", name="Stop").click()
    studio.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(studio.locator("#live .status")).to_have_text("Stopped", timeout=SLOW_MS)
    expect(studio.get_by_role("link", name="Open Jupyter Lab")).to_be_hidden()


def test_the_service_of_a_job_opens_from_its_page(platform: Platform, studio: Page) -> None:
    port = free_port()
    services = {"board": {"jobServiceType": "Custom", "port": port}}
    answer = platform.submit("boarded", f"exec python -m http.server --bind 127.0.0.1 {port}", services=services)
    assert answer.status_code == 201, answer.text
    platform.wait_for("boarded", "Running")
    studio.goto(f"{platform.url}/studio/jobs/boarded")
    link = studio.get_by_role("link", name="open")
    expect(link).to_be_visible(timeout=SLOW_MS)
    studio.goto(str(link.get_attribute("href")))
    expect(studio.get_by_role("heading", name="Directory listing")).to_be_visible()
    assert "board-0-" in studio.url
    platform.call("POST", "jobs/boarded/cancel")
