"""From the Studio to MLflow's own pages: of a workspace, and of a job's run."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from live.platform import HOME, Platform

pytestmark = pytest.mark.e2e


def test_a_job_opens_its_run_in_mlflow(platform: Platform, studio: Page) -> None:
    answer = platform.submit("seen-in-mlflow", "echo hello", experimentName="browsing", displayName="a run with a face")
    assert answer.status_code == 201, answer.text
    platform.wait_for("seen-in-mlflow", "Completed")
    page = studio.context.new_page()  # what MLflow's pages say in the console is not ours
    page.goto(f"{platform.url}/studio/jobs/seen-in-mlflow?wsid={HOME}")
    page.get_by_role("link", name="In MLflow").click()
    expect(page).to_have_title(re.compile("MLflow"))  # the page it opens with may come first
    expect(page.get_by_text("a run with a face").first).to_be_visible()
    expect(page).to_have_url(re.compile("/runs/seen-in-mlflow"))
