"""Schedules: each time has one job, whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.examples import DATA_URI
from fakes.jobs import JOBS, submit
from fakes.parents import FAN
from fakes.platform import WORKSPACE, Harness
from fakes.schedules import BEGUN, HOURLY, JOB, URL, body, job_rows, jobs, later, made, shown
from smalt.kinds.jobs.model import TYPES
from smalt.reconcile.heartbeat import Heartbeat
from smalt.reconcile.pace import Pace
from smalt.store import resources
from smalt.store.resources import Row


@pytest.fixture(autouse=True)
def begun(harness: Harness) -> None:
    harness.clock.now = BEGUN


class TestTimes:
    def test_each_time_has_its_job(self, harness: Harness) -> None:
        made(harness)
        assert jobs(harness) == [] and shown(harness)["nextRunTime"] == "2027-01-15T08:00:00.000000Z"
        later(harness, 29)
        assert jobs(harness) == []
        later(harness, 1)
        assert jobs(harness) == ["nightly-20270115t080000z"]
        for _ in range(59):
            later(harness, 60)
        assert len(jobs(harness)) == 1
        later(harness, 60)
        assert jobs(harness)[1:] == ["nightly-20270115t090000z"]
        assert shown(harness)["lastRun"] == {"time": "2027-01-15T09:00:00Z", "jobName": "nightly-20270115t090000z"}

    def test_it_is_disabled_and_enabled_alone(self, harness: Harness) -> None:
        made(harness)
        before = shown(harness)
        for on in (False, True):
            assert harness.send("PATCH", URL, {"properties": {"isEnabled": on}}).status_code in (200, 202)
            harness.settle()
            assert shown(harness)["isEnabled"] is on
        assert {key: shown(harness)[key] for key in ("action", "trigger")} == {
            key: before[key] for key in ("action", "trigger")
        }

    def test_it_costs_nothing_while_it_waits(self, harness: Harness) -> None:
        made(harness)
        assert harness.row(URL).due_at == pytest.approx(BEGUN + 30, abs=0.1)
        assert harness.loop.run_due() == 0
        harness.put(URL, body(isEnabled=False))
        harness.settle()
        assert harness.row(URL).due_at is None

    def test_without_a_start_a_recurrence_begins_at_once(self, harness: Harness) -> None:
        made(harness, trigger={"triggerType": "Recurrence", "frequency": "day", "interval": 1})
        assert jobs(harness) == ["nightly-20270115t075930z"]
        later(harness, 86400)
        assert jobs(harness)[1:] == ["nightly-20270116t075930z"]

    def test_a_start_in_the_past_begins_with_the_next_time(self, harness: Harness) -> None:
        start = {"startTime": "2027-01-01T00:00:00"}
        made(harness, trigger={"triggerType": "Recurrence", "frequency": "hour", "interval": 6, **start})
        assert jobs(harness) == [] and shown(harness)["nextRunTime"].startswith("2027-01-15T12:00:00")

    def test_it_ends(self, harness: Harness) -> None:
        made(harness, trigger={**HOURLY, "endTime": "2027-01-15T09:00:00"})
        for _ in range(4):
            later(harness, 3600)
        assert len(jobs(harness)) == 2 and shown(harness)["nextRunTime"] is None
        assert harness.row(URL).due_at is None
        disabled = harness.put(URL, body({**HOURLY, "endTime": "2027-01-15T09:00:00"}, isEnabled=False))
        assert disabled.status_code in (200, 201), "it can still be changed"
        enabled = harness.send("PATCH", URL, {"properties": {"isEnabled": True}})
        assert (enabled.status_code, enabled.json()["error"]["target"]) == (400, "properties.trigger.endTime")


class TestExactlyOnce:
    def test_missed_times_have_one_job_together_the_last_ones(self, harness: Harness) -> None:
        made(harness)
        harness.clock.pass_(5 * 3600)
        harness.loop = harness.new_loop()
        harness.loop.resume()
        harness.settle()
        assert jobs(harness) == ["nightly-20270115t120000z"]
        assert shown(harness)["nextRunTime"].startswith("2027-01-15T13:00:00")

    def test_a_year_of_minutes_is_caught_up_at_once(self, harness: Harness) -> None:
        made(harness, trigger={"triggerType": "Cron", "expression": "* * * * *", "timeZone": "Europe/Berlin"})
        known = len(jobs(harness))
        later(harness, 365 * 86400)
        assert jobs(harness)[known:] == ["nightly-20280115t075900z"]

    def test_a_server_that_starts_again_and_again_submits_once(self, harness: Harness) -> None:
        made(harness)
        for _ in range(8):
            harness.clock.pass_(10)
            harness.loop = harness.new_loop()
            harness.loop.resume()
            harness.settle()
        assert jobs(harness) == ["nightly-20270115t080000z"]

    def test_killed_before_its_apply_it_is_done_again_killed_after_it_is_not(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made(harness)
        harness.clock.pass_(31)
        rows = harness.loop.claim({"serving": 1, "control": 1, "cleanup": 1})
        assert [row.name for row in rows] == ["nightly"]
        with monkeypatch.context() as patch:
            patch.setattr(resources, "insert_all", _killed)
            with pytest.raises(_Killed):
                harness.loop._apply(rows[0], _step_of(harness, rows[0]))
        assert jobs(harness) == [] and shown(harness)["lastRun"] is None, "neither the one nor the other"
        harness.loop = harness.new_loop()
        later(harness, 31)  # its lease is over
        assert jobs(harness) == ["nightly-20270115t080000z"]
        harness.loop.resume()
        harness.settle()
        assert len(jobs(harness)) == 1

    def test_a_step_that_lost_its_lease_submits_nothing(self, harness: Harness) -> None:
        made(harness)
        harness.clock.pass_(31)
        (row,) = harness.loop.claim({"serving": 1, "control": 1, "cleanup": 1})
        step = _step_of(harness, row)
        harness.clock.pass_(31)
        other = harness.new_loop()
        other.run_due()
        assert jobs(harness) == ["nightly-20270115t080000z"]
        harness.loop._apply(row, step)
        assert len(jobs(harness)) == 1

    def test_an_update_between_the_time_and_its_job_loses_nothing(self, harness: Harness) -> None:
        made(harness)
        harness.clock.pass_(40)
        harness.put(URL, body(description="changed", job={"command": "python other.py"}))
        harness.settle()
        (row,) = job_rows(harness)
        assert row.name == "nightly-20270115t080000z" and row.properties["command"] == "python other.py"


class _Killed(BaseException):
    pass


def _killed(*_: Any, **__: Any) -> None:
    raise _Killed


def _step_of(harness: Harness, row: Row) -> Any:
    reconcile = harness.kinds[row.kind].reconcile
    assert reconcile is not None
    return reconcile(harness.platform, row)


class TestClock:
    """`set_by` is what somebody sets the clock by; the heartbeat notices it."""

    def heart(self, harness: Harness) -> tuple[Heartbeat, Any]:
        offset = [0.0]
        heart = Heartbeat(
            harness.platform,
            harness.kinds.reconciled(),
            Pace(),
            lambda: harness.clock.now - offset[0],
            harness.kinds.by_the_clock(),
        )

        def set_by(seconds: float) -> None:
            offset[0] += seconds
            harness.clock.pass_(seconds)
            heart.beat()
            harness.settle()

        return heart, set_by

    def test_forward_it_follows_the_new_time(self, harness: Harness) -> None:
        made(harness)
        _, set_by = self.heart(harness)
        set_by(600)
        assert jobs(harness) == ["nightly-20270115t080000z"], "it has come"
        set_by(40 * 60)
        assert harness.row(URL).due_at == pytest.approx(BEGUN + 3630, abs=0.1), "and no later than that"
        later(harness, 631)
        assert len(jobs(harness)) == 2

    def test_back_no_time_runs_again(self, harness: Harness) -> None:
        made(harness)
        later(harness, 31)
        later(harness, 3669)
        assert len(jobs(harness)) == 2
        _, set_by = self.heart(harness)
        set_by(-7200)
        for _ in range(70):
            later(harness, 60)
        assert len(jobs(harness)) == 2
        later(harness, 3600)
        later(harness, 3600)
        assert jobs(harness)[2:] == ["nightly-20270115t100000z"]

    def test_back_by_years_it_does_not_wait_for_years(self, harness: Harness) -> None:
        made(harness)
        _, set_by = self.heart(harness)
        set_by(5 * 365 * 86400)
        assert len(jobs(harness)) == 1
        set_by(-5 * 365 * 86400)
        later(harness, 31)
        assert "nightly-20270115t080000z" in jobs(harness)


class TestJobs:
    def test_named_as_azure_does_with_the_schedule_in_it(self, harness: Harness) -> None:
        made(harness, job={"tags": {"team": "risk"}, "properties": {"a": "b"}})
        later(harness, 31)
        properties = harness.get(f"{JOBS}/{jobs(harness)[0]}").json()["properties"]
        assert properties["displayName"] == "nightly-20270115T080000Z"
        assert properties["experimentName"] == "nightly" and properties["tags"] == {"team": "risk"}
        assert properties["properties"] == {
            "a": "b",
            "azureml.scheduleId": "nightly",
            "azureml.scheduleTime": "2027-01-15T08:00:00Z",
        }
        assert job_rows(harness)[0].created_by == "ada"

    def test_expressions_are_of_the_time_and_the_job(self, harness: Harness) -> None:
        uri = "azureml://datastores/workspaceblobstore/paths/scores/${{name}}/"
        inputs = {
            "day": {"jobInputType": "literal", "value": "${{creation_context.trigger_time}}"},
            "who": {"jobInputType": "literal", "value": "${{ name }}"},
        }
        made(harness, job={"inputs": inputs, "outputs": {"scores": {"jobOutputType": "uri_folder", "uri": uri}}})
        later(harness, 31)
        name = "nightly-20270115t080000z"
        properties = harness.get(f"{JOBS}/{name}").json()["properties"]
        assert properties["inputs"]["day"]["value"] == "2027-01-15T08:00:00Z"
        assert properties["inputs"]["who"]["value"] == name
        assert properties["outputs"]["scores"]["uri"].endswith(f"/scores/{name}/")
        assert shown(harness)["action"]["jobDefinition"]["inputs"] == inputs, "the schedule keeps them"

    def test_latest_is_what_is_latest_then(self, harness: Harness) -> None:
        data = {"dataUri": DATA_URI, "dataType": "uri_file"}
        harness.put(f"{WORKSPACE}/data/churn/versions/1", {"properties": data})
        made(harness, job={"inputs": {"d": {"jobInputType": "uri_file", "uri": "azureml:churn@latest"}}})
        later(harness, 31)
        harness.clock.pass_(1)
        harness.put(f"{WORKSPACE}/data/churn/versions/2", {"properties": {**data, "dataUri": DATA_URI + "2"}})
        later(harness, 3600)
        used = [row.properties["inputs"]["d"]["uri"] for row in job_rows(harness)]
        assert [one.rpartition("/")[2] for one in used] == ["1", "2"]

    def test_lists_find_the_jobs_of_a_schedule(self, harness: Harness) -> None:
        submit(harness, "by-hand")
        made(harness)
        later(harness, 31)
        harness.put(f"{WORKSPACE}/schedules/other", body())
        later(harness, 3600)

        def listed(query: str) -> list[str]:
            return [one["name"] for one in harness.get(f"{JOBS}?{query}").json()["value"]]

        of_nightly = ["nightly-20270115t090000z", "nightly-20270115t080000z"]
        assert listed("scheduleId=nightly") == of_nightly
        assert listed("scheduleId=nothing") == []
        assert listed("scheduled=false") == ["by-hand"]
        assert set(listed("scheduled=true")) == {*of_nightly, "other-20270115t090000z"}

    def test_a_job_of_another_type_runs_its_children(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(TYPES, FAN.name, FAN)
        job = {"jobType": "Fan", "count": 2, "child": JOB}
        action = {"actionType": "CreateJob", "jobDefinition": job}
        assert harness.put(URL, {"properties": {"trigger": HOURLY, "action": action}}).status_code == 201
        later(harness, 31)
        parent = "nightly-20270115t080000z"
        assert jobs(harness) == [parent, f"{parent}-0", f"{parent}-1"]
        listed = harness.get(f"{JOBS}?scheduleId=nightly").json()["value"]
        assert [one["name"] for one in listed] == [parent]

    def test_jobs_stay_when_the_schedule_goes(self, harness: Harness) -> None:
        made(harness)
        later(harness, 31)
        refused = harness.send("DELETE", URL)
        assert refused.status_code == 409 and refused.json()["error"]["target"] == "isEnabled"
        assert "Cannot delete an active trigger" in refused.text  # what Microsoft's own tests look for
        harness.put(URL, body(isEnabled=False))
        assert harness.send("DELETE", URL).status_code == 200
        later(harness, 7200)
        assert jobs(harness) == ["nightly-20270115t080000z"]

    def test_another_job_of_the_name_is_left_alone(self, harness: Harness) -> None:
        submit(harness, "nightly-20270115t080000z")
        made(harness)
        later(harness, 31)
        assert shown(harness)["lastRun"]["error"]["code"] == "Conflict"
        later(harness, 3600)
        assert jobs(harness)[1:] == ["nightly-20270115t090000z"]


def test_a_workspace_goes_with_its_schedules(harness: Harness) -> None:
    made(harness)
    harness.send("DELETE", WORKSPACE)
    harness.settle()
    later(harness, 7200)
    assert harness.get(WORKSPACE).status_code == 404
    with harness.database.read() as connection:
        assert not resources.keys_of_kind(connection, "workspaces/schedules")


def test_a_zone_that_is_known_no_more_ends_it_with_the_reason(harness: Harness) -> None:
    made(harness)
    row = harness.row(URL)
    trigger = {**HOURLY, "timeZone": "Atlantis/Capital"}
    with harness.database.write() as connection:
        spec = {**row.spec, "properties": {**row.properties, "trigger": trigger}}
        resources.replace_spec(connection, row, spec, state=row.state, now=harness.clock(), by="t", due=True)
    later(harness, 31)
    assert "Atlantis" in shown(harness)["lastRun"]["error"]["message"] and harness.row(URL).due_at is None
