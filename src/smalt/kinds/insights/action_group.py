"""`Microsoft.Insights/actionGroups`: who hears of alerts. Here: webhooks, at addresses that this platform may call,
and schedules, whose jobs are submitted then (Azure: runbooks of an automation account).

https://learn.microsoft.com/rest/api/monitor/action-groups (2019-03-01 and later)
"""

from __future__ import annotations

import copy
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.kind import Admitted, Document, Kind, Request
from smalt.arm.occasions import SCHEDULES, TRIGGER
from smalt.arm.validation import Properties
from smalt.kinds.insights.metrics import INSIGHTS
from smalt.kinds.insights.rules import found
from smalt.settings import Settings
from smalt.store.resources import Row

ACTION_GROUPS = "microsoft.insights/actiongroups"
_WEBHOOKS, _RUNBOOKS = "webhookReceivers", "automationRunbookReceivers"
_MOST = 10


class WebhookReceiver(Properties):
    name: Annotated[str, Field(min_length=1, max_length=260)]
    service_uri: str
    use_common_alert_schema: bool | None = None
    use_aad_auth: bool | None = None


class RunbookReceiver(Properties):
    """`webhook_resource_id`: the schedule. What names an automation account and its runbook has no effect."""

    name: Annotated[str, Field(min_length=1, max_length=260)] = "schedule"
    webhook_resource_id: str
    automation_account_id: str | None = None
    runbook_name: str | None = None
    is_global_runbook: bool | None = None
    service_uri: str | None = None
    use_common_alert_schema: bool | None = None


class ActionGroupProperties(Properties):
    group_short_name: Annotated[str, Field(min_length=1, max_length=12)]
    enabled: bool | None = None
    webhook_receivers: list[WebhookReceiver] | None = Field(None, max_length=_MOST)
    automation_runbook_receivers: list[RunbookReceiver] | None = Field(None, max_length=_MOST)


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties: Document = {"enabled": True, **copy.deepcopy(request.body["properties"])}
    for name, receivers in properties.items():
        if name.endswith("Receivers") and name not in (_WEBHOOKS, _RUNBOOKS) and receivers:
            raise invalid(
                f"properties.{name}: this platform tells webhooks and runs schedules; leave them out, or give a"
                f" {_WEBHOOKS[:-1]} that passes alerts on.",
                f"properties.{name}",
            )
    properties[_WEBHOOKS] = properties.get(_WEBHOOKS) or []
    for at, one in enumerate(properties[_WEBHOOKS]):
        field = f"properties.{_WEBHOOKS}.{at}"
        if one.get("useAadAuth"):
            raise invalid(f"{field}.useAadAuth: no token can be had for a webhook here.", f"{field}.useAadAuth")
        if why := refused(request.platform.settings, one["serviceUri"]):
            raise invalid(f"{field}.serviceUri: {why}", f"{field}.serviceUri")
    for at, one in enumerate(properties.get(_RUNBOOKS) or ()):
        _check_schedule(request, connection, one, f"properties.{_RUNBOOKS}.{at}")
    return Admitted({**request.body, "properties": properties, "location": request.body.get("location") or "Global"})


def _check_schedule(request: Request, connection: Connection, one: Document, at: str) -> None:
    """It is there, and whoever writes this may run it; its id in `one` as it is written. Raises ArmError."""
    field = f"{at}.webhookResourceId"
    row = found(request, connection, one["webhookResourceId"], field, TRIGGER)
    if row.kind != SCHEDULES:
        raise invalid(f"{field}: this is no schedule; give the id of one, whose job is submitted.", field)
    if one.get("serviceUri") and str(one["serviceUri"]).lower() != row.id:
        raise invalid(
            f"{at}.serviceUri: nothing is called to run a schedule; leave it out, or give the schedule's id again.",
            f"{at}.serviceUri",
        )
    one["webhookResourceId"] = row.written


def refused(settings: Settings, uri: str) -> str:
    """Why this platform does not call that address; empty: it may. A message repeats no path: it may hold a secret."""
    try:
        parts = urlsplit(uri)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "this is no URL."
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        return "a URL that begins with http:// or https://, without a user, is needed."
    port = port or (443 if parts.scheme == "https" else 80)
    allowed = [one for one in settings.webhook_hosts.lower().split(",") if one]
    if any(_fits(one, host, port) for one in allowed):
        return ""
    return f"{host}:{port} is not among the setting webhook_hosts ({', '.join(allowed) or 'none are'})."


def _fits(allowed: str, host: str, port: int) -> bool:
    """`allowed`: HOST, HOST:PORT, or either with `*.` before it: any name below. Without a port those of http(s)."""
    name, _, number = allowed.rpartition(":") if allowed.rpartition(":")[2].isdigit() else (allowed, "", "")
    name = name.strip("[]")
    if port != int(number) if number else port not in (80, 443):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def receivers(properties: dict[str, Any]) -> list[Document]:
    """Whom to tell."""
    return list(properties.get(_WEBHOOKS) or []) if properties.get("enabled") is not False else []


def schedules(properties: dict[str, Any]) -> list[str]:
    """The ids of those that run when an alert fires."""
    on = properties.get("enabled") is not False
    return [str(one["webhookResourceId"]) for one in properties.get(_RUNBOOKS) or ()] if on else []


KIND = Kind(
    path="actionGroups",
    title="action group",
    provider=INSIGHTS,
    tracked=True,
    properties=ActionGroupProperties,
    admit=_admit,
    delete_at_once=True,
)
