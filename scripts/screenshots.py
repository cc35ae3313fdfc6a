"""The Studio's main pages as pictures in `docs/images`.

    smalt quickstart && scripts/screenshots [--root DIR] [NAME…]

They show what the quickstart made. A page whose picture would be over 150 kB is an error, as is one that answers with
anything but 200. Chromium is the machine's.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from smalt.cli.access import login_url
from smalt.cli.root import default_root
from smalt.config import read_settings

IMAGES = Path(__file__).parents[1] / "docs/images"
WIDTH, HEIGHT = 1280, 800
BYTES_MOST = 150_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--ignore-certificate-errors"]
ENDPOINT = "/endpoints/quickstart-churn"
PAGES = {
    "home": "",
    "jobs": "/jobs",
    "job-metrics": "/jobs/{job}?tab=metrics",
    "new-job": "/jobs/new?from={job}&mode=yaml",
    "endpoint": ENDPOINT,
    "endpoint-test": f"{ENDPOINT}?tab=test",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=default_root(), help="of the platform")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(PAGES)}; all where none is named")
    told = parser.parse_args()
    settings = read_settings(told.root)
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        view = {"width": WIDTH, "height": HEIGHT}
        page = browser.new_context(ignore_https_errors=True, viewport=view, reduced_motion="reduce").new_page()  # pyright: ignore
        page.goto(login_url(settings))
        job = _newest_job(page)
        for name in told.names or PAGES:
            _take(page, name, f"{settings.url}/studio{PAGES[name].format(job=job)}")
        browser.close()
    return 0


def _newest_job(page: Page) -> str:
    """Of the quickstart."""
    page.goto(page.url.split("/studio")[0] + "/studio/jobs?experimentName=quickstart-churn")
    link = page.locator("main tbody a[href*='/jobs/']").first.get_attribute("href") or ""
    return link.split("/jobs/")[1].split("?")[0]


def _take(page: Page, name: str, url: str) -> None:
    answer = page.goto(url)
    if answer is None or answer.status != 200:
        sys.exit(f"{url} answered {answer and answer.status}")
    page.wait_for_load_state("load")
    if "tab=test" in url:
        expect(page.locator("textarea")).to_have_value(re.compile("columns"))
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("[data-is=said]")).to_contain_text("after")
    expect(page.locator("s-chart:not([hidden]):not(:has(canvas))")).to_have_count(0)  # what was not measured is hidden
    if "mode=yaml" in url:
        page.get_by_text("The platform would take it.").wait_for()
    path = IMAGES / f"studio-{name}.png"
    page.screenshot(path=path)
    size = path.stat().st_size
    print(f"{path.name}: {size / 1000:.0f} kB")
    if size > BYTES_MOST:
        sys.exit(f"{path} is over {BYTES_MOST} bytes")


if __name__ == "__main__":
    sys.exit(main())
