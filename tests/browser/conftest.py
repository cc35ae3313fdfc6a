"""A platform, a browser, and a page that keeps what goes wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright

from live.platform import Platform
from live.tools import wanting

PATIENCE_MS = 90_000  # where others keep the machine busy
expect.set_options(timeout=PATIENCE_MS)  # a context's own default is not that of `expect`, which is 5 s
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# headless as root, without calls to anywhere but the page; workers do not see that a context ignores certificates
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--ignore-certificate-errors"]  # fmt: skip


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("browser")).started() as one:
        one.ensure_environment()
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module: while it is there, nobody else has an event loop in this process."""
    if CHROMIUM is None:
        wanting("Chromium", "install chromium (Debian)")
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def session(platform: Platform, browser: Browser) -> StorageState:
    """What a browser keeps that has opened a login link."""
    context = browser.new_context(ignore_https_errors=True)
    context.new_page().goto(platform.login_link())
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def studio(platform: Platform, browser: Browser, session: StorageState) -> Iterator[Page]:
    """Signed in. At the end nothing may have been wrong, nor asked of another host."""
    context = browser.new_context(ignore_https_errors=True, storage_state=session)
    context.set_default_timeout(PATIENCE_MS)
    page, wrong = context.new_page(), list[str]()
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((platform.url, "data:")) else wrong.append(asked.url))
    yield page
    context.close()
    assert not wrong
