"""A person's work in the Studio: finds jobs by what they logged, compares them, follows a pipeline, looks at files."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from live.platform import HOME, Platform

pytestmark = pytest.mark.e2e
LEAVES = "mkdir -p outputs/deep; printf 'k;v\\n\\344\\37722;1\\n' > outputs/deep/latin.csv; printf 'a,b\\n1,<b>two</b>\\n' > outputs/deep/table.csv; echo one; echo a Needle here; echo end"


def log(platform: Platform, job: str, auc: float, depth: int) -> None:
    metrics = [{"key": "auc", "value": auc * step / 9, "timestamp": 1000 * step, "step": step} for step in range(10)]
    body = {"run_id": job, "metrics": metrics, "params": [{"key": "depth", "value": str(depth)}]}
    _mlflow(platform, "runs/log-batch", body)


def _list_anew(page: Page) -> None:
    """As when a field of the filters is left and its form sent: the list comes once more, as it was."""
    page.evaluate("""() => new Promise((done) => {
      document.addEventListener("htmx:afterSettle", done, { once: true });
      htmx.trigger("#filters", "submit");
    }).then(() => {})""")


@pytest.fixture(scope="module")
def jobs(platform: Platform) -> list[str]:
    names = [f"work-{number}" for number in range(3)]
    for name in names:
        answer = platform.submit(name, LEAVES, experimentName="work", tags={"seed": name[-1]})
        assert answer.status_code == 201, answer.text
    for number, name in enumerate(names):
        platform.wait_for(name, "Completed")
        log(platform, name, 0.7 + number / 10, number)
    return names


def test_jobs_are_found_by_a_metric_chosen_by_keyboard_and_compared(
    platform: Platform, studio: Page, jobs: list[str]
) -> None:
    studio.goto(f"{platform.url}/studio/jobs?experimentName=work&columns=metrics.auc,tags.seed&order=metrics.auc DESC")
    rows = studio.locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("0.9")
    studio.get_by_label("Metrics and parameters").fill("metrics.auc > 0.75")
    studio.get_by_role("button", name="Find", exact=True).click()
    expect(rows).to_have_count(2)
    expect(studio).to_have_url(re.compile(r"filter=metrics\.auc"))
    studio.locator(".every").focus()
    studio.keyboard.press("ArrowDown")
    studio.keyboard.press("x")
    expect(studio.get_by_text("1 chosen")).to_be_visible()
    _list_anew(studio)  # in the middle of the choice: it stays, and so does the place in the list
    studio.keyboard.press("ArrowDown")
    studio.keyboard.press("x")
    expect(studio.get_by_text("2 chosen")).to_be_visible()
    _list_anew(studio)
    expect(studio.get_by_text("2 chosen")).to_be_visible()
    studio.get_by_role("button", name="Compare").click()
    expect(studio.get_by_role("heading", name="2 jobs compared")).to_be_visible()
    expect(studio.locator("s-lines canvas")).to_be_visible()
    expect(studio.locator("s-scatter canvas")).to_be_visible()
    expect(studio.locator("s-parallel")).to_contain_text("coloured by auc")
    table = studio.get_by_role("region", name="In what they differ")
    expect(table.get_by_role("row").filter(has_text="work-2")).to_contain_text("0.9")


def test_many_are_tagged_and_a_view_is_kept(platform: Platform, studio: Page, jobs: list[str]) -> None:
    studio.goto(f"{platform.url}/studio/jobs?experimentName=work&columns=tags.team")
    studio.get_by_label("Choose all of this page").check()
    studio.get_by_role("button", name="Tag").click()
    studio.get_by_label("Tag", exact=True).fill("team=blue")
    studio.keyboard.press("Enter")
    expect(studio.get_by_role("cell", name="blue")).to_have_count(3)
    studio.get_by_role("button", name="Save the view").click()
    studio.get_by_label("Name").fill("mine")
    with studio.expect_event("load"):
        studio.keyboard.press("Enter")
    expect(studio.get_by_label("Views")).to_have_value("mine")  # it is what is shown
    studio.goto(f"{platform.url}/studio/jobs")
    studio.get_by_label("Views").select_option("mine")
    studio.wait_for_url("**columns=tags.team**")


def test_files_are_looked_at_and_a_log_is_searched(platform: Platform, studio: Page, jobs: list[str]) -> None:
    studio.goto(f"{platform.url}/studio/jobs/work-0?tab=artifacts&path=outputs/deep")
    studio.get_by_role("link", name="table.csv").click()
    expect(studio.locator("s-file td").nth(1)).to_have_text("<b>two</b>")
    studio.get_by_role("link", name="latin.csv").click()
    expect(studio.locator("s-file td").first).to_have_text("äÿ22")
    expect(studio.locator("s-file")).to_contain_text("2 of 2 columns. Read as Windows-1252.")
    studio.get_by_role("link", name="Logs").click()
    expect(studio.get_by_role("log")).to_contain_text("end")
    studio.get_by_label("Search all of it").fill("needle")
    studio.keyboard.press("Enter")
    studio.get_by_role("button", name="a Needle here").click()
    expect(studio.get_by_role("log")).to_have_text("a Needle here\nend\n")
    studio.get_by_role("button", name="Follow the end").click()
    expect(studio.get_by_role("log")).to_contain_text("one")


def test_a_pipeline_is_drawn_and_changes_live(platform: Platform, studio: Page) -> None:
    gate = platform.shared() / "gate"
    wait = f"until [ -e {gate} ]; do sleep 0.1; done"
    for name, command in (("quick", "true"), ("waits", wait)):
        spec = {
            "type": "command",
            "command": command,
            "environment": platform.ensure_environment(),
            "outputs": {},
            "inputs": {},
        }
        platform.put(f"components/{name}/versions/1", {"componentSpec": spec})
    steps = {name: {"type": "command", "componentId": f"azureml:{name}:1"} for name in ("quick", "waits")}
    platform.put("jobs/drawn", {"jobType": "Pipeline", "jobs": steps})
    studio.goto(f"{platform.url}/studio/jobs/drawn?tab=steps")
    box = studio.locator("g.step").filter(has_text="waits")
    expect(box.locator(".state")).to_have_text("Running")
    gate.touch()
    expect(box.locator(".state")).to_have_text("Completed")
    studio.get_by_role("button", name="Larger").click()
    box.get_by_role("link").first.click()
    expect(studio.get_by_role("heading", name="waits")).to_be_visible()


def test_a_choice_goes_on_over_the_pages_of_a_list(platform: Platform, studio: Page) -> None:
    runs = _runs(platform, "choice", 53)
    studio.goto(f"{platform.url}/studio/jobs?experimentName=choice&columns=tags.team")
    rows = studio.locator("tbody tr")
    rows.first.get_by_role("checkbox").check()
    studio.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(3)
    expect(studio.get_by_text("1 chosen, 1 on other pages")).to_be_visible()
    rows.first.get_by_role("checkbox").check()
    studio.reload()
    expect(studio.get_by_text("2 chosen, 1 on other pages")).to_be_visible()
    studio.get_by_label("Choose all of this page").check()
    studio.get_by_role("button", name="Choose all of the list").click()
    expect(studio.get_by_text("53 chosen, 50 on other pages")).to_be_visible()
    studio.get_by_role("button", name="Tag").click()
    studio.get_by_label("Tag", exact=True).fill("team=many")
    studio.keyboard.press("Enter")
    expect(studio.get_by_role("cell", name="many")).to_have_count(3)
    expect(studio.get_by_text("Choose jobs:")).to_be_visible()
    studio.get_by_role("link", name="Newest").click()
    expect(studio.get_by_role("cell", name="many")).to_have_count(50)

    metrics = [{"key": f"m{at:02}", "value": at, "timestamp": 1, "step": 0} for at in range(60)]
    _mlflow(platform, "runs/log-batch", {"run_id": runs[0], "metrics": metrics})
    asked = list[str]()
    studio.on("request", lambda one: asked.append(one.url) if "metric=" in one.url else None)
    studio.goto(f"{platform.url}/studio/jobs/{runs[0]}?tab=metrics")
    expect(studio.locator("s-chart[label=m00] canvas")).to_be_visible()
    last = studio.locator("s-chart[label=m59]")
    assert not any("m59" in one for one in asked), "nobody has looked there"
    last.scroll_into_view_if_needed()
    expect(last.locator("canvas")).to_be_visible()
    assert len(asked) < 60, "those between were passed"

    studio.evaluate("() => Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    more = [{"key": "m59", "value": 60, "timestamp": 2, "step": 1}]
    _mlflow(platform, "runs/log-batch", {"run_id": runs[0], "metrics": more})
    _mlflow(platform, "runs/update", {"run_id": runs[0], "status": "FINISHED", "end_time": 3})
    expect(last).not_to_have_attribute("live", re.compile(""))
    studio.evaluate("() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }")
    expect(last, "who comes back to it sees how it ended").to_contain_text("at step 1")


def _runs(platform: Platform, experiment: str, count: int) -> list[str]:
    """Jobs that nothing has to run for, as a notebook makes them."""
    made = _mlflow(platform, "experiments/create", {"name": experiment})["experiment_id"]
    body = {"experiment_id": made, "start_time": 1}
    found = [_mlflow(platform, "runs/create", {**body, "run_name": f"{experiment}-{at}"}) for at in range(count)]
    return [one["run"]["info"]["run_id"] for one in found]


def _mlflow(platform: Platform, what: str, body: dict[str, Any]) -> Any:
    answer = platform.call("POST", f"/mlflow/v1.0{HOME}/api/2.0/mlflow/{what}", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


SEEN = """() => document.addEventListener("smalt:change", ({ detail }) => {
    if (!detail.id.endsWith("/jobs/held-work") || detail.what !== "described") return;
    document.body.dataset.seen = document.querySelector(`[data-state-of="${CSS.escape(detail.id)}"]`).textContent;
})"""


def test_a_held_job_that_is_tagged_is_held(platform: Platform, studio: Page) -> None:
    answer = platform.submit("held-work", "exit 3", experimentName="held-work", properties={"smalt.hold": "PT10M"})
    assert answer.status_code == 201, answer.text
    studio.goto(f"{platform.url}/studio/jobs?experimentName=held-work")
    expect(studio.locator("tbody .status")).to_have_text("Held")
    studio.evaluate(SEEN)
    described = {"jobType": "Command", "tags": {"who": "looks"}}
    kept = platform.job("held-work")
    answer = platform.call("PUT", "jobs/held-work", {"properties": {**kept, **described}})
    assert answer.status_code == 200, answer.text
    expect(studio.locator("body")).to_have_attribute("data-seen", "Held")  # as soon as the change is there
    assert platform.call("POST", "jobs/held-work/cancel").status_code in (200, 202)
    platform.wait_for("held-work", "Failed", "Canceled")
