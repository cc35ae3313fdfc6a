"""`ml schedule`."""

from __future__ import annotations

from typing import Any

from ..arguments import IN_WORKSPACE, NAME, NO_WAIT, flag, option
from ..connection import Connection
from ..kinds import SCHEDULE
from ..table import Command, Group
from ..verbs import all_of, create, delete, show, update

GROUP = "ml schedule"
_VIEWS = {"enabled": "EnabledOnly", "disabled": "DisabledOnly", "all": "All"}


def _list(
    connection: Connection,
    disabled_only: bool = False,
    include_disabled: bool = False,
    max_results: int | None = None,
) -> Any:
    view = _VIEWS["disabled" if disabled_only else "all" if include_disabled else "enabled"]
    return all_of(connection, SCHEDULE, connection.pages(SCHEDULE.collection, listViewType=view), max_results)


def _enabled(on: bool) -> Any:
    def run(connection: Connection, name: str, no_wait: bool = False) -> Any:
        path = SCHEDULE.path(name)
        connection.act("PATCH", path, {"properties": {"isEnabled": on}}, wait=not no_wait)
        return None if no_wait else SCHEDULE.printed(connection, connection.get(path))

    return run


def _trigger(connection: Connection, name: str) -> Any:
    found = connection.send("POST", f"{SCHEDULE.path(name)}/trigger", {}).body or {}
    return {"jobName": found.get("submissionId"), "scheduleActionType": found.get("scheduleActionType")}


COMMANDS = Group(
    GROUP,
    "Schedules: jobs that are submitted at times.",
    (
        create(GROUP, SCHEDULE, waits=True),
        show(GROUP, SCHEDULE),
        Command(
            GROUP, "list", "List schedules that are enabled.", _list,
            (
                flag("--disabled-only", help="Only those that are disabled."),
                flag("--include-disabled", help="Those that are disabled, too."),
                option("--max-results", "-r", help="The most results to show.", type=int), *IN_WORKSPACE,
            ),
            columns="[].{Name: name, Type: trigger.type, Enabled: is_enabled, State: provisioning_state}",
        ),
        update(GROUP, SCHEDULE, waits=True),
        delete(GROUP, SCHEDULE, waits=True),
        Command(GROUP, "enable", "Enable a schedule.", _enabled(True), (NAME, NO_WAIT, *IN_WORKSPACE)),
        Command(GROUP, "disable", "Disable a schedule.", _enabled(False), (NAME, NO_WAIT, *IN_WORKSPACE)),
        Command(GROUP, "trigger", "Submit a schedule's job now.", _trigger, (NAME, *IN_WORKSPACE)),
    ),
)  # fmt: skip
