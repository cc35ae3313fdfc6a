"""A schedule for a job that there is: the form, the file for `az`, SDK code, and what is sent."""

from __future__ import annotations

from collections.abc import Mapping

from tzlocal.windows_tz import tz_win

from smalt.store.document import Document
from smalt.studio.documents.written import Fault, Faulty

FREQUENCIES = ("minute", "hour", "day", "week", "month")
_AT_TIMES = ("day", "week", "month")  # which have a time of day


def document(fields: Mapping[str, str], job: str) -> Document:
    """Raises Faulty."""
    zone = fields.get("zone", "").strip() or "UTC"
    trigger = _cron(fields) if fields.get("kind", "cron") == "cron" else _recurrence(fields)
    said = {name: fields.get(name, "").strip() for name in ("name", "display_name", "description")}
    if not said["name"]:
        raise Faulty([Fault(("name",), "name: give the schedule a name.")])
    found: Document = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/schedule.schema.json",
        **{name: text for name, text in said.items() if text},
        "trigger": {**trigger, "time_zone": tz_win.get(zone, zone)},  # the official client knows Windows' names alone
        "create_job": f"azureml:{job}",
    }
    for end in ("start_time", "end_time"):
        if given := fields.get(end, "").strip():
            found["trigger"][end] = given if given.count(":") != 1 else f"{given}:00"  # browsers leave seconds out
    return found


def sent(document: Document, job: str) -> Document:
    """The properties that the API takes."""
    given = document["trigger"]
    trigger = {"triggerType": given["type"].capitalize(), "timeZone": given["time_zone"]}
    names = {"expression": "expression", "interval": "interval", "start_time": "startTime", "end_time": "endTime"}
    trigger |= {there: given[here] for here, there in names.items() if here in given}
    if given["type"] == "recurrence":
        trigger["frequency"] = given["frequency"].capitalize()
        if pattern := given.get("schedule"):
            trigger["schedule"] = {"hours": [pattern["hours"]], "minutes": [pattern["minutes"]]}
    action = {"actionType": "CreateJob", "jobDefinition": {"sourceJobId": job}}
    said = {"displayName": document.get("display_name"), "description": document.get("description")}
    return {**{name: text for name, text in said.items() if text}, "trigger": trigger, "action": action}


def sdk_code(document: Document) -> str:
    """The lines of Python that make it by the official SDK."""
    given = document["trigger"]
    cron = given["type"] == "cron"
    kinds = ["CronTrigger"] if cron else ["RecurrenceTrigger", *(["RecurrencePattern"] if "schedule" in given else [])]
    arguments = [f"{name}={value!r}" for name, value in given.items() if name not in ("type", "schedule")]
    if pattern := given.get("schedule"):
        arguments.append(f"schedule=RecurrencePattern(hours={pattern['hours']}, minutes={pattern['minutes']})")
    own = [f"    {name}={document[name]!r},\n" for name in ("name", "display_name", "description") if name in document]
    return (
        "from azure.ai.ml import MLClient\n"
        f"from azure.ai.ml.entities import {', '.join(sorted(['JobSchedule', *kinds]))}\n"
        "from azure.identity import DefaultAzureCredential\n\n"
        "ml_client = MLClient.from_config(DefaultAzureCredential())  # config.json is on the page Connect\n\n"
        f"schedule = JobSchedule(\n{''.join(own)}    trigger={kinds[0]}({', '.join(arguments)}),\n"
        f"    create_job={document['create_job']!r},\n)\n"
        "ml_client.schedules.begin_create_or_update(schedule).result()\n"
    )


def _cron(fields: Mapping[str, str]) -> Document:
    if not (expression := fields.get("expression", "").strip()):
        raise Faulty([Fault(("expression",), "expression: give minutes, hours, days, months and days of the week.")])
    return {"type": "cron", "expression": expression}


def _recurrence(fields: Mapping[str, str]) -> Document:
    frequency, interval, at = (fields.get(name, "").strip() for name in ("frequency", "interval", "at"))
    if frequency not in FREQUENCIES:
        raise Faulty([Fault(("frequency",), f"frequency: this is one of {', '.join(FREQUENCIES)}.")])
    if not (interval.isdecimal() and 1 <= len(interval) <= 4 and int(interval)):
        raise Faulty([Fault(("interval",), "interval: give a whole number from 1 to 9999.")])
    found: Document = {"type": "recurrence", "frequency": frequency, "interval": int(interval)}
    if at and frequency in _AT_TIMES:
        hours, colon, minutes = at.partition(":")
        if not (colon and hours.isdecimal() and minutes.isdecimal() and int(hours) < 24 and int(minutes) < 60):
            raise Faulty([Fault(("at",), f"at: '{at[:40]}' is no time of a day such as 07:30.")])
        found["schedule"] = {"hours": int(hours), "minutes": int(minutes)}
    return found
