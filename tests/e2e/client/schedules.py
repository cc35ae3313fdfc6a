"""Schedules: made from code and YAML, fired by their times and by hand, disabled, enabled, listed, deleted."""

import os

os.environ["AZURE_ML_CLI_PRIVATE_FEATURES_ENABLED"] = "true"  # the client schedules command jobs only so

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from azure.ai.ml import command
from azure.ai.ml.constants import TimeZone
from azure.ai.ml.entities import (
    CronTrigger,
    Environment,
    JobSchedule,
    RecurrencePattern,
    RecurrenceTrigger,
)
from azure.ai.ml.entities._load_functions import load_schedule
from azure.core.exceptions import ResourceNotFoundError
from session import PLAIN_IMAGE, completed, connect, refused, scratch, step, unique, until

ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"bare-{unique}", image=PLAIN_IMAGE))
environment = f"azureml:{plain.name}:{plain.version}"
far = RecurrenceTrigger(
    frequency="week", interval=1, schedule=RecurrencePattern(hours=3, minutes=[0, 30], week_days="sunday")
)


def job(text="echo it is ${{inputs.when}}", **more):
    return command(command=text, environment=environment, inputs={"when": "${{creation_context.trigger_time}}"}, **more)


def made(name, trigger, create_job, **more):
    schedule = JobSchedule(name=f"{name}-{unique}", trigger=trigger, create_job=create_job, **more)
    return ml.schedules.begin_create_or_update(schedule).result()


def fired(schedule):
    return [one.name for one in ml.jobs.list(scheduled_job_name=schedule.name)]


with step("a command job each Sunday: read back as it was made"):
    weekly = made("weekly", far, job(), description="each week", tags={"team": "risk"}, display_name="Weekly")
    assert weekly.is_enabled and weekly.provisioning_state == "Succeeded"
    found = ml.schedules.get(weekly.name)
    assert (found.display_name, found.description, found.tags) == ("Weekly", "each week", {"team": "risk"})
    assert found.trigger.frequency == "week" and found.trigger.schedule.minutes == [0, 30]
    assert found.create_job.command == "echo it is ${{inputs.when}}"
    assert weekly.name in [one.name for one in ml.schedules.list()]
    assert fired(weekly) == []

with step("triggered by hand it runs, and knows its time and its schedule"):
    result = ml.schedules.trigger(weekly.name, schedule_time="2026-01-31T12:00:00+00:00")
    run = completed(ml, result.job_name)
    assert run.display_name == f"{weekly.name}-20260131T120000Z", run.display_name
    assert run.experiment_name == weekly.name and run.properties["azureml.scheduleId"] == weekly.name
    assert fired(weekly) == [result.job_name]
    ml.jobs.download(run.name, download_path=str(scratch / "log"), all=True)
    log = next((scratch / "log").rglob("std_log.txt")).read_text()
    assert "it is 2026-01-31T12:00:00Z" in log, log

with step("disabled, it is in another list; enabled, it is back"):
    assert ml.schedules.begin_disable(weekly.name).result().is_enabled is False
    assert weekly.name not in [one.name for one in ml.schedules.list()]
    assert weekly.name in [one.name for one in ml.schedules.list(list_view_type="DisabledOnly")]
    assert ml.schedules.begin_enable(weekly.name).result().is_enabled is True

with step("at its time it fires by itself, once"):
    berlin = ZoneInfo("Europe/Berlin")
    for number in range(9):  # another, where the machine stood still until its time had come
        begin = datetime.now(berlin).replace(tzinfo=None, microsecond=0) + timedelta(seconds=7)
        daily = RecurrenceTrigger(
            frequency="day", interval=1, start_time=begin, time_zone=TimeZone.W_EUROPE_STANDARD_TIME
        )
        soon = made(f"soon-{number}", daily, job())
        if datetime.now(berlin).replace(tzinfo=None) < begin:
            break
        ml.schedules.begin_disable(soon.name).result()
        ml.schedules.begin_delete(soon.name).result()
    assert datetime.fromisoformat(soon.trigger.start_time) == begin
    (name,) = until(lambda: fired(soon), "a job of the schedule", pause_s=0.2)
    assert completed(ml, name).creation_context.created_at.timestamp() >= begin.replace(tzinfo=berlin).timestamp()
    assert fired(soon) == [name]

with step("a recurrence without a start begins at once"):
    hourly = made("hourly", RecurrenceTrigger(frequency="hour", interval=1), job())
    until(lambda: fired(hourly), "its first job")

with step("a job that has run is scheduled, by code and by YAML, with other inputs"):
    first = completed(ml, ml.jobs.create_or_update(command(command="echo ran", environment=environment)).name)
    again = made("again", far, first.id)
    assert ml.schedules.get(again.name).create_job.command == "echo ran"
    completed(ml, ml.schedules.trigger(again.name).job_name)
    (scratch / "job.yml").write_text(
        f"type: command\ncommand: echo ${{{{inputs.rate}}}}\nenvironment: {environment}\ninputs:\n  rate: 1\n"
    )
    (scratch / "schedule.yml").write_text(
        f"name: from-yaml-{unique}\ntrigger:\n  type: cron\n  expression: 15 16 * * 1\n  time_zone: Tokyo Standard Time\n"
        "create_job:\n  type: command\n  job: ./job.yml\n  inputs:\n    rate: 7\n"
    )
    schedule = ml.schedules.begin_create_or_update(load_schedule(scratch / "schedule.yml")).result()
    run = completed(ml, ml.schedules.trigger(schedule.name).job_name)
    assert run.inputs["rate"]._data == "7", run.inputs

with step("what is wrong is said when it is made"):
    with refused("Moon", "timeZone", status=400):
        made("bad", CronTrigger(expression="* * * * *", time_zone="Moon"), job())
    with refused("expression", status=400):
        made("bad", CronTrigger(expression="every day"), job())
    with refused("endTime", "past", status=400):
        made(
            "bad",
            CronTrigger(
                expression="* * * * *", start_time="2020-01-01T00:00:00", end_time=datetime.now() - timedelta(2)
            ),
            job(),
        )
    with refused("nowhere", "jobDefinition.computeId", status=400):
        made("bad", far, job(compute="nowhere"))
    try:
        ml.schedules.get(f"bad-{unique}")
        raise AssertionError("it is there")
    except ResourceNotFoundError:
        pass

with step("deleted, with its jobs left"):
    for one in (weekly, soon, hourly, again, schedule):
        ml.schedules.begin_disable(one.name).result()
        ml.schedules.begin_delete(one.name).result()
    assert not [one for one in ml.schedules.list(list_view_type="All") if one.name.endswith(unique)]
    assert ml.jobs.get(result.job_name).status == "Completed"

print("PASSED")
