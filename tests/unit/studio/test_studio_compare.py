"""Jobs beside each other: only what differs, groups with mean and deviation, and what charts draw."""

from __future__ import annotations

import re
from html import unescape

import pytest

from fakes.platform import WORKSPACE
from fakes.studio import HERE, Logged, StudioSite, form_token

SCRIPT = "<b>x</b>"


@pytest.fixture
def four(site: StudioSite) -> StudioSite:
    for number in range(4):
        site.submit(
            f"j{number}", displayName=SCRIPT, tags={"seed": str(number), "same": "s"}, command=f"train {number // 2}"
        )
        params = {"depth": str(number // 2), "same": "1"}
        site.measured.logged[f"j{number}"] = Logged(metrics={"auc": number / 2}, params=params, least=-number, most=9)
    return site


def compare(site: StudioSite, **query: str) -> str:
    return site.open("/studio/jobs/compare", {**HERE, **query}).text


def test_only_what_differs_is_told(four: StudioSite) -> None:
    page = compare(four, jobs="j0,j1,j2,j3")
    heads = re.findall(r'rowspan="2" title="([^"]+)">', page)
    assert heads == ["params.depth", "tags.seed", "command"]
    assert SCRIPT not in page and "&lt;b&gt;x" in page
    assert page.count("<strong>-3</strong>") == 1 and page.count("<strong>9</strong>") == 4, (
        "the best of each are marked"
    )
    assert "4 jobs compared" in page and "Code, environment and data" not in page


def test_groups_have_mean_and_deviation(four: StudioSite) -> None:
    page = compare(four, jobs="j0,j1,j2,j3", group="params.depth")
    assert "0.25 ± 0.353553" in page and "1.25 ± 0.353553" in page
    assert "jobs=j2%2Cj3" in page, "a group is compared by itself"
    assert "have the same tags.same" in compare(four, jobs="j0,j1", group="tags.same")


def test_of_two_jobs_the_makings_are_beside_each_other(four: StudioSite) -> None:
    page = compare(four, jobs="j1,j2")
    assert "<code>command</code><td><code>train 0</code><td><code>train 1</code>" in page.replace("\n", "")
    assert "from the same code" in compare(four, jobs="j0,j1")


def test_charts_get_numbers_and_texts(four: StudioSite) -> None:
    found = four.open("/studio/jobs/compare/table", {**HERE, "jobs": "j3,j0"}).json()
    assert [one["name"] for one in found["jobs"]] == ["j3", "j0"]
    columns = {one["name"]: one["values"] for one in found["columns"]}
    assert columns == {
        "params.depth": [1.0, 0.0],
        "tags.seed": [3.0, 0.0],
        "command": ["train 1", "train 0"],
        "metrics.auc": [1.5, 0.0],
    }
    lines = four.open("/studio/jobs/compare/lines", {**HERE, "jobs": "j3,j0", "metric": "auc"}).json()["lines"]
    assert [(one["name"], one["at"], one["values"]) for one in lines] == [
        ("j3", [0, 5], [0.5, 0.25]),
        ("j0", [0, 5], [0.5, 0.25]),
    ]
    relative = {**HERE, "jobs": "j3,j0", "metric": "auc", "axis": "relative"}
    assert four.open("/studio/jobs/compare/lines", relative).json()["lines"][0]["at"] == [0.0, 1.0]


def test_what_is_no_number_to_json_is_a_text(four: StudioSite) -> None:
    for number, text in enumerate(("nan", "inf", "-Infinity", "1")):
        four.measured.logged[f"j{number}"].params["missing"] = text
    found = four.open("/studio/jobs/compare/table", {**HERE, "jobs": "j0,j1,j2,j3"}).json()
    columns = {one["name"]: one["values"] for one in found["columns"]}
    assert columns["params.missing"] == ["nan", "inf", "-Infinity", 1.0]


def test_a_group_with_an_infinite_metric_has_no_mean_of_it(four: StudioSite) -> None:
    for name in ("j0", "j1"):
        four.measured.logged[name].metrics["auc"] = 1.7976931348623157e308  # as MLflow keeps infinity
    page = compare(four, jobs="j0,j1,j2,j3", group="params.depth")
    assert "1.25 ± 0.353553" in page and page.count(" ± ") == 2, "that of the other, and the head"


def test_what_cannot_be_compared_is_refused(four: StudioSite) -> None:
    for jobs, status, said in (
        ("", 400, "Choose 2 to 500 jobs"),
        ("j0", 400, "these are 1"),
        (",".join(f"n{number}" for number in range(501)), 400, "these are 501"),
        ("j0,nobody", 404, "there are not two"),
    ):
        for path in ("", "/table", "/lines"):
            answer = four.open(f"/studio/jobs/compare{path}", {**HERE, "jobs": jobs})
            assert answer.status_code == status and said in answer.text, (jobs[:20], path)
    assert "Not there, or not yours to see: nobody." in compare(four, jobs="j0,nobody,j1")
    four.allowed = False
    assert four.open("/studio/jobs/compare", {**HERE, "jobs": "j0,j1"}).status_code == 403


def test_however_long_their_names_are_the_url_is_short_and_stays_good(site: StudioSite) -> None:
    names = [f"{at:03}-{'n' * 250}" for at in range(500)]
    for name in names:
        site.submit(name, tags={"seed": name[2]})
    token = form_token(site.open("/studio/jobs").text)
    fields = {"verb": "compare", **{f"job.{name}": "on" for name in names}}
    to = site.send_form("/studio/jobs/many", token, fields).headers["location"]
    assert len(to) < 400 and "kept=" in to
    assert site.send_form("/studio/jobs/many", token, fields).headers["location"] == to, "the same is the same"
    page = site.open(to, {}).text
    assert "500 jobs compared" in page and "0 jobs" not in page.partition("500 jobs")[0]
    asked = [unescape(one) for one in re.findall(r'(?:src|href)="(/studio/jobs/compare[^"]*)"', page)]
    assert all(len(one) < 400 for one in asked) and 'name="kept"' in page
    assert len(site.open(to.replace("/compare", "/compare/table"), {}).json()["jobs"]) == 500
    grouped = site.open(f"{to}&group=tags.seed", {}).text
    assert grouped.count("<button aria-label") == 10 and grouped.count("jobs=") == 0


def test_a_comparison_that_is_kept_is_of_what_it_was_made_of(site: StudioSite) -> None:
    url = f"{WORKSPACE}/comparisons/mine"
    assert site.harness.put(url, {"properties": {"jobs": ["a", "b"]}}).status_code == 201
    assert site.harness.put(url, {"properties": {"jobs": ["b", "a"]}}).status_code == 409
    for wrong in (["a"], ["a", "A"], ["a", "../b"], [f"j{at}" for at in range(501)]):
        assert site.harness.put(f"{url}-2", {"properties": {"jobs": wrong}}).status_code == 400
    assert site.open("/studio/jobs/compare", {**HERE, "kept": "nobody"}).status_code == 404
    assert site.open("/studio/jobs/compare", {**HERE, "kept": "a/b"}).status_code == 400
