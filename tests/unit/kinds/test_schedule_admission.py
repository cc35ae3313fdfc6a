"""Schedules: what is wrong is said at once, or noted; who enables, triggers and owns one."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.examples import DATA_URI
from fakes.jobs import JOBS, submit
from fakes.parents import FAN
from fakes.pipelines import child, component, data, node, run_to_the_end
from fakes.pipelines import submit as submit_pipeline
from fakes.platform import OWNER, WORKSPACE, Harness
from fakes.schedules import BEGUN, HOURLY, JOB, URL, body, job_rows, jobs, later, made, shown
from smalt.arm.kind import OURS
from smalt.arm.ports import Isolation, Principal
from smalt.kinds.jobs.launch import job_oid
from smalt.kinds.jobs.model import TYPES
from smalt.settings import TENANT
from smalt.store.tables import identity


@pytest.fixture(autouse=True)
def begun(harness: Harness) -> None:
    harness.clock.now = BEGUN


def test_modes_that_the_job_does_not_say_are_shown(harness: Harness) -> None:
    """azure-ai-ml's own tests compare them."""
    folder = {"jobInputType": "uri_folder", "uri": DATA_URI}
    inputs = {"data": folder, "copy": {**folder, "mode": "Download"}, "n": {"jobInputType": "literal", "value": "1"}}
    made(harness, job={"inputs": inputs, "outputs": {"made": {"jobOutputType": "uri_folder"}}})
    job = shown(harness)["action"]["jobDefinition"]
    assert {name: one.get("mode") for name, one in job["inputs"].items()} == {
        "data": "ReadOnlyMount",
        "copy": "Download",
        "n": None,
    }
    assert job["outputs"]["made"]["mode"] == "ReadWriteMount"


class TestModesThatAreShown:
    """They are not what runs: the same pipeline, submitted by hand, has the same modes and the same work done before."""

    @staticmethod
    def pipeline(harness: Harness) -> dict[str, Any]:
        part = component(harness, "part", outputs={"made": {"type": "uri_folder", "mode": "upload"}})
        step = node(part, outputs={"made": "${{parent.outputs.res}}"}, data="${{parent.inputs.raw}}")
        outputs = {"res": {"jobOutputType": "uri_folder"}}
        return {"jobType": "Pipeline", "jobs": {"one": step}, "inputs": {"raw": data()}, "outputs": outputs}

    @staticmethod
    def put(harness: Harness, job: dict[str, Any], **more: Any) -> None:
        document = body(**more)
        document["properties"]["action"]["jobDefinition"] = job
        answer = harness.put(URL, document)
        assert answer.status_code in (200, 201), answer.text
        harness.settle()

    @staticmethod
    def scheduled(harness: Harness) -> str:
        return next(name for name in jobs(harness) if name.startswith("nightly"))

    def test_a_pipeline_has_the_modes_that_it_has_by_hand(self, harness: Harness) -> None:
        job = self.pipeline(harness)
        submit_pipeline(harness, job["jobs"], inputs=job["inputs"], outputs=job["outputs"])
        self.put(harness, job)
        for _ in range(2):  # and when what was shown is sent back, as clients do to disable and enable
            self.put(harness, shown(harness)["action"]["jobDefinition"], isEnabled=False)
            self.put(harness, shown(harness)["action"]["jobDefinition"], isEnabled=True)
        assert shown(harness)["action"]["jobDefinition"]["outputs"]["res"]["mode"] == "ReadWriteMount"
        later(harness, 3600)
        by_hand, on_time = child(harness, "one"), child(harness, "one", self.scheduled(harness))
        for name, one in (("outputs", "made"), ("inputs", "data")):
            assert on_time[name][one].get("mode") == by_hand[name][one].get("mode"), name
        assert on_time["outputs"]["made"]["mode"] == "Upload"

    def test_a_mode_that_is_said_is_kept(self, harness: Harness) -> None:
        job = self.pipeline(harness)
        job["outputs"]["res"]["mode"] = "Direct"
        self.put(harness, job)
        self.put(harness, shown(harness)["action"]["jobDefinition"])
        later(harness, 3600)
        assert child(harness, "one", self.scheduled(harness))["outputs"]["made"]["mode"] == "Direct"

    def test_work_that_was_done_by_hand_is_not_done_again(self, harness: Harness) -> None:
        job = self.pipeline(harness)
        submit_pipeline(harness, job["jobs"], inputs=job["inputs"], outputs=job["outputs"])
        assert run_to_the_end(harness) == ["one"]
        self.put(harness, job)
        later(harness, 3600)
        assert run_to_the_end(harness) == []


class TestRefusedJobs:
    def test_a_job_that_can_never_run_is_refused_with_its_fields(self, harness: Harness) -> None:
        answer = harness.put(URL, body(job={"environmentId": "azureml:nothing:1"}))
        error = answer.json()["error"]
        assert answer.status_code == 400 and error["target"] == "properties.action.jobDefinition.environmentId"
        assert "properties.action.jobDefinition.environmentId" in error["message"]
        answer = harness.put(URL, body(job={"environmentId": "azureml:nothing:1", "computeId": "azureml:none"}))
        assert len(answer.json()["error"]["details"]) == 2
        assert harness.get(URL).status_code == 404

    @pytest.mark.parametrize(
        ("job", "field"),
        [
            ({"jobType": "Nonsense"}, "jobType"),
            ({"jobType": "AutoML"}, "jobType"),
            ({"command": ""}, "command"),
            ({"command": "echo ${{inputs.x}}"}, "command"),
            ({"properties": "text"}, "properties"),
            ({"inputs": ["a"]}, "inputs"),
        ],
    )
    def test_fields_of_the_job(self, harness: Harness, job: dict[str, Any], field: str) -> None:
        answer = harness.put(URL, body(job=job))
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["target"] == f"properties.action.jobDefinition.{field}"

    @pytest.mark.parametrize(
        ("action", "target"),
        [
            ({"actionType": "CreateMonitor", "monitorDefinition": {}}, "properties.action.actionType"),
            ({"actionType": "ImportData"}, "properties.action.actionType"),
            ({"actionType": "Dance"}, "properties.action.actionType"),
            ({"actionType": "CreateJob"}, "properties.action.jobDefinition"),
            ({"jobDefinition": JOB}, "properties.action.actionType"),
        ],
    )
    def test_other_actions(self, harness: Harness, action: dict[str, Any], target: str) -> None:
        answer = harness.put(URL, {"properties": {"trigger": HOURLY, "action": action}})
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, target)

    @pytest.mark.parametrize(
        ("trigger", "field"),
        [
            ({**HOURLY, "endTime": "2027-01-15T07:00:00", "startTime": "2027-01-01"}, "trigger.endTime"),
            ({**HOURLY, "timeZone": "Moon"}, "trigger.timeZone"),
            ({"triggerType": "Recurrence", "frequency": "day", "interval": 0}, "trigger.interval"),
            ({"triggerType": "Recurrence", "frequency": "day", "interval": 1, "schedule": {"hours": [24]}},
             "trigger.schedule.hours.0"),
        ],
    )  # fmt: skip
    def test_triggers(self, harness: Harness, trigger: dict[str, Any], field: str) -> None:
        answer = harness.put(URL, body(trigger))
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, f"properties.{field}"), answer.text

    def test_what_is_refused_at_its_time_is_noted_and_the_next_comes(self, harness: Harness) -> None:
        data = f"{WORKSPACE}/data/churn/versions/1"
        harness.put(data, {"properties": {"dataUri": DATA_URI, "dataType": "uri_file"}})
        made(harness, job={"inputs": {"d": {"jobInputType": "uri_file", "uri": "azureml:churn:1"}}})
        harness.send("DELETE", data)
        later(harness, 31)
        last = shown(harness)["lastRun"]
        assert jobs(harness) == [] and last["time"] == "2027-01-15T08:00:00Z" and "churn" in last["error"]["message"]
        assert last["error"]["target"] == "properties.action.jobDefinition.inputs.d.uri"
        became = harness.get(f"{URL}/history").json()["value"][0]
        assert became["scheduleTime"] == last["time"] and "churn" in became["error"] and became["job"] is None
        assert shown(harness)["provisioningState"] == "Succeeded"
        later(harness, 3600)
        changes = [one["reason"] for one in harness.get(f"{URL}/events").json()["value"]]
        assert sum("no job for 2027-01-15T0" in one for one in changes) == 2, changes
        harness.put(data, {"properties": {"dataUri": DATA_URI, "dataType": "uri_file"}})
        later(harness, 3600)
        assert jobs(harness) == ["nightly-20270115t100000z"] and "error" not in shown(harness)["lastRun"]

    def test_it_can_be_disabled_when_its_job_cannot_run_any_more(self, harness: Harness) -> None:
        data = f"{WORKSPACE}/data/churn/versions/1"
        harness.put(data, {"properties": {"dataUri": DATA_URI, "dataType": "uri_file"}})
        job = {"inputs": {"d": {"jobInputType": "uri_file", "uri": "azureml:churn:1"}}}
        made(harness, job=job)
        harness.send("DELETE", data)
        assert harness.put(URL, body(job=job, isEnabled=False)).status_code == 201
        assert harness.put(URL, body(job={**job, "tags": {}}, isEnabled=False)).status_code == 201, "in other words"
        assert harness.put(URL, body(job=job, isEnabled=True)).status_code == 400


def test_days_of_the_week_are_shown_as_the_service_spells_them(harness: Harness) -> None:
    pattern = {"hours": [9], "minutes": [0], "weekDays": ["monday", "FRIDAY"]}
    trigger = {"triggerType": "Recurrence", "frequency": "Week", "interval": 1, "schedule": pattern}
    made(harness, trigger=trigger)
    assert shown(harness)["trigger"]["schedule"]["weekDays"] == ["Monday", "Friday"]


class TestEnabled:
    def test_what_is_not_sent_stays(self, harness: Harness) -> None:
        made(harness)
        assert shown(harness)["isEnabled"] is True
        made(harness, isEnabled=False)
        made(harness, description="changed")
        assert shown(harness)["isEnabled"] is False
        later(harness, 7200)
        assert jobs(harness) == []

    def test_enabled_again_it_does_not_catch_up(self, harness: Harness) -> None:
        made(harness)
        made(harness, isEnabled=False)
        later(harness, 5 * 3600)
        made(harness, isEnabled=True)
        assert jobs(harness) == []
        later(harness, 3600)
        assert len(jobs(harness)) == 1

    def test_patch(self, harness: Harness) -> None:
        made(harness)
        answer = harness.send("PATCH", URL, {"properties": {"isEnabled": False}})
        assert answer.status_code == 200 and answer.json()["properties"]["isEnabled"] is False

    def test_lists(self, harness: Harness) -> None:
        made(harness)
        harness.put(f"{WORKSPACE}/schedules/off", body(isEnabled=False))

        def listed(query: str = "") -> list[str]:
            return [one["name"] for one in harness.get(f"{WORKSPACE}/schedules{query}").json()["value"]]

        assert listed() == listed("?listViewType=EnabledOnly") == ["nightly"]
        assert listed("?listViewType=DisabledOnly") == ["off"]
        assert listed("?listViewType=All") == ["off", "nightly"]
        assert harness.get(f"{WORKSPACE}/schedules?listViewType=ActiveOnly").status_code == 400


class TestTrigger:
    def test_it_submits_now(self, harness: Harness) -> None:
        made(harness)
        answer = harness.send("POST", f"{URL}/trigger", {"scheduleTime": "2026-12-24T18:00:00.123456+00:00"})
        said = answer.json()
        assert answer.status_code == 200 and said["scheduleActionType"] == "CreateJob"
        assert jobs(harness) == [said["submissionId"]]
        properties = harness.get(f"{JOBS}/{said['submissionId']}").json()["properties"]
        assert properties["displayName"] == "nightly-20261224T180000Z"
        assert properties["properties"]["azureml.scheduleTime"] == "2026-12-24T18:00:00Z"
        harness.send("POST", f"{URL}/trigger")
        later(harness, 31)
        assert len(jobs(harness)) == 3, "its own times go on"

    def test_what_is_wrong(self, harness: Harness) -> None:
        assert harness.send("POST", f"{URL}/trigger", {}).status_code == 404
        made(harness)
        answer = harness.send("POST", f"{URL}/trigger", {"scheduleTime": "soon"})
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, "scheduleTime")
        beyond = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "1969-12-31T23:59:59Z")
        for given in ({"a": 1}, 5, "99999-01-01", *beyond):
            assert harness.send("POST", f"{URL}/trigger", {"scheduleTime": given}).status_code == 400


class TestAuthor:
    """A service principal makes the schedule, or a job of one; what it runs does not outlive the right to run it."""

    SERVICE = Principal("oid-ci", "ci", "servicePrincipal", TENANT)

    @pytest.fixture(autouse=True)
    def known(self, harness: Harness) -> None:
        values = {"kind": "servicePrincipal", "name": "ci", "client_id": "ci", "scope": "", "federation": "[]"}
        with harness.database.write() as connection:
            connection.execute(identity.insert().values(oid=self.SERVICE.oid, created_at=BEGUN, **values))
        harness.caller = self.SERVICE

    def delete(self, harness: Harness) -> None:
        with harness.database.write() as connection:
            connection.execute(identity.delete().where(identity.c.oid == self.SERVICE.oid))
        harness.caller = OWNER

    def refused(self, harness: Harness) -> str:
        return shown(harness)["lastRun"].get("error", {}).get("code", "")

    def test_nothing_runs_for_one_who_was_deleted_until_another_puts_it_again(self, harness: Harness) -> None:
        made(harness)
        later(harness, 31)
        assert len(jobs(harness)) == 1
        self.delete(harness)
        later(harness, 3600)
        assert len(jobs(harness)) == 1 and self.refused(harness) == "AuthorDeleted"
        assert shown(harness)["nextRunTime"].startswith("2027-01-15T10:00:00"), "it goes on"
        answer = harness.send("POST", f"{URL}/trigger")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "AuthorDeleted")
        assert harness.send("PATCH", URL, {"tags": {"a": "b"}}).status_code == 200
        assert harness.put(URL, body(isEnabled=False)).status_code == 201
        assert harness.send("PATCH", URL, {"properties": {"isEnabled": True}}).status_code == 200
        later(harness, 3600)
        assert len(jobs(harness)) == 1 and self.refused(harness) == "AuthorDeleted", "nobody vouched for what it runs"
        made(harness)
        later(harness, 3600)
        assert len(jobs(harness)) == 2 and not self.refused(harness)

    def test_nothing_runs_where_nothing_isolates_any_more(self, harness: Harness) -> None:
        made(harness)
        harness.engine.isolated = Isolation("none", "Nothing.")
        later(harness, 31)
        assert jobs(harness) == [] and self.refused(harness) == "NoIsolation"
        harness.engine.isolated = Isolation("walls")
        later(harness, 3600)
        assert jobs(harness) == ["nightly-20270115t090000z"]

    def test_a_jobs_schedule_is_of_whoever_submitted_the_job_also_after_its_end(self, harness: Harness) -> None:
        submit(harness, "train")
        harness.settle()
        row = harness.row(f"{JOBS}/train")
        harness.caller = Principal(job_oid(row), "job:train", "job", TENANT, scope=WORKSPACE.lower())
        made(harness)
        harness.engine.finish(row.status["tasks"][0], 0)
        later(harness, 31)
        assert "nightly-20270115t080000z" in jobs(harness)
        again = harness.row(f"{JOBS}/nightly-20270115t080000z")
        harness.caller = Principal(job_oid(again), f"job:{again.name}", "job", TENANT, scope=WORKSPACE.lower())
        made(harness, tags={"by": "its own job"})
        self.delete(harness)
        later(harness, 3600)
        assert len(jobs(harness)) == 2 and self.refused(harness) == "AuthorDeleted"

    def test_children_are_of_their_parents_author(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(TYPES, FAN.name, FAN)
        made(harness, job={"jobType": "Fan", "count": 1, "child": JOB})
        later(harness, 31)
        assert len(job_rows(harness)) == 2
        for row in job_rows(harness):
            assert row.spec[OURS]["author"]["oid"] == self.SERVICE.oid


class TestJobAsDefinition:
    """`create_job="azureml:train-1"` of the client: `sourceJobId`, with what is given over it."""

    def definition(self, source: str, **more: Any) -> dict[str, Any]:
        job = {"jobType": "Pipeline", "sourceJobId": source, "experimentName": "", "isArchived": False, **more}
        action = {"actionType": "CreateJob", "jobDefinition": job}
        return {"properties": {"trigger": HOURLY, "action": action}}

    @pytest.mark.parametrize("source", ["azureml:train-1", "train-1", f"{JOBS}/train-1", f"azureml:{JOBS}/train-1"])
    def test_it_is_that_job_as_it_was(self, harness: Harness, source: str) -> None:
        inputs = {name: {"jobInputType": "literal", "value": "1"} for name in ("a", "b")}
        submit(harness, command="echo ${{inputs.a}} ${{inputs.b}}", inputs=inputs, tags={"team": "risk"})
        harness.clock.pass_(-5)
        over = {"b": {"jobInputType": "literal", "value": "2"}}
        assert harness.put(URL, self.definition(source, inputs=over)).status_code == 201
        kept = shown(harness)["action"]["jobDefinition"]
        assert (kept["jobType"], kept["command"]) == ("Command", "echo ${{inputs.a}} ${{inputs.b}}")
        assert kept["sourceJobId"] == source and "displayName" not in kept and kept["experimentName"] == ""
        harness.send("DELETE", f"{JOBS}/train-1")
        later(harness, 36)
        assert jobs(harness) == ["nightly-20270115t080000z"]
        properties = job_rows(harness)[0].properties
        assert [properties["inputs"][name]["value"] for name in ("a", "b")] == ["1", "2"]
        assert properties["tags"] == {"team": "risk"} and properties["experimentName"] == "nightly"
        again = harness.get(URL).json()
        again["properties"]["isEnabled"] = False
        assert harness.put(URL, again).status_code == 201, "although that job is gone"

    def test_one_that_is_not_there(self, harness: Harness) -> None:
        for source in ("azureml:nothing", f"{WORKSPACE}-two/jobs/x", f"{WORKSPACE}/data/x", "/"):
            answer = harness.put(URL, self.definition(source))
            target = "properties.action.jobDefinition.sourceJobId"
            assert (answer.status_code, answer.json()["error"]["target"]) == (400, target), source
