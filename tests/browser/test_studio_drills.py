"""A drill: failures of three causes are found and run again by keyboard; the focus stays where it is meanwhile."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from live import failures
from live.platform import Platform, eventually

pytestmark = pytest.mark.e2e
OF_EACH = 10  # scripts/drill/failures.py has two hundred


def test_failures_of_three_causes_are_found_and_run_again_by_keyboard(platform: Platform, studio: Page) -> None:
    failures.fail(platform, OF_EACH)
    failures.run_again_by_keyboard(studio, f"{platform.url}/studio", OF_EACH)
    wanted = OF_EACH * len(failures.CAUSES)
    eventually(lambda: failures.completed(platform) == wanted, "all of them to complete")


def test_the_focus_stays_where_it_is_when_a_part_of_the_page_is_new(platform: Platform, studio: Page) -> None:
    assert platform.submit("fails-1", "echo OSError: no paper; exit 5").status_code == 201
    eventually(lambda: platform.job("fails-1")["status"] == "Failed", "it to fail")
    studio.goto(f"{platform.url}/studio")
    expect(studio.locator("#feed")).to_have_text("Live")
    button = studio.locator(".cause:has-text('fails-1') button[data-opens^=again]")
    button.focus()
    assert platform.submit("fails-2", "echo KeyError: none; exit 5").status_code == 201
    expect(studio.locator(".cause:has-text('fails-2')")).to_be_visible()
    expect(button).to_be_focused()
