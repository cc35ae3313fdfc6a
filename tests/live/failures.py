"""Jobs that fail of three causes until something is mended, and a person who runs them again by keyboard alone."""

from __future__ import annotations

import time
from collections.abc import Sequence

from playwright.sync_api import Page, expect

from live.patience import PATIENCE_S
from live.platform import Platform, eventually

CAUSES = ("no disk", "no key", "no row")


def fail(platform: Platform, of_each: int, limit_s: float = PATIENCE_S) -> None:
    """All of them have failed when this returns; what they run again succeeds."""
    mended = platform.shared() / "mended"
    names = [(cause, f"{_named(cause)}{at}") for at in range(of_each) for cause in CAUSES]
    for cause, name in names:
        command = f"[ -e {mended} ] || {{ echo 'OSError: there is {cause}' >&2; exit 3; }}"
        assert platform.submit(name, command, experimentName="broken").status_code == 201
    for _, name in names:
        eventually(lambda name=name: platform.job(name)["status"] == "Failed", f"{name} to fail", limit_s)
    mended.touch()


def run_again_by_keyboard(page: Page, studio: str, of_each: int) -> float:
    """From home and back, cause by cause; the seconds that it took."""
    begun = time.monotonic()
    page.goto(studio)
    for cause in CAUSES:
        expect(page.locator(".cause").filter(has_text=cause).locator(".count")).to_have_text(str(of_each))
        _go_to(page, f".cause:has-text('{cause}') button[data-opens^=again]")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog").get_by_role("button", name=f"Run all {of_each} again")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
        expect(page.locator("#feed")).to_have_text("Live")
        page.keyboard.press("Control+k")
        page.keyboard.type("home")
        expect(page.get_by_role("dialog").get_by_role("option").first).to_contain_text("Home")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="What broke")).to_be_visible()
    return time.monotonic() - begun


def completed(platform: Platform) -> int:
    """Of the new ones of these jobs, whatever others run again beside them."""
    ours = tuple(map(_named, CAUSES))
    jobs = [one for one in _listed(platform) if one["name"].startswith(ours) and "-again-" in one["name"]]
    return sum(one["properties"]["status"] == "Completed" for one in jobs)


def _named(cause: str) -> str:
    """How the names of its jobs begin."""
    return cause.replace(" ", "-") + "-"


def _listed(platform: Platform) -> Sequence[dict[str, dict[str, str]]]:
    found, path = list[dict[str, dict[str, str]]](), "jobs?$top=200"
    while path:
        page = platform.get(path)
        found += page["value"]
        path = str(page.get("nextLink") or "").removeprefix(platform.url)
    return found


def _go_to(page: Page, selector: str) -> None:
    """By Tab alone, from where the focus is."""
    for _ in range(100):
        if page.locator(selector).evaluate("one => one === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {selector}")
