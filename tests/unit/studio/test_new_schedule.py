"""The form that makes a schedule of a job sends what the official client sends of the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml.entities._load_functions import load_schedule

from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token
from smalt.studio.documents.schedule_form import document, sdk_code, sent
from smalt.studio.documents.written import Faulty, dump

CRON = {"name": "nightly", "kind": "cron", "expression": "30 2 * * 1", "zone": "Europe/Berlin", "display_name": "N 'x'"}
DAILY = {"name": "daily", "kind": "recurrence", "interval": "2", "frequency": "day", "at": "07:30", "zone": "UTC",
         "start_time": "2027-02-01T08:00", "end_time": "2027-03-01T08:00"}  # fmt: skip
HOURLY = {"name": "hourly", "kind": "recurrence", "interval": "6", "frequency": "hour", "at": "02:00", "zone": ""}


def trigger_of(made: Any) -> dict[str, Any]:
    found = made._to_rest_object().properties.trigger.as_dict()
    times = {name: found[name].replace(" ", "T") for name in ("startTime", "endTime") if found.get(name)}
    return {name: value for name, value in {**found, **times}.items() if value not in (None, {}, [])}


@pytest.mark.parametrize("fields", [CRON, DAILY, HOURLY])
def test_file_code_and_request_are_one(tmp_path: Path, fields: dict[str, str]) -> None:
    made = document(fields, "train-1")
    file = tmp_path / "schedule.yml"
    file.write_text(dump(made))
    theirs = load_schedule(file)
    assert theirs.name == fields["name"] and str(theirs.create_job).endswith("train-1")
    scope: dict[str, Any] = {}
    lines = sdk_code(made)
    imports, _, call = lines.partition("schedule = ")
    wanted = next(line for line in imports.splitlines() if "entities" in line)
    exec(f"{wanted}\nschedule = {call.rpartition('ml_client')[0]}", scope)
    ours = sent(made, "train-1")["trigger"]
    known = trigger_of(theirs)
    assert trigger_of(scope["schedule"]) == known
    assert ours["timeZone"] == known["timeZone"] and ours["triggerType"].lower() == known["triggerType"].lower()
    assert ours.get("expression") == known.get("expression") and ours.get("interval") == known.get("interval")
    assert ours.get("frequency", "").lower() == known.get("frequency", "").lower()
    pattern = known.get("schedule") or {}
    assert {name: pattern[name] for name in ("hours", "minutes") if pattern.get(name)} == ours.get("schedule", {})
    assert [ours.get(name) for name in ("startTime", "endTime")] == [
        known.get(name) for name in ("startTime", "endTime")
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"expression": " "},
        {"kind": "recurrence", "interval": "0", "frequency": "day"},
        {"kind": "recurrence", "interval": "1", "frequency": "year"},
        {"kind": "recurrence", "interval": "1", "frequency": "day", "at": "25:00"},
    ],
)
def test_what_is_no_schedule_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(Faulty):
        document({**CRON, **change}, "train-1")


def test_a_job_is_scheduled_from_its_page(site: StudioSite) -> None:
    site.submit("train-1", displayName="<i>train")
    assert 'href="/studio/schedules/new?job=train-1' in site.open("/studio/jobs/train-1").text
    page = site.open("/studio/schedules/new", {**HERE, "job": "train-1"})
    assert page.status_code == 200 and "&lt;i&gt;train" in page.text
    fields, token = {**DAILY, "job": "train-1"}, form_token(page.text)
    preview = site.send_form("/studio/schedules/new/preview", token, fields).text
    assert "az ml schedule create -f schedule.yml" in preview and "RecurrencePattern(hours=7, minutes=30)" in preview
    assert site.send_form("/studio/schedules/new", token, fields).status_code == 303
    made = site.harness.get(f"{WORKSPACE}/schedules/daily").json()["properties"]
    assert made["action"]["jobDefinition"]["command"] == "python t.py"
    assert made["nextRunTime"].startswith("2027-02-01T07:30") or made["nextRunTime"].startswith("2027-02-03T07:30")
    assert site.send_form("/studio/schedules/new", token, fields).status_code == 412  # there is one of this name
    wrong = site.send_form("/studio/schedules/new", token, {**CRON, "job": "train-1", "expression": "61 * * * *"})
    assert wrong.status_code == 400 and "expression" in wrong.text
    assert site.open("/studio/schedules/new", {**HERE, "job": "none"}).status_code == 404
    assert site.open("/studio/schedules/new").status_code == 400
