"""A link that is shared: somebody without an account sees the job run, live, and nothing any more once it is taken back."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from live.pages import follow
from live.patience import ANSWER_S
from live.platform import HOME, Platform

pytestmark = pytest.mark.e2e


def test_a_guest_sees_a_job_live_until_the_link_is_taken_back(
    platform: Platform, studio: Page, browser: Browser
) -> None:
    assert platform.submit("shown-1", "echo a line for guests; sleep 600").status_code == 201
    platform.wait_for("shown-1", "Running")
    studio.goto(f"{platform.url}/studio/jobs/shown-1")
    studio.get_by_role("button", name="Share").click()
    studio.get_by_label("For whom, or why").fill("Ann")
    follow(studio.get_by_role("button", name="Make the link"))
    link = studio.locator("#link").inner_text()

    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(1000 * ANSWER_S)
    guest, wrong = context.new_page(), list[str]()
    guest.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    guest.on("pageerror", lambda error: wrong.append(str(error)))
    guest.goto(f"{link}&tab=logs")
    expect(guest.get_by_role("log")).to_contain_text("a line for guests")
    expect(guest.locator("#feed")).to_have_text("Live")
    assert platform.call("POST", "jobs/shown-1/cancel").status_code in (200, 202)
    expect(guest.locator("dl.facts .status")).to_have_text("Canceled")
    assert not wrong
    for elsewhere in ("/studio/jobs", "/studio/connect", f"{HOME}/jobs/shown-1?api-version=2024-04-01"):
        answer = context.request.get(f"{platform.url}{elsewhere}", max_redirects=0)
        assert answer.status in (303, 401), elsewhere  # 303: to the page that says how to sign in
    studio.get_by_role("button", name="Take it back").click()
    follow(studio.get_by_role("dialog").get_by_role("button", name="Take it back"))
    assert guest.goto(link).status == 403  # pyright: ignore[reportOptionalMemberAccess]
    context.close()
