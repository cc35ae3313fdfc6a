"""Parts of pages come anew while somebody works in them: the place, the choice and what was typed stay."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from live.platform import HOME, Platform

pytestmark = pytest.mark.e2e
LEFT = "one => one.scrollLeft"
ANEW = "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))"  # as if the feed had been lost


def _settled(page: Page, do: str) -> None:
    """Ends when the part that `do`, a script, asks for is on the page."""
    page.evaluate(f"""() => new Promise((done) => {{
      document.addEventListener("htmx:afterSettle", done, {{ once: true }});
      {do};
    }}).then(() => {{}})""")


def _view(platform: Platform, name: str, title: str) -> None:
    platform.put(f"savedViews/{name}", {"page": "jobs", "query": "search=places", "displayName": title, "shared": True})


def _log(platform: Platform, job: str, steps: int) -> None:
    metrics = [
        {"key": "loss", "value": 1 / (1 + step), "timestamp": 1000 * step, "step": step} for step in range(steps)
    ]
    answer = platform.call(
        "POST", f"/mlflow/v1.0{HOME}/api/2.0/mlflow/runs/log-batch", {"run_id": job, "metrics": metrics}
    )
    assert answer.status_code == 200, answer.text


def _row(page: Page, title: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=title, exact=True))


@pytest.fixture(scope="module")
def jobs(platform: Platform) -> list[str]:
    names = [f"places-{number}" for number in range(3)]
    for name in names:
        answer = platform.submit(name, "true", experimentName="places")
        assert answer.status_code == 201, answer.text
    for name in names:
        platform.wait_for(name, "Completed")
    return names


def test_a_list_is_sorted_turned_back_and_taken_up_again_where_one_was(
    platform: Platform, studio: Page, jobs: list[str]
) -> None:
    studio.set_viewport_size({"width": 600, "height": 800})
    studio.goto(f"{platform.url}/studio/jobs?experimentName=places&columns=type,experiment,duration,created,by")
    expect(studio.locator("#feed")).to_have_text("Live")
    studio.get_by_label("Choose places-0").check()
    table = studio.get_by_role("region", name="Jobs")
    table.evaluate("one => { one.scrollLeft = 40; }")
    by = studio.get_by_role("link", name="Submitted")
    _settled(studio, "const by = document.querySelector('#column-4'); by.focus({ preventScroll: true }); by.click()")
    expect(by).to_be_focused()
    expect(studio.locator("th[aria-sort=ascending]")).to_have_text("Submitted")
    expect(studio.get_by_text("1 chosen")).to_be_visible()
    assert table.evaluate(LEFT) == 40
    _settled(studio, "htmx.trigger('#filters', 'submit')")
    expect(studio, "a filter that is sent then keeps the order").to_have_url(re.compile("order=created"))
    expect(studio.locator("th[aria-sort=ascending]")).to_have_text("Submitted")

    studio.get_by_label("Choose places-2").click(modifiers=["Shift"])
    expect(studio.get_by_text("3 chosen")).to_be_visible()
    studio.get_by_role("button", name="Tag").click()
    tag = studio.get_by_label("Tag", exact=True)
    tag.fill("team=red")
    studio.evaluate("document.addEventListener('htmx:beforeRequest', () => { window.asked = true; }, { once: true })")
    studio.evaluate(ANEW)
    assert studio.evaluate("window.asked") is None, "somebody is about to answer there"
    expect(tag).to_have_value("team=red")
    with studio.expect_response(re.compile("/studio/jobs\\?")):
        studio.keyboard.press("Escape")
    expect(studio.get_by_text("3 chosen")).to_be_visible()

    with studio.expect_event("load"):  # a part alone would leave the buttons above it without what they do
        studio.go_back()
    expect(studio.locator("#feed")).to_have_text("Live")
    studio.get_by_role("button", name="Pages", exact=True).click()
    expect(studio.get_by_role("navigation", name="Pages", exact=True)).to_be_visible()


def test_what_was_typed_and_not_sent_is_there_when_others_change_the_list(platform: Platform, studio: Page) -> None:
    for name in ("a", "b", "c"):
        _view(platform, f"place-{name}", f"place {name}")
    studio.goto(f"{platform.url}/studio/views")
    expect(studio.locator("#feed")).to_have_text("Live")
    change = studio.get_by_role("button", name="Change place b")
    change.click()
    dialog = studio.get_by_role("dialog", name="Change the view")
    dialog.get_by_label("Name").fill("half a name")
    _view(platform, "place-d", "place d")
    studio.keyboard.press("Escape")
    expect(_row(studio, "place d")).to_be_visible()
    expect(change).to_be_focused()
    change.click()
    expect(dialog.get_by_label("Name")).to_have_value("half a name")
    studio.keyboard.press("Escape")

    _row(studio, "place b").get_by_role("link").focus()
    below = _row(studio, "place b").locator("xpath=following-sibling::tr[1]").get_by_role("link").inner_text()
    assert platform.call("DELETE", "savedViews/place-b").status_code in (200, 202, 204)
    expect(_row(studio, "place b")).to_have_count(0)
    expect(studio.get_by_role("link", name=below, exact=True)).to_be_focused()

    held = list[Route]()
    studio.route(re.compile(r"/studio/views$"), lambda route: held.append(route))
    with studio.expect_request(re.compile(r"/studio/views$")):
        _view(platform, "place-e", "place e")
    studio.get_by_role("button", name="Change place a").click()
    with studio.expect_response(re.compile(r"/studio/views$")):
        held.pop().continue_()
    studio.unroute_all()
    expect(dialog).to_be_visible()
    expect(_row(studio, "place e")).to_have_count(0)
    studio.keyboard.press("Escape")
    expect(_row(studio, "place e")).to_be_visible()


def test_a_job_that_ends_while_one_is_asked_whether_to_cancel_it(platform: Platform, studio: Page) -> None:
    gate = platform.shared() / "gate"
    command = f"until [ -e {gate} ]; do sleep 0.1; done"
    assert platform.submit("places-ends", command, tags={"team": "red"}).status_code == 201
    platform.wait_for("places-ends", "Running")
    studio.goto(f"{platform.url}/studio/jobs/places-ends")
    expect(studio.locator("#feed")).to_have_text("Live")
    tags = studio.get_by_role("region", name="Tags")
    tags.focus()
    patched = platform.call("PATCH", "jobs/places-ends", {"properties": {"tags": {"team": "blue"}}})
    assert patched.status_code == 200, patched.text
    expect(tags).to_contain_text("blue")
    expect(tags).to_be_focused()
    studio.get_by_role("button", name="Cancel the job").click()
    gate.touch()
    expect(studio.locator("#live .status")).to_have_text("Completed")
    studio.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).click()
    expect(studio.get_by_role("button", name="Cancel the job")).to_be_hidden()


def test_a_part_of_a_chart_stays_the_one_that_is_looked_at(platform: Platform, studio: Page) -> None:
    gate = platform.shared() / "gate"
    assert platform.submit("places-draws", f"until [ -e {gate} ]; do sleep 0.1; done").status_code == 201
    platform.wait_for("places-draws", "Running")
    _log(platform, "places-draws", 30)
    studio.goto(f"{platform.url}/studio/jobs/places-draws?tab=metrics")
    chart = studio.locator("s-chart[label=loss]")
    expect(chart).to_contain_text("at step 29")
    over = chart.locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    studio.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 20)
    studio.mouse.down()
    studio.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 20)
    studio.mouse.up()
    seen = "one => [one.plot.scales.x.min, one.plot.scales.x.max]"
    before = chart.evaluate(seen)
    assert 0 < before[0] < before[1] < 29
    _log(platform, "places-draws", 40)
    expect(chart).to_contain_text("at step 39")
    assert chart.evaluate(seen) == before
    over.dblclick()
    assert chart.evaluate(seen) == [0, 39]
    gate.touch()
