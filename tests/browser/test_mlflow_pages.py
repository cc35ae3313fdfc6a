"""A person with a browser: the login link that `smalt up` prints opens MLflow once, and a job's link opens its run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from live.platform import HOME, Platform
from live.tools import wanting

pytestmark = pytest.mark.e2e
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# headless as root, and without calls to anywhere but the page
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("browser")).started() as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        wanting("Chromium", "install chromium (Debian)")
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(40_000)
    yield context.new_page()
    context.close()


def login_link(platform: Platform) -> str:
    """A second `up` is a no-op that prints a new link."""
    said = platform.smalt("up", "--detach").stdout
    found = re.search(r"https://\S+/login\?code=\S+", said)
    assert found, said
    return found.group()


def test_the_link_opens_mlflow_and_a_job_opens_its_run(platform: Platform, page: Page, browser: Browser) -> None:
    platform.ensure_environment()
    answer = platform.submit(
        "seen-in-the-browser", "echo hello", experimentName="browsing", displayName="a run with a face"
    )
    assert answer.status_code == 201, answer.text
    platform.wait_for("seen-in-the-browser", "Completed")
    link = login_link(platform)
    page.goto(link)
    expect(page).to_have_title(re.compile("MLflow"))  # the page it opens with may come first
    page.goto(f"{platform.url}/jobs/seen-in-the-browser?wsid={HOME}")
    expect(page.get_by_text("a run with a face").first).to_be_visible()
    assert "/runs/seen-in-the-browser" in page.url

    stranger = browser.new_context(ignore_https_errors=True).new_page()
    refused = stranger.goto(link)
    assert refused is not None and refused.status == 403, "a login link opened twice"
    refused = stranger.goto(f"{platform.url}/jobs/seen-in-the-browser?wsid={HOME}")
    assert refused is not None and refused.status == 401
    stranger.context.close()


def test_a_job_that_is_not_there_says_so(platform: Platform, page: Page, tmp_path: Path) -> None:
    page.goto(login_link(platform))
    missing = page.goto(f"{platform.url}/jobs/nothing?wsid={HOME}")
    assert missing is not None and missing.status == 404
    wrong = page.goto(f"{platform.url}/jobs/nothing?wsid=nonsense")
    assert wrong is not None and wrong.status == 400
