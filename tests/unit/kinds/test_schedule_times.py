"""When schedules run: cron and recurrences, in any time zone, where clocks are moved and where they are not."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from smalt.arm.errors import ArmError
from smalt.arm.triggers import Trigger, parsed
from smalt.arm.zones import instant, zone

BERLIN, NEW_YORK = "W. Europe Standard Time", "Eastern Standard Time"


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def cron(expression: str, zone: str = "UTC", begun: str = "2026-01-01 00:00", **more: Any) -> Trigger:
    return parsed({"triggerType": "Cron", "expression": expression, "timeZone": zone, **more}, at(begun))


def recurrence(
    frequency: str, interval: int = 1, zone: str = "UTC", begun: str = "2026-01-01 00:00", **more: Any
) -> Trigger:
    given = {"triggerType": "Recurrence", "frequency": frequency, "interval": interval, "timeZone": zone, **more}
    return parsed(given, at(begun))


def times(trigger: Trigger, after: str, count: int) -> list[str]:
    """The next times, in UTC. Each must also be found from behind."""
    found: list[str] = []
    now: float = at(after)
    for _ in range(count):
        following = trigger.next(now)
        if following is None:
            break
        assert trigger.last(following) == following
        assert trigger.last(following + 0.9) == following
        now = following
        found.append(f"{datetime.fromtimestamp(now, UTC):%m-%d %H:%M}")
    return found


def test_every_zone_that_the_client_names_is_known() -> None:
    package = find_spec("azure.ai.ml")  # to import it takes longer than all tests here
    assert package is not None and package.origin is not None
    source = ast.parse((Path(package.origin).parent / "constants/_common.py").read_text())
    zones = next(one for one in source.body if isinstance(one, ast.ClassDef) and one.name == "TimeZone")
    names = [ast.literal_eval(one.value) for one in zones.body if isinstance(one, ast.Assign)]
    assert len(names) > 100
    for name in names:
        assert zone(name, "x").utcoffset(datetime(2026, 1, 1)) is not None


@pytest.mark.parametrize(
    ("name", "offset_h"),
    [
        ("W. Europe Standard Time", 2), ("w. europe standard time", 2), ("Europe/Berlin", 2), ("europe/berlin", 2),
        ("UTC", 0), ("UTC-11", -11), ("Pacific Standard Time", -7), ("India Standard Time", 5.5),
        ("Kamchatka Standard Time", 12), ("Asia/Kathmandu", 5.75),
    ],
)  # fmt: skip
def test_names_of_zones(name: str, offset_h: float) -> None:
    found = zone(name, "x").utcoffset(datetime(2026, 7, 1))
    assert found is not None and found.total_seconds() == offset_h * 3600


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "W. Europe", "", " UTC", "Europe", "/UTC"])
def test_a_name_that_is_no_zone(name: str) -> None:
    with pytest.raises(ArmError) as error:
        zone(name, "properties.trigger.timeZone")
    assert error.value.status == 400 and error.value.target == "properties.trigger.timeZone"


def test_a_local_time_that_there_is_twice_or_never() -> None:
    berlin = zone("Europe/Berlin", "x")
    assert instant(datetime(2026, 10, 25, 2, 30), berlin) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # the first
    assert instant(datetime(2026, 3, 29, 2, 30), berlin) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)  # 3:00
    assert instant(datetime(2011, 12, 30, 12, 0), zone("Pacific/Apia", "x")) == datetime(2011, 12, 30, 10, tzinfo=UTC)


class TestCron:
    def test_the_example_of_the_documentation(self) -> None:
        """15 16 * * 1: 16:15 on every Monday."""
        assert times(cron("15 16 * * 1"), "2026-01-01 00:00", 3) == ["01-05 16:15", "01-12 16:15", "01-19 16:15"]

    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("* * * * *", ["01-01 00:01", "01-01 00:02", "01-01 00:03"]),
            ("*/20 * * * *", ["01-01 00:20", "01-01 00:40", "01-01 01:00"]),
            ("0 9-10 * * MON-FRI", ["01-01 09:00", "01-01 10:00", "01-02 09:00"]),
            ("30 6 * * 0", ["01-04 06:30", "01-11 06:30", "01-18 06:30"]),
            ("0 0 1 2,3 *", ["02-01 00:00", "03-01 00:00", "02-01 00:00"]),
        ],
    )
    def test_expressions(self, expression: str, expected: list[str]) -> None:
        assert times(cron(expression), "2026-01-01 00:00", 3) == expected

    def test_a_time_of_the_day_follows_the_clocks_there(self) -> None:
        daily = cron("0 8 * * *", BERLIN)
        assert times(daily, "2026-03-28 00:00", 2) == ["03-28 07:00", "03-29 06:00"]
        assert times(daily, "2026-10-24 00:00", 2) == ["10-24 06:00", "10-25 07:00"]

    def test_a_time_that_is_skipped_runs_at_the_next_minute_that_there_is(self) -> None:
        assert times(cron("30 2 * * *", BERLIN), "2026-03-28 00:00", 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]

    def test_a_time_that_there_is_twice_runs_once(self) -> None:
        twice = cron("30 2 * * *", BERLIN)
        assert times(twice, "2026-10-24 12:00", 2) == ["10-25 00:30", "10-26 01:30"]
        for minute in range(0, 120, 7):  # whenever it is asked, in the hour that comes twice too
            following = twice.next(at("2026-10-25 00:30") + minute * 60)
            assert following == at("2026-10-26 01:30"), minute
        assert times(cron("30 1 * * *", NEW_YORK), "2026-11-01 00:00", 2) == ["11-01 05:30", "11-02 06:30"]

    def test_what_runs_all_the_time_goes_on_while_the_clocks_are_moved(self) -> None:
        assert times(cron("0 * * * *", BERLIN), "2026-10-24 23:30", 4) == [f"10-25 0{hour}:00" for hour in range(4)]
        assert times(cron("*/30 * * * *", BERLIN), "2026-03-29 00:30", 2) == ["03-29 01:00", "03-29 01:30"]


class TestRecurrence:
    def test_every_twelve_hours_as_in_the_documentation(self) -> None:
        trigger = recurrence("Hour", 12, startTime="2021-01-01T06:00:00")
        assert times(trigger, "2020-12-01 00:00", 3) == ["01-01 06:00", "01-01 18:00", "01-02 06:00"]

    def test_without_a_pattern_it_counts_from_the_start(self) -> None:
        begun = "2026-01-30 10:07"
        assert times(recurrence("minute", 25, begun=begun), begun, 2) == ["01-30 10:32", "01-30 10:57"]
        assert times(recurrence("day", 3, begun=begun), begun, 2) == ["02-02 10:07", "02-05 10:07"]
        assert times(recurrence("week", 2, begun=begun), begun, 2) == ["02-13 10:07", "02-27 10:07"]
        assert times(recurrence("month", 1, begun=begun), begun, 2) == ["03-30 10:07", "04-30 10:07"]

    def test_it_begins_with_the_start(self) -> None:
        trigger = recurrence("Hour", begun="2026-01-30 10:07")
        assert trigger.next(trigger.start - 1) == trigger.start == at("2026-01-30 10:07")
        assert trigger.last(trigger.start - 1) is None

    def test_a_day_with_hours_and_minutes(self) -> None:
        trigger = recurrence("day", schedule={"hours": [10, 4], "minutes": [30, 0]})
        assert times(trigger, "2026-01-01 00:00", 5) == [
            "01-01 04:00",
            "01-01 04:30",
            "01-01 10:00",
            "01-01 10:30",
            "01-02 04:00",
        ]

    def test_days_of_the_week(self) -> None:
        pattern = {"hours": [9], "minutes": [0], "weekDays": ["Monday", "friday"]}
        assert times(recurrence("Week", schedule=pattern), "2026-01-01 00:00", 3) == [
            "01-02 09:00",
            "01-05 09:00",
            "01-09 09:00",
        ]
        # the start is a Thursday; weeks begin on Monday
        assert times(recurrence("Week", 2, schedule=pattern), "2026-01-01 00:00", 4) == [
            "01-02 09:00",
            "01-12 09:00",
            "01-16 09:00",
            "01-26 09:00",
        ]

    def test_a_month_without_the_day_is_left_out(self) -> None:
        pattern = {"hours": [1], "minutes": [0], "monthDays": [31]}
        assert times(recurrence("Month", schedule=pattern), "2026-01-01 00:00", 4) == [
            "01-31 01:00",
            "03-31 01:00",
            "05-31 01:00",
            "07-31 01:00",
        ]

    def test_days_of_the_week_in_a_month(self) -> None:
        pattern = {"hours": [1], "minutes": [0], "weekDays": ["sunday"]}
        assert times(recurrence("Month", 2, schedule=pattern), "2026-01-20 00:00", 3) == [
            "01-25 01:00",
            "03-01 01:00",
            "03-08 01:00",
        ]

    def test_the_clients_empty_pattern_says_nothing(self) -> None:
        trigger = recurrence("hour", 2, schedule={"hours": [], "minutes": []})
        assert times(trigger, "2026-01-01 00:00", 2) == ["01-01 02:00", "01-01 04:00"]

    def test_the_clocks_there(self) -> None:
        pattern = {"hours": [2], "minutes": [0, 30]}
        daily = recurrence("Day", zone=BERLIN, schedule=pattern)
        assert times(daily, "2026-03-28 12:00", 2) == ["03-29 01:00", "03-30 00:00"], "both are skipped: 3:00, once"
        assert times(daily, "2026-10-24 12:00", 3) == ["10-25 00:00", "10-25 00:30", "10-26 01:00"]
        start = {"startTime": "2026-03-28T08:00:00"}
        assert times(recurrence("Day", zone=BERLIN, **start), "2026-03-28 12:00", 1) == ["03-29 06:00"]
        assert times(recurrence("Hour", 24, zone=BERLIN, **start), "2026-03-28 12:00", 1) == ["03-29 07:00"]

    def test_what_never_comes(self) -> None:
        pattern = {"hours": [1], "minutes": [0], "monthDays": [31]}
        never = recurrence("Month", 12, begun="2026-02-01 00:00", schedule=pattern)
        assert never.next(at("2026-02-01 00:00")) is None and never.last(at("2030-02-01 00:00")) is None
        assert cron("0 0 29 2 *").next(at("2026-01-01 00:00")) == at("2028-02-29 00:00")

    @pytest.mark.parametrize("frequency", ["minute", "hour", "day", "week", "month"])
    def test_the_largest_interval(self, frequency: str) -> None:
        trigger = recurrence(frequency, 1_000_000)
        assert trigger.next(trigger.start - 1) == trigger.start
        assert trigger.next(trigger.start) is None or frequency in ("minute", "hour")
        far = recurrence(frequency, 1_000_000, startTime="9000-01-01 00:00", zone="Line Islands Standard Time")
        assert far.next(at("2026-01-01 00:00")) == far.start


class TestStartAndEnd:
    def test_in_the_zone_or_with_an_offset(self) -> None:
        assert cron("* * * * *", BERLIN, startTime="2026-07-01T10:00:00").start == at("2026-07-01 08:00")
        assert cron("* * * * *", BERLIN, startTime="2026-07-01 10:00:00").start == at("2026-07-01 08:00")
        assert cron("* * * * *", BERLIN, startTime="2022-05-10T10:15:00-04:00").start == at("2022-05-10 14:15")

    def test_both_are_included(self) -> None:
        trigger = cron("0 * * * *", startTime="2026-01-01T05:00:00", endTime="2026-01-01T07:00:00")
        assert times(trigger, "2026-01-01 00:00", 9) == ["01-01 05:00", "01-01 06:00", "01-01 07:00"]
        assert trigger.last(at("2026-02-01 00:00")) == at("2026-01-01 07:00")


WRONG = [
    ({"triggerType": "Event"}, "triggerType"),
    ({"triggerType": "Cron"}, "expression"),
    *[
        ({"triggerType": "Cron", "expression": one}, "expression")
        for one in (
            "* * * *",
            "0 * * * * *",
            "61 * * * *",
            "* * * * 8",
            "*/0 * * * *",
            "a b c d e",
            "0 0 30 2 *",
            "@daily",
        )
    ],
    ({"triggerType": "Cron", "expression": "* * * * *", "timeZone": "Mars"}, "timeZone"),
    ({"triggerType": "Cron", "expression": "* * * * *", "startTime": "soon"}, "startTime"),
    ({"triggerType": "Cron", "expression": "* * * * *", "startTime": "0001-01-01"}, "startTime"),
    ({"triggerType": "Cron", "expression": "* * * * *", "startTime": "2026-02-01", "endTime": "2026-01-01"}, "endTime"),
    ({"triggerType": "Recurrence", "interval": 1}, "frequency"),
    ({"triggerType": "Recurrence", "frequency": "Year", "interval": 1}, "frequency"),
    ({"triggerType": "Recurrence", "frequency": "Day"}, "interval"),
    ({"triggerType": "Recurrence", "frequency": "Hour", "interval": 1, "schedule": {"hours": [1]}}, "schedule.hours"),
    (
        {"triggerType": "Recurrence", "frequency": "Day", "interval": 1, "schedule": {"weekDays": ["monday"]}},
        "schedule.weekDays",
    ),
    (
        {"triggerType": "Recurrence", "frequency": "Week", "interval": 1, "schedule": {"weekDays": ["mondy"]}},
        "schedule.weekDays",
    ),
    (
        {
            "triggerType": "Recurrence",
            "frequency": "Month",
            "interval": 1,
            "schedule": {"weekDays": ["monday"], "monthDays": [1]},
        },
        "schedule.monthDays",
    ),
]


@pytest.mark.parametrize(("given", "field"), WRONG)
def test_what_is_wrong_is_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ArmError) as error:
        parsed(given, at("2026-01-01 00:00"))
    assert error.value.status == 400 and error.value.target == f"properties.trigger.{field}"
    assert error.value.target in error.value.message
