"""A job's page: its files, a search through a log, what its nodes use, its priority, and charts as one wants them."""

from __future__ import annotations

import json
import re
from html import unescape
from urllib.parse import urlencode

import pytest

from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token
from smalt.agent.wire import Ref
from smalt.kinds.jobs import files

JOB = f"{WORKSPACE}/jobs/train-1"


@pytest.fixture
def left(site: StudioSite) -> StudioSite:
    """A job that has left some files."""
    site.submit("train-1")
    site.harness.settle()
    account = site.harness.row(WORKSPACE).status["account"]
    for name, content in (
        ("outputs/plot <b>.png", b"png"),
        ("outputs/deep/er/a.txt", b"a"),
        ("outputs/deep/b.txt", b"b"),
        ("outputs/z.csv", b"a,b\n1,2\n"),
        ("user_logs/std_log.txt", b"first\n" + b"x" * 50 + b"\nan Error here\n" + "ünd so\n".encode() * 3),
    ):
        site.harness.blobs.write(Ref(account, "azureml", f"ExperimentRun/dcid.train-1/{name}"), content)
    return site


def test_files_are_listed_a_folder_at_a_time(left: StudioSite, monkeypatch: pytest.MonkeyPatch) -> None:
    page = left.open("/studio/jobs/train-1", {**HERE, "tab": "artifacts", "path": "outputs"}).text
    assert "plot &lt;b&gt;.png" in page and "<b>" not in page and ">deep/</a>" in page and "er/" not in page
    names = [one["name"] for one in left.harness.get(f"{JOB}/files?path=outputs").json()["value"]]
    assert names == ["deep", "plot <b>.png", "z.csv"]
    monkeypatch.setattr(files, "SHOWN_MOST", 1)
    seen, after = list[str](), ""
    while True:
        found = left.harness.get(f"{JOB}/files?{urlencode({'path': 'outputs', 'after': after})}").json()
        seen += [one["name"] for one in found["value"]]
        after = found["after"]
        if not after:
            break
    assert seen == names


def test_a_file_is_shown_by_an_address_of_this_origin(left: StudioSite) -> None:
    page = left.open("/studio/jobs/train-1", {**HERE, "tab": "artifacts", "path": "outputs", "file": "z.csv"}).text
    assert re.search(
        r'<s-file src="/[^"]+/azureml/ExperimentRun/dcid.train-1/outputs/z.csv\?[^"]+" name="z.csv" size="8">', page
    )
    assert left.open("/studio/jobs/train-1", {**HERE, "tab": "artifacts", "file": "none"}).status_code == 404
    for path in ("../other", "outputs/../../x", "a//b", "a\\b"):
        assert left.open("/studio/jobs/train-1", {**HERE, "tab": "artifacts", "path": path}).status_code == 400, path


@pytest.mark.parametrize("text", ["ÜND SO", "ünd", "Ünd S"])
def test_a_text_is_found_in_any_case_of_any_letters(left: StudioSite, text: str) -> None:
    found = left.open("/studio/jobs/train-1/search", {**HERE, "file": "user_logs/std_log.txt", "text": text}).json()
    assert [one["line"] for one in found["value"]] == ["ünd so"] * 3
    assert found["value"][1]["at"] - found["value"][0]["at"] == len("ünd so\n".encode())


def test_a_text_is_found_in_all_of_a_log(left: StudioSite, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {**HERE, "file": "user_logs/std_log.txt", "text": "ERROR"}
    whole = left.open("/studio/jobs/train-1/search", asked).json()
    assert whole["value"] == [{"at": 57, "line": "an Error here"}] and not whole["more"]
    for piece in (7, 16, 64):
        monkeypatch.setattr(files, "_PIECE", piece)
        assert (
            left.open("/studio/jobs/train-1/search", {**asked, "text": "here"}).json()["value"][0]["line"]
            == "an Error here"
        )
        assert len(left.open("/studio/jobs/train-1/search", {**asked, "text": "ünd"}).json()["value"]) == 3
    monkeypatch.setattr(files, "FOUND_MOST", 2)
    assert left.open("/studio/jobs/train-1/search", {**asked, "text": "so"}).json()["more"]
    for wrong, status in (
        ({"text": ""}, 400),
        ({"text": "x" * 201}, 400),
        ({"file": "none"}, 404),
        ({"file": ""}, 400),
    ):
        assert left.open("/studio/jobs/train-1/search", {**asked, **wrong}).status_code == status, wrong
    left.allowed = False
    assert left.open("/studio/jobs/train-1/search", asked).status_code == 403


def test_a_page_says_which_logs_there_are_and_how_long_the_one_is_that_is_read_first(left: StudioSite) -> None:
    account = left.harness.row(WORKSPACE).status["account"]
    left.harness.blobs.write(Ref(account, "azureml", 'ExperimentRun/dcid.train-1/user_logs/a"b.txt'), b"12345")
    for asked, first, size in (({}, "user_logs/std_log.txt", 95), ({"file": "user_logs/a\"b.txt"}, "user_logs/a\"b.txt", 5),
                               ({"file": "gone"}, "user_logs/std_log.txt", 95)):  # fmt: skip
        page = left.open("/studio/jobs/train-1", {**HERE, "tab": "logs", **asked}).text
        told = re.search(r'data-there="([^"]*)"', page)
        assert told is not None
        there = json.loads(unescape(told[1]))
        assert (there["first"], there["size"]) == (first, size)
        assert there["files"][first].startswith("/") and len(there["files"]) == 2


def test_a_job_without_a_log_has_none(site: StudioSite) -> None:
    site.submit("train-1")
    page = site.open("/studio/jobs/train-1", {**HERE, "tab": "logs"}).text
    assert "&#34;first&#34;: null" in page and "&#34;files&#34;: {}" in page


def test_charts_are_smoothed_and_logarithmic_by_the_url(site: StudioSite) -> None:
    site.submit("train-1")
    page = site.open(
        "/studio/jobs/train-1", {**HERE, "tab": "metrics", "scale": "log", "smooth": "0.6", "axis": "relative"}
    ).text
    assert 'axis="relative" scale="log" smooth="0.6"' in page and '<option value="0.6" selected>' in page
    assert 'axis="step"' in site.open("/studio/jobs/train-1", {**HERE, "tab": "metrics", "axis": "x"}).text


def test_what_nodes_use_is_columns(site: StudioSite) -> None:
    site.submit("train-1")
    assert site.open("/studio/jobs/train-1/use", {**HERE, "of": "cpu"}).json() == {"step": [], "time": [], "lines": {}}
    assert site.open("/studio/jobs/train-1/use", {**HERE, "of": "water"}).status_code == 404


def test_a_job_that_waits_gets_another_priority(site: StudioSite) -> None:
    limited = {
        "computeType": "AmlCompute",
        "properties": {"vmSize": "STANDARD_DS1_V2", "scaleSettings": {"maxNodeCount": 1}},
    }
    assert (
        site.harness.put(f"{WORKSPACE}/computes/one", {"location": "local", "properties": limited}).status_code == 201
    )
    site.harness.settle()
    for name in ("first", "train-1"):
        site.submit(name, computeId="one")
        site.harness.settle()
    page = site.open("/studio/jobs/train-1").text
    assert "<option selected>medium</option>" in page
    answer = site.send_form("/studio/jobs/train-1/priority", form_token(page), {"priority": "high"})
    assert answer.status_code == 303, answer.text
    assert "<option selected>high</option>" in site.open("/studio/jobs/train-1").text
    refused = site.send_form("/studio/jobs/train-1/priority", form_token(page), {"priority": "utmost"})
    assert refused.status_code == 400 and "utmost" in refused.text


def test_many_parameters_and_metrics_come_a_part_at_a_time(left: StudioSite) -> None:
    given = {f"p{at:04}": "v" * 500 if at < 2 else str(at) for at in range(450)}
    left.harness.tracking.runs[WORKSPACE.lower(), "train-1"]["parameters"] = given
    left.measured.latest = [(f"m{at:04}", 0.5, 1) for at in range(150)]
    page = left.open("/studio/jobs/train-1", HERE).text
    assert "p0199" in page and "p0200" not in page and ">250 more</a>" in page and "m0100" not in page
    assert f">{'v' * 399}…<" in page, "a long value does not make the page long"
    (more,) = re.findall(r'href="([^"]*)">250 more</a>', page)
    page = left.open(unescape(more), {}).text
    assert "p0199<" not in page and "p0200" in page and ">50 more</a>" in page and ">From the first</a>" in page
    charts = left.open("/studio/jobs/train-1", {**HERE, "tab": "metrics"}).text
    assert charts.count("<s-chart ") - charts.count(" optional") == 100
    (more,) = re.findall(r'href="([^"]*)" rel="next">More metrics</a>', charts)
    charts = left.open(unescape(more), {}).text
    assert "m0099<" not in charts and 'label="m0100"' in charts and "More metrics" not in charts
    assert '<input type="hidden" name="after" value="m0099">' in charts, "another axis shows the same ones"
