"""Views are kept by the server: one's own, which nobody else sees, and those for everybody."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from fakes.platform import OWNER, WORKSPACE
from fakes.studio import StudioSite, form_token
from smalt.arm.ports import Principal

OTHER = Principal(oid="other", name="bob", kind="servicePrincipal", tenant="t")
VIEWS = f"{WORKSPACE}/savedViews"


def keep(site: StudioSite, **more: str) -> str:
    """The id of the view that the form on the list of jobs saved."""
    before = {one["name"] for one in site.harness.get(VIEWS).json()["value"]}
    fields = {"displayName": "<b>broke</b>", "query": "?status=Failed&columns=tags.a%2Bb&after=1~x&wsid=x", **more}
    answer = site.send_form("/studio/views", form_token(site.open("/studio/jobs").text), fields)
    assert answer.status_code == 303, answer.text
    assert dict(parse_qsl(urlsplit(answer.headers["location"]).query))["status"] == "Failed"
    site.harness.caller = site.sessions._owner
    return next(one["name"] for one in site.harness.get(VIEWS).json()["value"] if one["name"] not in before)


def test_a_view_is_kept_offered_opened_renamed_and_deleted(site: StudioSite) -> None:
    name = keep(site)
    listed = site.open("/studio/jobs").text
    assert "&lt;b&gt;broke&lt;/b&gt;" in listed and 'data-query="status=Failed&amp;columns=tags.a%2Bb"' in listed
    opened = site.open(f"/studio/views/{name}")
    assert opened.status_code == 303
    query = dict(parse_qsl(urlsplit(opened.headers["location"]).query))
    assert query == {"status": "Failed", "columns": "tags.a+b", "wsid": WORKSPACE}
    page = site.open("/studio/views").text
    etag = site.harness.get(f"{VIEWS}/{name}").json()["etag"]
    fields = {"displayName": "all that broke", "shared": "yes", "etag": etag}
    assert site.send_form(f"/studio/views/{name}/change", form_token(page), fields).status_code == 303
    assert (
        site.send_form(f"/studio/views/{name}/change", form_token(page), fields).status_code == 412
    )  # somebody was first
    assert "all that broke" in site.open("/studio/views").text
    assert site.send_form(f"/studio/views/{name}/delete", form_token(page)).status_code == 303
    assert "all that broke" not in site.open("/studio/jobs").text


def test_ones_own_views_are_nobody_elses(site: StudioSite) -> None:
    name, shared = keep(site), keep(site, displayName="for all", shared="yes")
    site.harness.caller = OTHER
    assert [one["name"] for one in site.harness.get(VIEWS).json()["value"]] == [shared]
    assert site.harness.get(f"{VIEWS}/{name}").status_code == 404
    change = {"properties": {"displayName": "theirs"}}
    assert site.harness.send("PATCH", f"{VIEWS}/{name}", change).status_code == 409
    assert site.harness.send("DELETE", f"{VIEWS}/{name}").status_code == 409
    renamed = site.harness.send("PATCH", f"{VIEWS}/{shared}", change)
    assert renamed.status_code == 200 and renamed.json()["properties"]["displayName"] == "theirs"
    site.harness.caller = OWNER


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"displayName": " "}, "properties.displayName"),
        ({"displayName": "x" * 81}, "properties.displayName"),
        ({"page": "models"}, "properties.page"),
        ({"query": "a=b\n"}, "properties.query"),
    ],
)
def test_what_is_no_view_is_refused(site: StudioSite, change: dict[str, str], field: str) -> None:
    body = {"properties": {"displayName": "a", "page": "jobs", "query": "", **change}}
    answer = site.harness.put(f"{VIEWS}/v1", body)
    assert answer.status_code == 400 and field in answer.text
