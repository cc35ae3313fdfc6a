"""Going about in a browser as somebody does who waits until a page is there."""

from __future__ import annotations

from playwright.sync_api import Locator


def follow(link: Locator) -> None:
    """Ends when the scripts of the page that it leads to have run: before, a form is sent without them."""
    with link.page.expect_event("load"):
        link.click()
