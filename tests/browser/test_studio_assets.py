"""A person with assets in the Studio: uploads data and looks at it, edits and archives it, browses and fills a datastore."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from live.pages import follow
from live.platform import Platform

pytestmark = pytest.mark.e2e
ROWS = 200_000  # above one block: 8 MiB
SCRIPT = "<script>document.title = 'ran'</script>"


def test_data_is_uploaded_looked_at_and_archived(platform: Platform, studio: Page, tmp_path: Path) -> None:
    table = tmp_path / "churn.csv"
    table.write_text("age;plan;<b>spend</b>\n" + "".join(f"{n % 60};pro;{n}.5" + " " * 30 + "\n" for n in range(ROWS)))
    studio.goto(f"{platform.url}/studio/data")
    follow(studio.get_by_role("link", name="Upload data"))
    studio.get_by_label("Choose files").set_input_files(table)
    expect(studio.locator("#chosen")).to_contain_text("churn.csv")
    expect(studio.get_by_label("Name", exact=True)).to_have_value("churn")
    studio.get_by_text("The same in Python and YAML").click()
    expect(studio.get_by_label("In Python")).to_contain_text('name="churn", version=None, type="uri_file"')
    studio.get_by_role("button", name="Register the data").click()
    rows = studio.get_by_role("region", name="Rows")
    expect(rows.get_by_role("columnheader").nth(2)).to_contain_text("<b>spend</b>")
    expect(rows.get_by_role("row")).to_have_count(101)
    studio.get_by_role("link", name="Profile").click()
    expect(studio.get_by_text("first 5000 rows; the file has more")).to_be_visible()
    expect(studio.get_by_role("row").filter(has_text="age")).to_contain_text("29.4")
    with studio.expect_download() as download:
        studio.get_by_role("link", name="Files").click()
        studio.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes() == table.read_bytes()
    studio.get_by_role("button", name="Edit description and tags").click()
    studio.get_by_label("Name of tag 1").fill("team")
    studio.get_by_label("Value of tag 1").fill("growth")
    studio.get_by_role("button", name="Save").click()
    expect(studio.get_by_text("team: growth")).to_be_visible()
    studio.get_by_role("button", name="Archive").click()
    studio.get_by_role("dialog").get_by_role("button", name="Archive").click()
    expect(studio.get_by_role("button", name="Restore")).to_be_visible()


def test_a_folder_goes_to_a_datastore_and_nothing_in_it_runs(platform: Platform, studio: Page, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    (folder / "deep").mkdir(parents=True)
    (folder / "evil.html").write_text(SCRIPT)
    (folder / "deep/a #1 ü.txt").write_text("Größe")
    studio.goto(f"{platform.url}/studio/datastores")
    follow(studio.get_by_role("link", name="workspaceblobstore"))
    studio.get_by_text("Upload into this folder").click()
    studio.get_by_label("New folder").fill("fresh")
    studio.get_by_label("Choose a folder").set_input_files(folder)
    expect(studio.get_by_text("2 of 2 files")).to_be_visible()
    files = studio.get_by_role("region", name="Files")
    files.get_by_role("link", name="fresh/").click()
    files.get_by_role("link", name="site/").click()
    files.get_by_role("link", name="evil.html", exact=True).click()
    expect(studio.get_by_label("Text")).to_have_text(SCRIPT)
    files.get_by_role("link", name="deep/").click()
    files.get_by_role("link", name="a #1 ü.txt", exact=True).click()
    expect(studio.get_by_label("Text")).to_have_text("Größe")
    expect(studio).to_have_url(re.compile("path=fresh"))
    assert not studio.title().startswith("ran")
    studio.get_by_text("Upload into this folder").click()
    again = folder / "deep/a #1 ü.txt"
    studio.get_by_label("Choose files").set_input_files(again)
    expect(studio.get_by_text("is there already, and was left as it is")).to_be_visible()


def test_pages_of_assets_fit_a_phone(platform: Platform, studio: Page) -> None:
    environment = platform.ensure_environment()
    platform.put(
        "components/step/versions/1",
        {"componentSpec": {"type": "command", "command": "echo", "environment": environment}},
    )
    studio.set_viewport_size({"width": 360, "height": 640})
    for path in ("/models", "/environments", "/components/step/1", "/data/new", "/datastores/workspaceblobstore"):
        studio.goto(f"{platform.url}/studio{path}")
        assert studio.evaluate("document.documentElement.scrollWidth") <= 360, path
        expect(studio).to_have_title(re.compile("Smalt"))
