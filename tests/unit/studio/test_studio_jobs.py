"""The list of jobs: columns, filters and orders of what runs logged, what is done with many, and CSV."""

from __future__ import annotations

import csv
import re
from typing import Any

import pytest

from fakes.platform import WORKSPACE
from fakes.studio import HERE, Logged, StudioSite, form_token
from smalt.studio.pages import job_list

SCRIPT = "<img src=x>"


def names(page: str) -> list[str]:
    return re.findall(r'<td><a href="/studio/jobs/([^"?]+)', page)


@pytest.fixture
def three(site: StudioSite) -> StudioSite:
    for number, name in enumerate(("one", "two", "three")):
        site.submit(name, tags={"team": name}, experimentName="x" if number else "y")
        site.measured.logged[name] = Logged(metrics={"auc": number / 4, SCRIPT: None}, params={"depth": str(number)})
    site.measured.like = {"metrics.auc > 0.1": ["two", "gone", "three"], "": ["one", "two", "three"]}
    return site


def test_columns_are_of_ones_choice_and_in_the_url(three: StudioSite) -> None:
    page = three.open(
        "/studio/jobs", {**HERE, "columns": f"tags.team,metrics.auc,params.depth,duration,metrics.{SCRIPT}"}
    )
    assert SCRIPT not in page.text and "&lt;img src=x&gt;" in page.text
    row = page.text[page.text.index(">two</a>") :].partition("</tr>")[0]
    assert [*re.findall(r"<td[^>]*>([^<\n]+)", row)] == ["two", "0.25", "1", "1 min 30 s", "–"]
    assert 'value="metrics.auc" checked' in page.text and 'value="type">' in page.text
    assert three.open("/studio/jobs", {**HERE, "columns": "nonsense,metrics."}).status_code == 200


def test_a_filter_of_what_was_logged_is_the_runs_and_the_platform_says_who_sees_them(three: StudioSite) -> None:
    like = {**HERE, "filter": "metrics.auc > 0.1"}
    assert names(three.open("/studio/jobs", like).text) == ["two", "three"]
    assert names(three.open("/studio/jobs", {**like, "order": "metrics.auc DESC"}).text) == ["three", "two"]
    assert names(three.open("/studio/jobs", {**like, "status": "Failed"}).text) == []
    assert names(three.open("/studio/jobs", {**like, "search": "team=three"}).text) == ["three"]
    assert names(three.open("/studio/jobs", {**like, "after": "1"}).text) == ["three"]
    wrong = three.open("/studio/jobs", {**HERE, "filter": "nonsense"})
    assert 'role="alert"' in wrong.text and "is not one" in wrong.text and 'value="nonsense"' in wrong.text
    for after in ("x", "9" * 5000, "9" * 19):
        assert three.open("/studio/jobs", {**like, "after": after}).text.count("is not a page of this list") == 1
    three.allowed = False
    assert three.open("/studio/jobs", like).status_code == 403


def test_the_oldest_come_first_where_one_asks_for_it(three: StudioSite) -> None:
    assert names(three.open("/studio/jobs").text) == ["three", "two", "one"]
    assert names(three.open("/studio/jobs", {**HERE, "order": "created"}).text) == ["one", "two", "three"]


def test_many_are_canceled_archived_and_tagged_at_once(three: StudioSite) -> None:
    token = form_token(three.open("/studio/jobs").text)
    both = {"job.one": "on", "job.two": "on", "back": "/studio/jobs?order=created"}
    done = three.send_form("/studio/jobs/many", token, {**both, "verb": "tag", "tag": "fruit = apple"})
    assert (done.status_code, done.headers["location"]) == (303, "/studio/jobs?order=created#done")
    assert three.harness.row(f"{WORKSPACE}/jobs/two").properties["tags"] == {"team": "two", "fruit": "apple"}
    three.send_form("/studio/jobs/many", token, {**both, "verb": "cancel"})
    three.harness.settle()
    assert {three.harness.row(f"{WORKSPACE}/jobs/{one}").state for one in ("one", "two")} == {"Canceled"}
    assert three.send_form("/studio/jobs/many", token, {**both, "verb": "archive"}).status_code == 303
    assert names(three.open("/studio/jobs").text) == ["three"]
    compared = three.send_form("/studio/jobs/many", token, {**both, "verb": "compare"})
    assert "/studio/jobs/compare?jobs=one%2Ctwo" in compared.headers["location"]


def test_all_of_a_list_are_named_as_many_as_are_done_with_at_once(
    three: StudioSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(**query: str) -> Any:
        return three.open("/studio/jobs.json", {**HERE, **query}).json()

    assert asked() == {"names": ["three", "two", "one"], "more": False}
    assert asked(experimentName="x", after="ignored")["names"] == ["three", "two"]
    assert asked(filter="metrics.auc > 0.1")["names"] == ["two", "three"]
    page = three.open("/studio/jobs", {**HERE, "experimentName": "x", "order": "created", "columns": "type"}).text
    assert "data-names" not in page, "there is one page"
    assert "experimentName=x" in (of := re.findall(r'id="list" data-of="([^"]+)"', page)[0]) and "order" not in of
    monkeypatch.setattr(job_list, "MOST", 2)
    monkeypatch.setattr(job_list, "PAGE", 1)
    assert asked() == {"names": ["three", "two"], "more": True}
    assert "/studio/jobs.json?" in three.open("/studio/jobs").text


def test_what_was_refused_of_many_is_said_for_each(three: StudioSite) -> None:
    token = form_token(three.open("/studio/jobs").text)
    some = {"job.one": "on", "job.nobody": "on", "verb": "cancel", "back": "https://elsewhere.example/"}
    answer = three.send_form("/studio/jobs/many", token, some)
    assert answer.status_code == 409 and "1 done; 1 were refused" in answer.text and "nobody" in answer.text
    assert "elsewhere" not in answer.text
    for fields, said in (
        ({"verb": "cancel"}, "No job was chosen"),
        ({"verb": "burn", "job.one": "on"}, "not &#39;burn&#39;"),
        ({"verb": "cancel", "job.one/../two": "on"}, "is no name of a job"),
        ({"verb": "tag", "job.one": "on", "tag": " "}, "NAME=VALUE"),
        ({"verb": "cancel", **{f"job.{number}": "on" for number in range(501)}}, "At most 500"),
    ):
        assert said in three.send_form("/studio/jobs/many", token, fields).text, said
    assert three.send_form("/studio/jobs/many", "", {"job.two": "on", "verb": "cancel"}).status_code == 403
    assert three.harness.row(f"{WORKSPACE}/jobs/two").state != "CancelRequested"


def test_jobs_run_again_under_a_new_name(three: StudioSite) -> None:
    token = form_token(three.open("/studio/jobs").text)
    three.send_form("/studio/jobs/many", token, {"job.one": "on", "verb": "again"})
    first = names(three.open("/studio/jobs").text)[0]
    assert first.startswith("one-again-")
    properties = three.harness.row(f"{WORKSPACE}/jobs/{first}").properties
    assert properties["command"] == "python t.py" and properties["properties"]["smalt.rerun_of"] == "one"
    alone = three.send_form("/studio/jobs/two/again", token)
    assert alone.status_code == 303 and "/studio/jobs/two-again-" in alone.headers["location"]


def test_what_runs_again_writes_to_places_of_its_own(three: StudioSite) -> None:
    place = "azureml://datastores/workspaceblobstore/paths/${{name}}/x/"
    outputs = {"o": {"jobOutputType": "uri_folder"}, "asked": {"jobOutputType": "uri_folder", "uri": place}}
    three.submit("kept", outputs=outputs)
    token = form_token(three.open("/studio/jobs").text)
    new = three.send_form("/studio/jobs/kept/again", token).headers["location"].partition("?")[0].rpartition("/")[2]
    assert three.harness.row(f"{WORKSPACE}/jobs/{new}").properties["outputs"] == outputs


def test_a_job_that_runs_again_keeps_its_properties(three: StudioSite) -> None:
    three.submit("kept", properties={"team": "blue"})
    token = form_token(three.open("/studio/jobs").text)
    new = three.send_form("/studio/jobs/kept/again", token).headers["location"]
    name = new.partition("?")[0].rpartition("/")[2]
    properties = three.harness.row(f"{WORKSPACE}/jobs/{name}").properties["properties"]
    assert (properties["team"], properties["smalt.rerun_of"]) == ("blue", "kept")


def test_a_list_is_csv_and_no_formula(three: StudioSite) -> None:
    three.submit("four", displayName="=1+1", tags={"team": "-3"})
    answer = three.open("/studio/jobs.csv", {**HERE, "columns": "tags.team,metrics.auc"})
    assert (
        answer.headers["content-type"].startswith("text/csv") and "attachment" in answer.headers["content-disposition"]
    )
    head, *rows = csv.reader(answer.text.splitlines())
    assert head == ["name", "display name", "status", "tags.team", "metrics.auc"]
    assert rows[0] == ["four", "'=1+1", "NotStarted", "-3", ""] and rows[1][:2] == ["three", "three"]
    assert [row[0] for row in rows] == ["four", "three", "two", "one"] and rows[2][4] == "0.25"
    assert three.open("/studio/jobs.csv", {**HERE, "filter": "nonsense"}).status_code == 400


def test_the_platform_lists_jobs_by_their_names_and_by_status(three: StudioSite) -> None:
    def listed(query: str) -> list[str]:
        return [one["name"] for one in three.harness.get(f"{WORKSPACE}/jobs?{query}").json()["value"]]

    assert listed("names=THREE,one,nobody,one") == ["three", "one"]
    assert listed("names=") == [] and listed("names=one&jobType=Sweep") == []
    assert listed("status=notstarted&$top=2") == ["three", "two"] and listed("status=Failed,Canceled") == []
    assert listed("status=Unheard,NotStarted") == ["three", "two", "one"] and listed("status=Unheard") == []
    refused = three.harness.get(f"{WORKSPACE}/jobs?names={','.join(f'j{number}' for number in range(1001))}")
    assert refused.status_code == 400 and "At most 1000" in refused.text
