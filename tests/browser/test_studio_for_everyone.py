"""Every page of the Studio, with hostile data: nothing serious for axe in both themes, no wider than its window from 360 to
2560 px, nothing in the console."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from live import axe, hostile
from live.hostile import ENDLESS, LONG
from live.platform import Platform
from smalt.studio.app import ROUTES
from smalt.studio.navigation import AREAS

pytestmark = pytest.mark.e2e
WIDEST = """[...document.querySelectorAll('main *, header *')].filter((one) => one.getBoundingClientRect().right > innerWidth
  && !one.parentElement.closest(".scroll, svg")).slice(0, 4).map((one) => one.outerHTML.slice(0, 160)).join(' ## ')"""
OF_VERSION = f"{LONG}/1"
# Of each route of a page the addresses that are looked at, with what is hostile; the names are those of `live.hostile`.
VISITS: dict[str, tuple[str, ...]] = {
    "": ("",),
    "/workspaces": ("/workspaces",),
    "/activity": ("/activity",),
    "/connect": ("/connect",),
    "/settings": ("/settings",),
    "/shared-links": ("/shared-links",),
    "/shared-links/{name}": ("/shared-links/seen-by-all", "/shared-links/compared"),
    "/views": ("/views",),
    "/views/{name}": ("/views/wide",),
    "/jobs": ("/jobs?columns=type,experiment,created,duration,tags,description,compute", f"/jobs?search={ENDLESS[:200]}"),
    "/jobs/compare": (f"/jobs/compare?jobs=seen,{LONG}",),
    "/jobs/compare/code": (f"/jobs/compare/code?jobs=seen,{LONG}",),
    "/jobs/new": ("/jobs/new?from=seen", "/jobs/new?mode=yaml&from=seen", "/jobs/new?mode=notebook"),
    "/jobs/{name}": (f"/jobs/{LONG}", "/jobs/seen", "/jobs/seen?tab=metrics", "/jobs/seen?tab=logs",
                     "/jobs/seen?tab=artifacts&path=outputs&file=bad.csv",
                     "/jobs/seen?tab=artifacts&path=outputs&file=big.png", "/jobs/broken", "/jobs/piped?tab=steps",
                     "/jobs/piped?tab=steps&as=table", "/jobs/swept?tab=trials"),
    "/jobs/{name}/code": ("/jobs/seen/code?tab=origin&file=hostile.py",),
    "/schedules": ("/schedules",),
    "/schedules/new": ("/schedules/new?job=seen",),
    "/schedules/{name}": ("/schedules/yearly",),
    "/endpoints": ("/endpoints",),
    "/endpoints/new": (f"/endpoints/new?model={LONG}:1",),
    "/endpoints/{name}": ("/endpoints/seen", "/endpoints/seen?tab=traffic", "/endpoints/seen?tab=test",
                          "/endpoints/seen?tab=alerts"),
    "/endpoints/{name}/deploying/{deployment}": ("/endpoints/seen/deploying/blue",),
    "/batch-endpoints": ("/batch-endpoints",),
    "/batch-endpoints/new": (f"/batch-endpoints/new?model={LONG}:1",),
    "/batch-endpoints/{name}": ("/batch-endpoints/seen-nightly",),
    "/alerts": ("/alerts",),
    "/alerts-new": ("/alerts-new?endpoint=seen",),
    "/alerts/{name}": ("/alerts/seen-slow",),
    "/computes": ("/computes",),
    "/computes-new": ("/computes-new",),
    "/computes/{name}": ("/computes/wide-farm",),
    "/data/new": ("/data/new",),
    "/environments/new": (f"/environments/new?from={LONG}:1",),
    "/components/new": (f"/components/new?from={LONG}:1",),
    "/models/new": ("/models/new?job=seen&path=outputs/deep",),
    "/data": ("/data",),
    "/data/{name}": (f"/data/{LONG}",),
    "/data/{name}/{version}": (f"/data/{OF_VERSION}", f"/data/{OF_VERSION}?tab=files", f"/data/{OF_VERSION}?tab=profile",
                               "/data/picture/1?tab=files"),
    "/models": ("/models",),
    "/models/{name}": (f"/models/{LONG}",),
    "/models/{name}/{version}": (f"/models/{OF_VERSION}", f"/models/{OF_VERSION}?tab=files"),
    "/datastores": ("/datastores",),
    "/datastores/{name}": ("/datastores/workspaceblobstore",),
    "/environments": ("/environments",),
    "/environments/{name}": (f"/environments/{LONG}",),
    "/environments/{name}/{version}": (f"/environments/{OF_VERSION}",),
    "/components": ("/components",),
    "/components/{name}": (f"/components/{LONG}",),
    "/components/{name}/{version}": (f"/components/{OF_VERSION}",),
}  # fmt: skip
# They answer with no page: what scripts ask for, downloads, ways to other pages.
NO_PAGES = re.compile(
    r"/|/find|.*\.(csv|json|pem)|.*/(file|picture|zip|table|lines|metrics|mlflow|logs|search|use|trials|numbers|changes|terminal|yaml)"
)
ADDRESSES = [one for visits in VISITS.values() for one in visits]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe.bring(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="module")
def wide(platform: Platform, browser: Browser, session: StorageState) -> Iterator[Page]:
    """One page for all addresses; what is hostile is on the platform."""
    hostile.make(platform)
    context = browser.new_context(ignore_https_errors=True, storage_state=session, reduced_motion="reduce")
    context.set_default_timeout(40_000)
    yield context.new_page()
    context.close()


def test_each_route_is_looked_at() -> None:
    pages = {one.path for one in ROUTES if one.method == "GET" and not NO_PAGES.fullmatch(one.path)}
    assert set(VISITS) == pages, "a route needs its visit in VISITS, or a line in NO_PAGES"
    assert {to for _, named in AREAS for _, to in named} <= {*pages, "/"}


@pytest.mark.parametrize("path", ADDRESSES, ids=lambda one: re.sub(r"(\w)\1{50,}", r"\1…", one) or "/")
def test_a_page_keeps_nobody_out(platform: Platform, wide: Page, source: str, path: str) -> None:
    wrong = list[str]()
    hear = lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None  # noqa: E731
    wide.on("console", hear)
    wide.on("pageerror", broke := lambda error: wrong.append(str(error)))
    wide.set_viewport_size({"width": 1400, "height": 900})
    answer = wide.goto(f"{platform.url}/studio{path}")
    assert answer is not None and answer.status == 200
    found = axe.faults(wide, source)
    wide.emulate_media(color_scheme="dark")
    found += axe.faults(wide, source, rules=["color-contrast"])
    wide.emulate_media(color_scheme="light")
    too_wide = list[str]()
    for width in (360, 2560):
        wide.set_viewport_size({"width": width, "height": 900})
        if wide.evaluate("document.documentElement.scrollWidth") > width:
            too_wide.append(f"at {width} px: {wide.evaluate(WIDEST)}")
    wide.remove_listener("console", hear)
    wide.remove_listener("pageerror", broke)
    faults = [*found, *wrong, *too_wide]
    assert not faults, "\n".join(faults)


def test_what_is_wrong_is_found(wide: Page, source: str) -> None:
    wide.evaluate("document.body.append(document.createElement('button'))")
    assert axe.faults(wide, source)


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
    expect(studio.get_by_role("heading", name=hostile.NASTY)).to_be_visible()
    expect(studio.locator("#feed")).to_have_text("Live")  # its scripts are there
    studio.keyboard.press("Control+k")
    studio.keyboard.type("settings")
    expect(studio.get_by_role("option")).to_have_count(1)
    studio.keyboard.press("Enter")
    expect(studio.get_by_role("heading", name="Settings")).to_be_visible()
