"""A drill: failures of three causes are found and run again by keyboard; the focus stays where it is meanwhile."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from live.platform import Platform, eventually

pytestmark = pytest.mark.e2e
OF_EACH = 10
CAUSES = ("no disk", "no key", "no row")


def test_failures_of_three_causes_are_found_and_run_again_by_keyboard(platform: Platform, studio: Page) -> None:
    mended = platform.shared() / "mended"
    names = {cause: [f"{cause.replace(' ', '-')}-{at}" for at in range(OF_EACH)] for cause in CAUSES}
    for cause in CAUSES:
        for name in names[cause]:
            command = f"[ -e {mended} ] || {{ echo 'OSError: there is {cause}' >&2; exit 3; }}"
            assert platform.submit(name, command, experimentName="broken").status_code == 201
    for name in (one for of_cause in names.values() for one in of_cause):
        eventually(lambda name=name: platform.job(name)["status"] == "Failed", f"{name} to fail", 60)
    mended.touch()

    begun = time.monotonic()
    studio.goto(f"{platform.url}/studio")
    for cause in CAUSES:
        expect(studio.locator(".cause").filter(has_text=cause).locator(".count")).to_have_text(str(OF_EACH))
        go_to(studio, f".cause:has-text('{cause}') button[data-opens^=again]")
        studio.keyboard.press("Enter")
        expect(studio.get_by_role("dialog").get_by_role("button", name=f"Run all {OF_EACH} again")).to_be_focused()
        studio.keyboard.press("Enter")
        expect(studio.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
        expect(studio.locator("#feed")).to_have_text("Live")
        studio.keyboard.press("Control+k")
        studio.keyboard.type("home")
        expect(studio.get_by_role("dialog").get_by_role("option").first).to_contain_text("Home")
        studio.keyboard.press("Enter")
        expect(studio.get_by_role("heading", name="What broke")).to_be_visible()
    assert time.monotonic() - begun < 60

    def done() -> int:
        again = tuple(f"{name}-again-" for of_cause in names.values() for name in of_cause)
        jobs = [one for one in platform.get("jobs?$top=200")["value"] if one["name"].startswith(again)]
        return sum(one["properties"]["status"] == "Completed" for one in jobs)

    eventually(lambda: done() == OF_EACH * len(CAUSES), "all of them to complete", 120)


def test_the_focus_stays_where_it_is_when_a_part_of_the_page_is_new(platform: Platform, studio: Page) -> None:
    assert platform.submit("fails-1", "echo OSError: no paper; exit 5").status_code == 201
    eventually(lambda: platform.job("fails-1")["status"] == "Failed", "it to fail", 60)
    studio.goto(f"{platform.url}/studio")
    expect(studio.locator("#feed")).to_have_text("Live")
    button = studio.locator(".cause:has-text('fails-1') button[data-opens^=again]")
    button.focus()
    assert platform.submit("fails-2", "echo KeyError: none; exit 5").status_code == 201
    expect(studio.locator(".cause:has-text('fails-2')")).to_be_visible()
    expect(button).to_be_focused()


def go_to(page: Page, selector: str) -> None:
    """By Tab alone, from where the focus is."""
    for _ in range(100):
        if page.locator(selector).evaluate("one => one === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {selector}")
