"""Pages that have nothing yet say how they are filled, by files that the official client takes; and links in messages."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.studio import HERE, StudioSite
from smalt.studio.examples import EXAMPLES
from smalt.studio.rendering import linked

_LOADERS = {
    "job": "load_job", "schedule": "load_schedule", "data": "load_data", "model": "load_model",
    "environment": "load_environment", "component": "load_component", "online-endpoint": "load_online_endpoint",
    "batch-endpoint": "load_batch_endpoint", "compute": "load_compute",
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_empty_page_has_an_example_that_the_client_takes(site: StudioSite, tmp_path: Path, name: str) -> None:
    page = site.open(f"/studio/{name}")
    assert page.status_code == 200 and f"az ml {EXAMPLES[name].command} create -f" in page.text
    (tmp_path / "src").mkdir()
    for needed, content in (
        ("conda.yml", "dependencies: [pip]"),
        ("customers.csv", "a"),
        ("job.yml", EXAMPLES["jobs"].file),
    ):
        (tmp_path / needed).write_text(content)
    file = tmp_path / f"{EXAMPLES[name].command}.yml"
    file.write_text(EXAMPLES[name].file)
    loaded = getattr(importlib.import_module("azure.ai.ml.entities._load_functions"), _LOADERS[EXAMPLES[name].command])(
        file
    )
    assert loaded is not None


def test_a_list_that_is_filtered_has_none(site: StudioSite) -> None:
    page = site.open("/studio/jobs", {**HERE, "search": "x"}).text
    assert "No job is like that" in page and "az ml job" not in page


def test_jobs_and_addresses_in_a_message_are_links(site: StudioSite) -> None:
    root = site.harness.settings.url
    visit: Any = SimpleNamespace(settings=site.harness.settings, link=lambda path: f"/studio{path}?wsid=w")
    said = str(
        linked(f"Step 's' (job <b>) at {root}/studio/jobs/a-1?wsid=/x, https://there/studio/jobs/b (job n_2)", visit)
    )
    assert f'<a href="/studio/jobs/a-1?wsid=/x">{root}/studio/jobs/a-1?wsid=/x</a>,' in said
    assert '(job <a href="/studio/jobs/n_2?wsid=w">n_2</a>)' in said
    assert "(job &lt;b&gt;)" in said and said.count("<a ") == 2
