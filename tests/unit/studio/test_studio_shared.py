"""Links that show one page: what a guest sees, what he does not get at, how a link ends, and what is written down."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from fakes.examples import prepare
from fakes.pipelines import component, node, submit
from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token
from smalt.agent.wire import Ref
from smalt.studio.app import ROUTES
from smalt.studio.pages import shared_links

ENDS = "2027-01-20T00:00:00Z"


@pytest.fixture
def left(site: StudioSite) -> StudioSite:
    """Two jobs, one of which has left some files."""
    site.submit("train-1", environmentVariables={"HIDDEN": "from-guests"})
    site.submit("train-2")
    site.harness.settle()
    account = site.harness.row(WORKSPACE).status["account"]
    for name, content in (("outputs/a.txt", b"a"), ("user_logs/std_log.txt", b"first\nan error\n")):
        site.harness.blobs.write(Ref(account, "azureml", f"ExperimentRun/dcid.train-1/{name}"), content)
    return site


def linked(site: StudioSite, page: str = "job", *of: str, name: str = "l1") -> dict[str, str]:
    """The query of a link."""
    ids = [f"{WORKSPACE}/{one}" for one in of or ("jobs/train-1",)]
    body = {"properties": {"page": page, "resources": ids, "expiresAt": ENDS, "displayName": "for <b>Ann</b>"}}
    answer = site.harness.put(f"{WORKSPACE}/sharedLinks/{name}", body)
    assert answer.status_code == 201, answer.text
    url = site.harness.send("POST", f"{WORKSPACE}/sharedLinks/{name}/getLink").json()["url"]
    return {key: value[0] for key, value in parse_qs(urlsplit(url).query).items()}


def test_a_guest_reads_the_page_and_what_belongs_to_it(left: StudioSite) -> None:
    query = linked(left)
    assert query["wsid"] == WORKSPACE
    page = left.ask("GET", "/studio/jobs/train-1", query)
    assert page.status_code == 200 and "python t.py" in page.text and "Shared with you" in page.text
    for tab in ("metrics", "logs", "artifacts"):
        assert left.ask("GET", "/studio/jobs/train-1", {**query, "tab": tab}).status_code == 200, tab
    logs = left.ask("GET", "/studio/jobs/train-1/logs", query).json()
    assert set(logs["files"]) == {"user_logs/std_log.txt"}
    signed = parse_qs(urlsplit(logs["files"]["user_logs/std_log.txt"]).query)
    assert signed["sp"] == ["r"] and signed["sr"] == ["b"]
    found = left.ask("GET", "/studio/jobs/train-1/search", {**query, "file": "user_logs/std_log.txt", "text": "error"})
    assert found.json()["value"][0]["line"] == "an error"
    assert left.ask("GET", "/studio/jobs/train-1/metrics", {**query, "metric": "loss"}).json()["lines"]
    shown = left.ask("GET", "/studio/jobs/train-1", {**query, "tab": "artifacts", "path": "outputs", "file": "a.txt"})
    assert re.search(r'<s-file src="/[^"]+a\.txt\?', shown.text)


def test_a_guests_page_has_no_forms_and_leads_nowhere_else(left: StudioSite) -> None:
    query = linked(left)
    for tab in ("", "metrics", "logs", "artifacts"):
        page = left.ask("GET", "/studio/jobs/train-1", {**query, "tab": tab}).text
        assert 'method="post"' not in page and 'name="token"' not in page and '<nav class="side"' not in page
        leads = {one.replace("&amp;", "&") for one in re.findall(r'href="(/studio/[^"]+)"', page)}
        for one in leads - {one for one in leads if one.startswith("/studio/static/")}:
            assert one.startswith("/studio/jobs/train-1?") and query["share"] in one, one
    assert "HIDDEN" not in page
    assert "from-guests" not in left.ask("GET", "/studio/jobs/train-1", query).text


def test_nothing_else_opens_with_it(left: StudioSite) -> None:
    query = linked(left)
    named = {"name": "train-2", "version": "1"}
    for one in ROUTES:
        path = "/studio" + re.sub(r"\{(\w+)\}", lambda found: named.get(found[1], "x"), one.path)
        answer = left.ask(one.method, path, query)
        assert answer.status_code == 403 and "NotShared" in answer.text, (one, answer.status_code)
    own = [one for one in ROUTES if one.path.startswith("/jobs/{name}") and not one.shared]
    assert len(own) > 8
    for one in own:  # of the job itself what is no part of the page: code, and all that changes something
        answer = left.ask(one.method, "/studio" + one.path.replace("{name}", "train-1"), query)
        assert answer.status_code == 403 and "NotShared" in answer.text, one


def test_a_guest_sees_the_environment_and_not_the_code(left: StudioSite) -> None:
    prepare(left.harness, "workspaces/onlineendpoints/deployments")  # brings code
    left.submit(
        "coded",
        codeId=f"{WORKSPACE}/codes/c0de/versions/1",
        environmentVariables={"HIDDEN": "from-guests"},
        properties={"mlflow.source.git.repoURL": "https://me:secret@git.example/x"},
    )
    left.harness.settle()
    key = left.harness.get(f"{WORKSPACE}/jobs/coded/environment").json()["key"]
    left.harness.environments.locks[key] = {"numpy": "2.1.0"}
    own = left.open("/studio/jobs/coded", {**HERE, "tab": "origin"}).text
    assert not [one for one in ("<h2>Code", "from-guests", "git.example", "numpy") if one not in own]
    page = left.ask("GET", "/studio/jobs/coded", {**linked(left, "job", "jobs/coded"), "tab": "origin"})
    assert page.status_code == 200 and "numpy" in page.text and ">Environment<" in page.text
    assert not [one for one in ("<h2>Code", "c0de", "from-guests", "git.example") if one in page.text]


def test_the_api_knows_no_link(left: StudioSite) -> None:
    query = linked(left)
    for path in (f"{WORKSPACE}/jobs/train-1", f"{WORKSPACE}/jobs/train-1/changes", f"{WORKSPACE}/jobs"):
        scope_header = {
            "x-smalt-guest": query["share"],
            "smalt.guest": query["share"],
            "cookie": f"share={query['share']}",
        }

        async def call(path: str = path, headers: dict[str, str] = scope_header) -> int:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=left), base_url="https://x") as client:
                return (await client.get(path, params=query, headers=headers)).status_code

        assert asyncio.run(call()) == 401


def test_a_session_does_not_widen_a_link(left: StudioSite) -> None:
    query = linked(left)
    assert left.open("/studio/jobs/train-2", query).status_code == 403
    assert 'method="post"' not in left.open("/studio/jobs/train-1", query).text


@pytest.mark.parametrize("how", ["over", "taken back", "another key", "no key", "made anew"])
def test_a_link_that_is_over_opens_nothing(left: StudioSite, how: str) -> None:
    query = linked(left)
    match how:
        case "over":
            left.harness.clock.pass_(90 * 86_400)
        case "taken back":
            assert left.harness.send("DELETE", f"{WORKSPACE}/sharedLinks/l1").status_code == 200
        case "another key":
            query["share"] = query["share"][:-2] + "xx"
        case "no key":
            query["share"] = "l1."
        case _:
            left.harness.send("DELETE", f"{WORKSPACE}/sharedLinks/l1")
            assert linked(left)["share"] != query["share"]
    answer = left.ask("GET", "/studio/jobs/train-1", query)
    assert answer.status_code == 403 and "LinkIsOver" in answer.text
    reasons = [
        one["reason"]
        for one in left.harness.get(f"{WORKSPACE.partition('/resource')[0]}/changes?what=sign_in_refused").json()[
            "value"
        ]
    ]
    assert reasons == ["shared link: unknown, over or taken back"]


def test_who_comes_and_who_reads_the_link_is_written_down(left: StudioSite) -> None:
    query = linked(left)
    left.ask("GET", "/studio/jobs/train-1", query)
    changes = left.harness.get(f"{WORKSPACE}/sharedLinks/l1/changes").json()["value"]
    assert [(one["what"], one["actor"]) for one in changes] == [
        ("created", "ada"),
        ("secret_read", "ada"),
        ("signed_in", "link for <b>Ann</b>"),
    ]
    assert query["share"].partition(".")[2] not in left.harness.get(f"{WORKSPACE}/sharedLinks/l1").text


def test_jobs_that_are_compared_are_shown_together_and_no_others(left: StudioSite) -> None:
    left.submit("train-3")
    query = linked(left, "jobs", "jobs/train-1", "jobs/train-2")
    page = left.ask("GET", "/studio/jobs/compare", query)
    assert page.status_code == 200 and "train-1" in page.text and "train-2" in page.text
    more = left.ask("GET", "/studio/jobs/compare", {**query, "jobs": "train-1,train-2,train-3"})
    assert ">train-3<" not in more.text and "train-3" in more.text  # it is said not to be there
    assert left.ask("GET", "/studio/jobs/compare", {**query, "jobs": "train-1,train-3"}).status_code == 404
    assert len(left.ask("GET", "/studio/jobs/compare/table", query).json()["jobs"]) == 2
    assert left.ask("GET", "/studio/jobs/train-1", query).status_code == 403


def test_models_and_endpoints_are_shown(site: StudioSite) -> None:
    for kind, page, of, path in (
        ("workspaces/models/versions", "model", "models/churn-model/versions/1", "/models/churn-model/1"),
        ("workspaces/onlineendpoints", "endpoint", "onlineEndpoints/churn-scores", "/endpoints/churn-scores"),
    ):
        example = prepare(site.harness, kind)
        assert site.harness.put(example.url, example.body()).status_code in (200, 201)
        site.harness.settle()
        query = linked(site, page, of, name=page)
        shown = site.ask("GET", f"/studio{path}", query)
        assert shown.status_code == 200 and 'method="post"' not in shown.text, shown.text
        assert site.ask("GET", f"/studio{path}", {**query, "tab": "test"}).status_code == 404
    assert site.ask("GET", "/studio/endpoints/churn-scores/numbers", query).status_code == 200


def test_a_job_that_was_made_anew_is_not_what_was_shared(left: StudioSite) -> None:
    query = linked(left)
    assert left.ask("GET", "/studio/jobs/train-1", query).status_code == 200
    left.harness.send("POST", f"{WORKSPACE}/jobs/train-1/cancel")
    left.harness.settle()
    assert left.harness.send("DELETE", f"{WORKSPACE}/jobs/train-1").status_code == 202
    left.harness.settle()
    left.submit("train-1")
    answer = left.ask("GET", "/studio/jobs/train-1", query)
    assert answer.status_code == 403 and "AuthorizationFailed" in answer.text


def test_the_form_makes_a_link_and_takes_it_back(left: StudioSite, monkeypatch: pytest.MonkeyPatch) -> None:
    job = left.open("/studio/jobs/train-1").text
    fields = {"page": "job", "resources": f"{WORKSPACE}/jobs/train-1", "displayName": "Ann", "days": "7"}
    monkeypatch.setattr(shared_links, "moment", left.harness.clock)
    made = left.send_form("/studio/shared-links", form_token(job), fields)
    assert made.status_code == 303, made.text
    own = urlsplit(made.headers["location"]).path
    page = left.open(own)
    url = re.search(r'id="link">([^<]+)<', page.text)
    assert url is not None
    query = {key: value[0] for key, value in parse_qs(urlsplit(url[1].replace("&amp;", "&")).query).items()}
    assert left.ask("GET", "/studio/jobs/train-1", query).status_code == 200
    assert "Ann" in left.open("/studio/shared-links").text
    assert left.send_form(f"{own}/take-back", form_token(page.text)).status_code == 303
    assert left.ask("GET", "/studio/jobs/train-1", query).status_code == 403
    wrong = left.send_form("/studio/shared-links", form_token(job), {**fields, "days": "1000"})
    assert wrong.status_code == 400 and "InvalidDays" in wrong.text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"resources": [f"{WORKSPACE}/jobs/none"]}, "properties.resources"),
        ({"resources": ["nothing"]}, "properties.resources"),
        ({"resources": [f"{WORKSPACE}2/jobs/train-1"]}, "properties.resources"),
        ({"page": "jobs"}, "properties.resources"),
        ({"page": "model"}, "properties.resources"),
        ({"expiresAt": "soon"}, "properties.expiresAt"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "properties.expiresAt"),
        ({"expiresAt": "2040-01-01T00:00:00Z"}, "properties.expiresAt"),
    ],
)
def test_what_is_wrong_with_a_link_is_said(left: StudioSite, change: dict[str, object], field: str) -> None:
    body = {"page": "job", "resources": [f"{WORKSPACE}/jobs/train-1"], "expiresAt": ENDS, **change}
    answer = left.harness.put(f"{WORKSPACE}/sharedLinks/l1", {"properties": body})
    assert answer.status_code == 400 and answer.json()["error"]["target"] == field, answer.text


def test_a_link_shows_for_ever_what_it_was_made_for(left: StudioSite) -> None:
    linked(left)
    path = f"{WORKSPACE}/sharedLinks/l1"
    later = left.harness.send("PATCH", path, {"properties": {"expiresAt": "2027-01-25T00:00:00Z"}})
    assert later.status_code == 200 and later.json()["properties"]["expiresAt"] == "2027-01-25T00:00:00Z"
    other = left.harness.send("PATCH", path, {"properties": {"resources": [f"{WORKSPACE}/jobs/train-2"]}})
    assert other.status_code == 400


def test_a_guest_hears_of_what_he_sees(left: StudioSite) -> None:
    query = linked(left)
    page = left.ask("GET", "/studio/jobs/train-1", query).text
    feed = re.search(r'data-feed="([^"]+)"', page)
    assert feed is not None and feed[1].startswith("/studio/jobs/train-1/changes?")
    heard = left.ask("GET", "/studio/jobs/train-1/changes", {**query, "kind": "workspaces/jobs"}).json()
    assert heard["value"] and {one["resourceId"].lower() for one in heard["value"]} == {
        f"{WORKSPACE}/jobs/train-1".lower()
    }
    assert left.open("/studio/jobs/train-1/changes", HERE).status_code == 404


def test_a_graph_stays_a_picture_where_its_steps_lead_nowhere(site: StudioSite) -> None:
    raw = {"jobInputType": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/raw/"}
    jobs = {"prepare": node(component(site.harness, "part"), data="${{parent.inputs.raw}}")}
    assert submit(site.harness, jobs, inputs={"raw": raw}).status_code == 201
    site.harness.settle()
    page = site.ask("GET", "/studio/jobs/pipe", {**linked(site, "job", "jobs/pipe"), "tab": "steps"})
    picture = page.text.partition("<svg")[2].partition("</svg>")[0]
    assert page.status_code == 200 and "<rect" in picture
    assert "<span" not in picture and "href=" not in picture  # a span would end the SVG
