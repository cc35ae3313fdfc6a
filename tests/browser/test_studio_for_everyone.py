"""Every page of the Studio: nothing serious for axe, no wider than its window from 360 to 2560 px, nothing in the console."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from live import axe
from live.platform import Platform
from smalt.studio.navigation import AREAS

pytestmark = pytest.mark.e2e
PAGES = [to for _, pages in AREAS for _, to in pages]
BELOW = ["/jobs/seen", "/jobs/seen?tab=logs", "/jobs/new", "/jobs/new?mode=yaml", "/endpoints/new", "/endpoints/seen",
         "/endpoints/seen?tab=traffic", "/endpoints/seen?tab=test"]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe.bring(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="module")
def wide(platform: Platform, browser: Browser, session: StorageState) -> Iterator[Page]:
    """One page for all addresses; what it says in the console is kept in `wrong` of it."""
    assert platform.submit("seen", "echo hello", displayName="a <b>name</b> ✓").status_code in (200, 201)
    platform.put("onlineEndpoints/seen", {"authMode": "Key"}, location="local")
    context = browser.new_context(ignore_https_errors=True, storage_state=session, reduced_motion="reduce")
    context.set_default_timeout(40_000)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("path", [*PAGES, *BELOW])
def test_a_page_keeps_nobody_out(platform: Platform, wide: Page, source: str, path: str) -> None:
    wrong = list[str]()
    hear = lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None  # noqa: E731
    wide.on("console", hear)
    wide.set_viewport_size({"width": 1400, "height": 900})
    answer = wide.goto(f"{platform.url}/studio{path}")
    assert answer is not None and answer.status == 200
    found = axe.faults(wide, source)
    for width in (360, 2560):
        wide.set_viewport_size({"width": width, "height": 900})
        assert wide.evaluate("document.documentElement.scrollWidth") <= width, f"{path} at {width} px"
    wide.remove_listener("console", hear)
    assert not found and not wrong


def test_the_dark_theme_can_be_read_too(platform: Platform, wide: Page, source: str) -> None:
    wide.emulate_media(color_scheme="dark")
    for path in ("/jobs/seen", "/settings"):
        wide.goto(f"{platform.url}/studio{path}")
        assert not axe.faults(wide, source)
    wide.evaluate("document.body.append(document.createElement('button'))")
    assert axe.faults(wide, source), "it finds what is wrong"
    wide.emulate_media(color_scheme="light")


def test_everything_is_found_by_keys(platform: Platform, wide: Page, studio: Page) -> None:
    studio.goto(f"{platform.url}/studio/jobs")
    studio.keyboard.press("/")
    expect(studio.get_by_label("Words")).to_be_focused()
    studio.keyboard.press("Escape")
    studio.locator("#content").focus()
    studio.keyboard.press("ArrowDown")
    expect(studio.locator("main tbody tr").first.get_by_role("link").first).to_be_focused()
    studio.keyboard.press("?")
    expect(studio.get_by_role("dialog", name="Keys")).to_be_visible()
    studio.keyboard.press("Escape")
    studio.keyboard.press("Control+k")
    studio.keyboard.type("seen")
    option = studio.get_by_role("option").filter(has_text="(seen)")
    expect(option).to_be_visible()
    expect(studio.get_by_role("option").filter(has_text=re.compile("Endpoint"))).to_be_visible()
    studio.keyboard.press("Enter")
    expect(studio.get_by_role("heading", name="a <b>name</b> ✓")).to_be_visible()
    expect(studio.locator("#feed")).to_have_text("Live")  # its scripts are there
    studio.keyboard.press("Control+k")
    studio.keyboard.type("settings")
    expect(studio.get_by_role("option")).to_have_count(1)
    studio.keyboard.press("Enter")
    expect(studio.get_by_role("heading", name="Settings")).to_be_visible()
