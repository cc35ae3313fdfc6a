"""When schedules run next, by the days of a time zone; and what became of the times that have come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes import schedules
from fakes.platform import WORKSPACE, Harness


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


def put(harness: Harness, name: str, trigger: dict[str, str] | None = None, **more: Any) -> None:
    answer = harness.put(f"{WORKSPACE}/schedules/{name}", schedules.body(trigger, **more))
    assert answer.status_code == 201, answer.text
    harness.settle()


def cron(expression: str, zone: str = "UTC") -> dict[str, str]:
    return {"triggerType": "Cron", "expression": expression, "timeZone": zone}


def days(harness: Harness, query: str) -> dict[str, list[tuple[str, list[str], bool]]]:
    answer = harness.get(f"{WORKSPACE}/scheduleDays?{query}")
    assert answer.status_code == 200, answer.text
    return {
        day["date"]: [(one["name"], [at[11:16] for at in one["times"]], one["more"]) for one in day["schedules"]]
        for day in answer.json()["value"]
    }


def test_the_days_are_those_of_a_zone(harness: Harness) -> None:
    put(harness, "late", trigger=cron("30 23 * * *"))
    found = days(harness, "from=2027-01-15&days=2")
    assert found == {"2027-01-15": [("late", ["23:30"], False)], "2027-01-16": [("late", ["23:30"], False)]}
    berlin = days(harness, "from=2027-01-15&days=2&zone=Europe/Berlin")
    assert berlin == {"2027-01-15": [], "2027-01-16": [("late", ["23:30"], False)]}  # half past midnight there
    assert days(harness, "from=2027-01-15&days=2&zone=W.+Europe+Standard+Time") == berlin


def test_what_is_over_or_disabled_is_not_told_and_one_of_every_minute_costs_no_more(harness: Harness) -> None:
    put(harness, "often", trigger=cron("* * * * *"))
    put(harness, "off", isEnabled=False)
    found = days(harness, "from=2027-01-01&days=42")
    assert not any(found[f"2027-01-{day:02}"] for day in range(1, 15))
    assert [name for name, _, _ in found["2027-01-15"]] == ["often"] and found["2027-01-15"][0][2]
    assert found["2027-01-16"] == [("often", ["00:00", "00:01", "00:02"], True)] and len(found) == 42


def test_the_clocks_are_moved(harness: Harness) -> None:
    put(harness, "two", trigger=cron("30 2 * * *", "Europe/Berlin"))
    found = days(harness, "from=2027-03-27&days=3&zone=Europe/Berlin")  # on the 28th there is no half past two
    assert [one[0][1] for one in found.values()] == [["01:30"], ["01:00"], ["00:30"]]


@pytest.mark.parametrize(
    "query", ["from=soon", "from=2027-13-01", "from=9999-12-31", "days=0", "days=43", "days=x", "zone=Mars"]
)
def test_what_is_no_day_is_refused(harness: Harness, query: str) -> None:
    answer = harness.get(f"{WORKSPACE}/scheduleDays?{query}")
    assert answer.status_code == 400 and answer.json()["error"]["target"] == query.partition("=")[0]


def test_each_time_has_its_job_or_why_there_is_none(harness: Harness) -> None:
    put(harness, "nightly", trigger=cron("0 * * * *"))
    harness.clock.pass_(3600)
    harness.settle()
    found = harness.get(f"{WORKSPACE}/schedules/nightly/history").json()["value"]
    assert found[0]["scheduleTime"] == "2027-01-15T09:00:00Z"
    assert found[0]["job"] == "nightly-20270115t090000z" and found[0]["status"] and found[0]["error"] is None
    name = found[0]["job"]
    harness.send("POST", f"{WORKSPACE}/jobs/{name}/cancel")
    harness.settle()
    harness.send("DELETE", f"{WORKSPACE}/jobs/{name}")
    harness.settle()
    assert harness.get(f"{WORKSPACE}/schedules/nightly/history").json()["value"][0]["status"] is None
