"""A pipeline's steps: as a graph that can be opened, as a table with what failed first, and as the platform tells them."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from fakes.pipelines import component, end, job_of, node, submit
from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite
from smalt.studio.layout import Box, arranged

MADE = "${{parent.jobs.%s.outputs.made}}"
IN = "${{parent.inputs.raw}}"
GIVEN: Any = {
    "inputs": {"raw": {"jobInputType": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/raw/"}}
}


@pytest.fixture
def chain(site: StudioSite) -> StudioSite:
    part = component(site.harness, "part")
    jobs = {"prepare": node(part, data=IN), "train <b>": node(part, data=MADE % "prepare")}
    assert submit(site.harness, jobs, **GIVEN).status_code == 201
    site.harness.settle()
    return site


def states(page: str) -> dict[str, str]:
    return dict(re.findall(r'data-state-of="[^"]+/jobs/([^"]+)" data-state="([^"]+)"', page))


def test_a_graph_shows_each_step_how_it_stands_and_is_alive(chain: StudioSite) -> None:
    page = chain.open("/studio/jobs/pipe", {**HERE, "tab": "steps"}).text
    first, second = (job_of(chain.harness, step) for step in ("prepare", "train <b>"))
    assert states(page)[second] == "Waiting" and states(page)[first] not in ("Waiting", "Completed")
    assert page.count('<g class="step') == 2 and page.count('<path d="M') == 1
    assert "train &lt;b&gt;" in page and "<b>" not in page
    assert f'href="/studio/jobs/{first}' in page and f'href="/studio/jobs/{second}' not in page, "it is no job yet"
    end(chain.harness, "prepare")
    page = chain.open("/studio/jobs/pipe", {**HERE, "tab": "steps"}).text
    assert states(page)[first] == "Completed" and states(page)[second] != "Waiting"


def test_a_table_has_what_failed_first(chain: StudioSite) -> None:
    end(chain.harness, "prepare")
    end(chain.harness, "train <b>", exit_code=1)
    page = chain.open("/studio/jobs/pipe", {**HERE, "tab": "steps", "as": "table"}).text
    assert re.findall(r'<td><span class="status"[^>]*data-state="(\w+)"', page) == ["Failed", "Completed"]
    assert "1 Failed, 1 Completed" in page


def test_reused_steps_say_from_where(chain: StudioSite) -> None:
    end(chain.harness, "prepare")
    part = f"{WORKSPACE}/components/part/versions/1"
    submit(chain.harness, {"prepare": node(part, data=IN)}, "again", **GIVEN)
    chain.harness.settle()
    page = chain.open("/studio/jobs/again", {**HERE, "tab": "steps"}).text
    source = job_of(chain.harness, "prepare")
    assert "↺ reused" in page and f'href="/studio/jobs/{source}' in page


def test_pipelines_among_the_steps_are_opened(site: StudioSite) -> None:
    part = component(site.harness, "part")
    inner = component(
        site.harness,
        "both",
        type="pipeline",
        jobs={"a": node(part, data=IN)},
        inputs={"raw": {"type": "uri_folder"}},
        outputs={},
    )
    assert submit(site.harness, {"nested": node(inner, type="pipeline", raw=IN)}, **GIVEN).status_code == 201
    site.harness.settle()
    nested = job_of(site.harness, "nested")
    page = site.open("/studio/jobs/pipe", {**HERE, "tab": "steps"}).text
    assert page.count('<g class="step') == 1 and f"open={nested}" in page
    opened = site.open("/studio/jobs/pipe", {**HERE, "tab": "steps", "open": nested}).text
    assert opened.count('<g class="step') == 2 and 'aria-label="Close nested"' in opened


def test_other_jobs_have_no_steps(site: StudioSite) -> None:
    site.submit("train-1")
    assert site.open("/studio/jobs/train-1", {**HERE, "tab": "steps"}).status_code == 404
    assert site.harness.get(f"{WORKSPACE}/jobs/train-1/steps").status_code == 409
    assert site.harness.get(f"{WORKSPACE}/jobs/none/steps").status_code == 404


def test_edges_lead_down_and_boxes_do_not_overlap() -> None:
    boxes = [
        Box(f"s{at}", 100, 40, [f"s{one}" for one in range(max(0, at - 3), at) if (one * 7 + at) % 3])
        for at in range(500)
    ]
    boxes += [Box(f"w{at}", 100, 40, ["s0"]) for at in range(100)]
    begun = time.process_time()
    width, height = arranged(boxes)
    assert time.process_time() - begun < 2
    by_name = {box.name: box for box in boxes}
    for box in boxes:
        assert box.x >= 0 and box.y >= 0 and box.x + box.width <= width + 1 and box.y + box.height <= height + 1
        assert all(by_name[one].y + 40 <= box.y for one in box.after), box
    taken = [(box.x, box.y) for box in boxes]
    assert len(set(taken)) == len(taken)
    assert arranged([]) == (0.0, 0.0)
    assert arranged([Box("a", 1, 1, ["b"]), Box("b", 1, 1, ["a"])])[0] > 0, "a circle ends, too"
