"""Schedules whose time is about to come."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from live.platform import Platform

_AHEAD_S = 5


def made_ahead(name: str, job: dict[str, Any], count: int, through: Sequence[Platform]) -> tuple[list[str], int]:
    """Their names, and the one time of all of them, in seconds since 1970. Made in turn through each of the servers.

    A slow machine has made them after their time: then others are made, twice as far ahead.
    """
    ahead_s = _AHEAD_S
    while True:
        at = int(time.time()) + ahead_s
        start = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        trigger = {"triggerType": "Recurrence", "frequency": "Day", "interval": 1, "startTime": start}
        properties = {"trigger": trigger, "action": {"actionType": "CreateJob", "jobDefinition": job}}
        names = [f"{name}-{at}-{number}" for number in range(count)]
        for number, one in enumerate(names):
            answer = through[number % len(through)].call("PUT", f"schedules/{one}", {"properties": properties})
            assert answer.status_code == 201, answer.text
        if time.time() < at:
            return names, at
        for one in names:
            through[0].call("PUT", f"schedules/{one}", {"properties": {**properties, "isEnabled": False}})
            answer = through[0].call("DELETE", f"schedules/{one}")
            assert answer.status_code == 200, answer.text
        ahead_s *= 2
