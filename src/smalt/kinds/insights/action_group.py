"""`Microsoft.Insights/actionGroups`: who hears of alerts. Here: webhooks, at addresses that this platform may call.

https://learn.microsoft.com/rest/api/monitor/action-groups (2019-03-01 and later)
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.kind import Admitted, Document, Kind, Request
from smalt.arm.validation import Properties
from smalt.kinds.insights.metrics import INSIGHTS
from smalt.settings import Settings
from smalt.store.resources import Row

ACTION_GROUPS = "microsoft.insights/actiongroups"
_WEBHOOKS = "webhookReceivers"
_MOST = 10


class WebhookReceiver(Properties):
    name: Annotated[str, Field(min_length=1, max_length=260)]
    service_uri: str
    use_common_alert_schema: bool | None = None
    use_aad_auth: bool | None = None


class ActionGroupProperties(Properties):
    group_short_name: Annotated[str, Field(min_length=1, max_length=12)]
    enabled: bool | None = None
    webhook_receivers: list[WebhookReceiver] | None = Field(None, max_length=_MOST)


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties: Document = {"enabled": True, **request.body["properties"]}
    for name, receivers in properties.items():
        if name.endswith("Receivers") and name != _WEBHOOKS and receivers:
            raise invalid(
                f"properties.{name}: this platform can send to webhooks only; leave them out, or give a"
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
    return Admitted({**request.body, "properties": properties, "location": request.body.get("location") or "Global"})


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


KIND = Kind(
    path="actionGroups",
    title="action group",
    provider=INSIGHTS,
    tracked=True,
    properties=ActionGroupProperties,
    admit=_admit,
    delete_at_once=True,
)
