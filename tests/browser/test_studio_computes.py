"""A person makes a cluster in the Studio, sees a job on its node, and opens the service and a terminal of that job."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from live.pages import follow
from live.platform import HOME, Platform
from live.ports import free_port

pytestmark = pytest.mark.e2e


def test_a_cluster_is_made_and_the_service_of_its_job_opened(platform: Platform, studio: Page) -> None:
    studio.goto(f"{platform.url}/studio/computes")
    follow(studio.get_by_role("link", name="New cluster"))
    studio.get_by_label("Name").fill("farm")
    studio.get_by_role("button", name="Create").click()
    expect(studio.get_by_role("heading", name="farm")).to_be_visible()
    port = free_port()
    more = {"services": {"board": {"jobServiceType": "Custom", "port": port}}, "computeId": f"{HOME}/computes/farm"}
    answer = platform.submit("boarded", f"exec python -m http.server --bind 127.0.0.1 {port}", **more)
    assert answer.status_code == 201, answer.text
    platform.wait_for("boarded", "Running")
    nodes = studio.get_by_role("region", name="Nodes")
    expect(nodes.locator(".status")).to_have_text("Running")
    nodes.get_by_role("link", name="boarded").click()
    link = studio.get_by_role("link", name="open")
    expect(link).to_be_visible()
    with studio.context.expect_page() as opened:
        link.click(modifiers=["Control"])
    expect(opened.value.get_by_role("heading", name="Directory listing")).to_be_visible()
    assert "://board-0-" in opened.value.url, "an origin of its own"
    with studio.context.expect_page() as opened:
        studio.get_by_role("link", name="Terminal").click()
    terminal = opened.value
    expect(terminal.get_by_role("status")).to_have_text("Connected")
    terminal.keyboard.type("echo $((6*7)), $(stty size)\n")
    expect(terminal.locator(".xterm-rows")).to_contain_text(re.compile(r"42, \d+ \d+"))
    assert "://terminal-99-" in terminal.url, "an origin of its own"
    platform.call("POST", "jobs/boarded/cancel")
    expect(terminal.get_by_role("status")).to_contain_text("The job has ended")
