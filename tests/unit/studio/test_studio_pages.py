"""The Studio's pages on a platform with fakes: who is let in, what is refused, what is text, and what a page holds."""

from __future__ import annotations

import re

import pytest

from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token

SCRIPT = "<script>alert('x')</script>"
ELSEWHERE = re.compile(r"""(?:src|href|action|hx-get)="(?!/|#|https://localhost:7443/)""")
INLINE = re.compile(r"<script(?![^>]* src=)|\son[a-z]+=|\sstyle=|javascript:", re.IGNORECASE)


def names(page: str) -> list[str]:
    return re.findall(r'<td><a href="/studio/jobs/([^"?]+)', page)


def test_whoever_has_no_session_is_told_how_to_sign_in(site: StudioSite) -> None:
    answer = site.open("/studio/jobs", {"status": "Failed"}, cookie="")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/studio/sign-in?next=/studio/jobs%3Fstatus%3DFailed"
    page = site.ask("GET", answer.headers["location"], {})
    assert (
        page.status_code == 200
        and f"smalt login --root {site.harness.settings.root}</code>" in page.text
        and 'href="/studio"' not in page.text.split("Then open")[0]
    )
    elsewhere = site.ask("GET", "/studio/sign-in", {"next": "https://elsewhere.example/"})
    assert "elsewhere" not in elsewhere.text
    assert site.open("/studio/jobs", cookie="", sec_fetch_mode="cors").status_code in (303, 403)


@pytest.mark.parametrize("tab", ["", "metrics", "logs", "origin"])
def test_names_are_text_and_nothing_is_inline_or_from_elsewhere(site: StudioSite, tab: str) -> None:
    site.submit("train-1", displayName=SCRIPT, description=SCRIPT, experimentName="x", tags={SCRIPT: SCRIPT})
    site.harness.settle()
    pages = [site.open("/studio/jobs/train-1", {**HERE, "tab": tab}), site.open("/studio/jobs"), site.open("/studio")]
    for page in pages:
        assert page.status_code == 200, page.text
        assert (SCRIPT not in page.text and "&lt;script&gt;" in page.text) or page is pages[2]
        assert not INLINE.search(page.text), INLINE.search(page.text)
        assert not ELSEWHERE.search(page.text), ELSEWHERE.search(page.text)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert page.headers["x-content-type-options"] == "nosniff" and page.headers["cache-control"] == "no-store"


def test_a_form_needs_our_origin_and_the_token_of_its_session(site: StudioSite) -> None:
    site.submit("train-1")
    token = form_token(site.open("/studio/jobs/train-1").text)

    def archived() -> bool:
        return site.harness.row(f"{WORKSPACE}/jobs/train-1").archived

    path = "/studio/jobs/train-1/archive"
    for refused in (
        site.send_form(path, ""),
        site.send_form(path, "0" * 64),
        site.send_form(path, token, headers={"origin": "https://localhost:9"}),
        site.send_form(path, token, headers={"sec-fetch-site": "same-site"}),
        site.send_form(path, token, headers={"cookie": ""}),
    ):
        assert refused.status_code == 403 and not archived()
    done = site.send_form(path, token)
    assert done.status_code == 303 and archived()
    assert done.headers["location"].startswith("/studio/jobs/train-1?wsid=")
    assert site.send_form("/studio/jobs/train-1/restore", token).status_code == 303 and not archived()
    assert site.open(path).status_code == 303, "an action by a link"


def test_cancel_asks_the_platform_and_the_page_says_so(site: StudioSite) -> None:
    site.submit("train-1")
    token = form_token(site.open("/studio/jobs/train-1").text)
    assert site.send_form("/studio/jobs/train-1/cancel", token).status_code == 303
    site.harness.settle()
    page = site.open("/studio/jobs/train-1").text
    assert 'data-state="Canceled"' in page and " data-over" in page


def test_the_platform_decides_who_sees_what(site: StudioSite) -> None:
    site.submit("train-1")
    site.allowed = False
    for path in ("/studio", "/studio/jobs", "/studio/jobs/train-1", "/studio/jobs/train-1/metrics"):
        page = site.open(path)
        assert page.status_code == 403 and "not for you" in page.text


def test_pages_of_the_list_lead_through_all_jobs_once(site: StudioSite) -> None:
    for number in range(55):
        site.submit(f"job-{number}", experimentName="many")
    first = site.open("/studio/jobs", {**HERE, "experimentName": "many"}).text
    link = re.search(r'href="([^"]+)" rel="next"', first)
    assert link
    second = site.open(link[1].replace("&amp;", "&"), {}).text
    assert len(names(first)) == 50 and len(names(second)) == 5 and 'rel="next"' not in second
    assert {*names(first), *names(second)} == {f"job-{number}" for number in range(55)}
    assert site.open("/studio/jobs", {**HERE, "after": "nonsense"}).status_code == 400


def test_filters_are_in_the_url(site: StudioSite) -> None:
    site.submit("one", displayName="Churn of March", experimentName="churn", tags={"team": "blue"})
    site.submit("two", experimentName="other")
    for query, expected in (
        ({"search": "march churn"}, ["one"]),
        ({"search": "team=blue"}, ["one"]),
        ({"search": "march april"}, []),
        ({"experimentName": "OTHER"}, ["two"]),
        ({"status": "Failed,Completed"}, []),
        ({"status": "NotStarted", "jobType": "Command"}, ["two", "one"]),
        ({"view": "archived"}, []),
    ):
        assert names(site.open("/studio/jobs", {**HERE, **query}).text) == expected, query


def test_a_job_page_has_what_it_needs_to_be_alive(site: StudioSite) -> None:
    site.submit("train-1")
    page = site.open("/studio/jobs/train-1").text
    id_ = f"{WORKSPACE}/jobs/train-1".lower()
    assert f'data-state-of="{id_}"' in page and f'data-refresh="{id_}"' in page
    cursor = re.search(r'data-cursor="([^"]+)"', page)
    assert cursor and f'data-feed="{WORKSPACE}/changes"' in page
    assert site.harness.get(f"{WORKSPACE}/changes?after={cursor[1]}").json()["value"] == []


def test_parameters_of_any_name_are_no_fault_of_a_page(site: StudioSite) -> None:
    site.submit("one")
    for name in ("page", "self", "changed", "parameters"):
        assert site.open("/studio/jobs", {**HERE, name: "2"}).status_code == 200, name
    refused = site.open("/studio/jobs", {**HERE, "search": "a " * 200})
    assert refused.status_code == 400 and "at most 200 characters" in refused.text


def test_numbers_are_asked_for_by_the_jobs_own_name(site: StudioSite) -> None:
    site.submit("trained")
    assert site.open("/studio/jobs/TRAINED").status_code == 200
    assert site.open("/studio/jobs/TRAINED/metrics", {**HERE, "metric": "loss"}).status_code == 200
    assert site.measured.asked == ["trained", "trained"]


def test_values_of_a_metric_are_columns(site: StudioSite) -> None:
    site.submit("train-1")
    found = site.open("/studio/jobs/train-1/metrics", {**HERE, "metric": "loss"}).json()
    assert found == {"step": [0, 1, 2], "time": [1.0, 2.0, 3.0], "lines": {"loss": [1.0, None, 0.5]}}


def test_what_is_not_there_is_a_page_that_says_so(site: StudioSite) -> None:
    for path, query, status in (
        ("/studio/jobs/none", HERE, 404),
        ("/studio/jobs/changes", HERE, 404),
        ("/studio/nothing", HERE, 404),
        ("/studio/jobs", {"wsid": "nonsense"}, 400),
        ("/studio/jobs", {"wsid": WORKSPACE + "x"}, 404),
    ):
        page = site.open(path, query)
        assert page.status_code == status and 'role="alert"' in page.text, path
    site.submit("train-1")
    assert site.open("/studio/jobs/train-1", {**HERE, "tab": "none"}).status_code == 404
    assert site.open("/studio/jobs/train-1/mlflow").status_code == 404


@pytest.mark.parametrize(
    "sent, above",
    [
        ("/jobs/train-1/cancel", "/jobs/train-1?"), ("/computes/farm/change", "/computes/farm?"),
        ("/endpoints/e/deployments/blue/scale", "/endpoints/e?"), ("/endpoints/new/preview", "/endpoints/new?"),
        ("/data/rows/1/tags", "/data/rows/1?"), ("/alerts/slow/acknowledge", "/alerts/slow?"), ("/sign-out", "?"),
        ("/jobs/new/notebook", "/jobs/new?"), ("/jobs/new/yaml", "/jobs/new?mode=yaml&"),
    ],
)  # fmt: skip
def test_the_address_of_a_form_opened_again_leads_to_its_page(site: StudioSite, sent: str, above: str) -> None:
    answer = site.open(f"/studio{sent}")
    assert answer.status_code == 303 and answer.headers["location"].startswith(f"/studio{above}"), answer.headers
    assert "wsid=" in answer.headers["location"]


def test_files_are_served_and_nothing_beside_them(site: StudioSite) -> None:
    for name in (
        "studio.js",
        "studio.css",
        "theme.js",
        "early.js",
        "live-worker.js",
        "vendor/htmx.min.js",
        "vendor/uPlot.iife.min.js",
    ):
        found = site.ask("GET", f"/studio/static/{name}", {})
        assert found.status_code == 200 and found.headers["cache-control"] == "no-cache", name
    assert site.ask("GET", "/studio/static/..%2fapp.py", {}).status_code == 404


def test_an_endpoint_has_a_page_and_is_in_the_list(site: StudioSite) -> None:
    path = f"{WORKSPACE}/onlineEndpoints/churn"
    body = {"location": "local", "properties": {"authMode": "Key", "description": SCRIPT}}
    assert site.harness.put(path, body).status_code == 201
    site.harness.settle()
    for page in (site.open("/studio/endpoints"), site.open("/studio/endpoints/churn")):
        assert page.status_code == 200 and f'data-state-of="{path.lower()}" data-state="Succeeded"' in page.text
        assert SCRIPT not in page.text and not INLINE.search(page.text) and not ELSEWHERE.search(page.text)
    assert "It has none, and answers no request." in page.text and "created by ada" in page.text
    found = site.open("/studio/endpoints/churn/numbers", {**HERE, "of": "latency"}).json()
    assert found == {"step": [], "time": [], "lines": {"p50 ms": [], "p95 ms": [], "p99 ms": []}}
    assert site.open("/studio/endpoints/none").status_code == 404
    site.allowed = False
    assert site.open("/studio/endpoints/churn").status_code == 403
