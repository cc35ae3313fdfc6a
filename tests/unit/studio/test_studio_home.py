"""Home tells what broke, by cause; schedules have pages on which they are run, enabled and disabled."""

from __future__ import annotations

import re

import pytest

from fakes import schedules
from fakes.deployments import KEY, come_up, deploy, traffic
from fakes.examples import prepare
from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token
from smalt.kinds.jobs.failures import alike
from smalt.studio.pages import schedules as schedule_pages


def test_failures_of_one_cause_are_together_and_run_again_at_once(site: StudioSite) -> None:
    for number in range(3):
        site.submit(f"bad-{number}")
    site.harness.settle()
    for name, code in (("bad-0", 2), ("bad-1", 2), ("bad-2", 77)):
        task = site.harness.row(f"{WORKSPACE}/jobs/{name}").status["tasks"][0]
        why = f"The command ended with exit code {code}.\nValueError: <b> row {code}{name[-1]}" if code == 2 else "Lost"
        site.harness.engine.finish(task, code, error=why)
        site.harness.settle()
    found = site.harness.get(f"{WORKSPACE}/failures").json()["value"]
    assert [(one["count"], sorted(one["jobs"])) for one in found] == [(2, ["bad-0", "bad-1"]), (1, ["bad-2"])]
    page = site.open("/studio").text
    assert "<b>" not in page and "Run all 2 again" in page and "Run it again" in page
    first = page.partition('class="cause"')[2].partition("</form>")[0]
    chosen = dict.fromkeys(re.findall(r'name="(job\.[^"]+)"', first), "on")
    assert set(chosen) == {"job.bad-0", "job.bad-1"}
    assert site.send_form("/studio/jobs/many", form_token(page), {**chosen, "verb": "again"}).status_code == 303
    again = [name for name in re.findall(r'/studio/jobs/([^"?]+)', site.open("/studio/jobs").text) if "-again-" in name]
    assert len(set(again)) == 2
    assert site.harness.get(f"{WORKSPACE}/failures?since=2100-01-01T00:00:00Z").json()["value"] == []
    assert site.harness.get(f"{WORKSPACE}/failures?since=then").status_code == 400


def test_causes_are_alike_but_for_what_varies() -> None:
    one = alike(
        "It failed.\nTraceback\n  File '/tmp/a/b.py', line 3\nKeyError: 'row 17 of /data/x/y.csv' in j-1", "j-1"
    )
    other = alike(
        "It failed.\nTraceback\n  File '/tmp/c/b.py', line 9\nKeyError: 'row 4 of /data/z/w.csv' in j-22", "j-22"
    )
    assert one == other and "KeyError" in one
    assert alike("Out of memory", "j") != alike("Out of disk", "j") and alike("", "j") == ""


def test_a_schedule_is_listed_run_disabled_and_enabled(site: StudioSite) -> None:
    schedules.made(site.harness, displayName="<i>nightly")
    page = site.open("/studio/schedules").text
    assert "&lt;i&gt;nightly" in page and "<code>0 * * * *</code>" in page and "enabled" in page
    page = site.open("/studio/schedules/nightly").text
    assert page[page.index('class="ticks"') :].partition("</ol>")[0].count("<li>") == 10
    token = form_token(page)
    assert site.send_form("/studio/schedules/nightly/trigger", token).status_code == 303
    site.harness.settle()
    assert '<td><a href="/studio/jobs/nightly-' in site.open("/studio/schedules/nightly").text
    assert site.send_form("/studio/schedules/nightly/disable", token).status_code == 303
    page = site.open("/studio/schedules/nightly").text
    assert "There is none." in page and 'action="/studio/schedules/nightly/enable' in page
    assert "nightly" not in site.open("/studio/schedules", {**HERE, "view": "enabled"}).text.partition('id="live"')[2]
    assert site.send_form("/studio/schedules/nightly/enable", token).status_code == 303
    assert schedules.shown(site.harness)["isEnabled"] is True
    assert site.open("/studio/schedules/none").status_code == 404
    assert site.send_form("/studio/schedules/nightly/trigger", "").status_code == 403


def test_home_leads_on_before_there_is_anything_and_shows_what_was_done(site: StudioSite) -> None:
    page = site.open("/studio").text
    assert "<h1>Workspace bank</h1>" in page and "Nothing runs. Nothing waits. Nothing has failed." in page
    for to in ("/data/new", "/jobs/new", "/endpoints/new", "/connect"):
        assert f'<a class="button" href="/studio{to}?wsid' in page
    prepare(site.harness, KEY)
    site.submit("train-1")
    site.harness.settle()
    site.harness.engine.finish(site.harness.row(f"{WORKSPACE}/jobs/train-1").status["tasks"][0], 0)
    site.harness.settle()
    deploy(site.harness)
    come_up(site.harness)
    traffic(site.harness, blue=100)
    page = site.open("/studio").text
    done = page.partition('id="Recently-completed"')[2].partition("</section>")[0]
    assert "/studio/jobs/train-1?" in done and "Recently completed" in done
    serving = page.partition('id="serving"')[2].partition("</section>")[0]
    assert "/studio/endpoints/churn-scores?" in serving and "blue 100 %" in serving and "Succeeded" in serving


def test_a_month_shows_when_schedules_run_in_a_time_zone(site: StudioSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule_pages, "moment", site.harness.clock)
    daily = {"triggerType": "Cron", "expression": "30 23 * * *"}
    schedules.made(site.harness, trigger=daily, displayName="<i>nightly")
    page = site.open("/studio/schedules", {**HERE, "as": "calendar"}).text
    assert "January 2027" in page and page.count("&lt;i&gt;nightly</a>") == 17 and "23:30" in page
    berlin = site.open(
        "/studio/schedules", {**HERE, "as": "calendar", "zone": "Europe/Berlin", "month": "2027-02"}
    ).text
    assert (
        "February 2027" in berlin and "00:30" in berlin and "23:30" not in berlin and "zone=Europe%2FBerlin" in berlin
    )
    for wrong in ({"month": "soon"}, {"zone": "Mars"}):
        assert site.open("/studio/schedules", {**HERE, "as": "calendar", **wrong}).status_code == 400
    site.harness.clock.pass_(16 * 3600)
    site.harness.settle()
    assert 'href="/studio/jobs/nightly-20270115t233000z' in site.open("/studio/schedules/nightly").text
