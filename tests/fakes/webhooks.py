"""A stored kind with one secret, to copy: webhooks, addresses that want to hear of events. The tests alone have it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.kind import Action, Admitted, Kind, Request
from smalt.arm.validation import Properties
from smalt.store.resources import Row

_TOKEN = "token"


class WebhookProperties(Properties):
    url: Annotated[str, Field(pattern=r"(?i)^https://[^\s/?#]+\S*$")]
    events: list[str] | None = None
    token: Annotated[str, Field(min_length=1)] | None = None  # named so that no error repeats it (`NAMES_OF_SECRETS`)


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties, secrets = dict(request.body["properties"]), request.platform.secrets
    token = properties.pop(_TOKEN, None)  # out of the document, before anything is kept
    moved = old is not None and old.properties["url"] != properties["url"]
    if moved and token is None and secrets.of(connection, request.id.key):
        raise invalid(
            "properties.token: url is another than before, so the token has to be given again.", "properties.token"
        )

    def writes(connection: Connection) -> None:
        if token is not None:
            secrets.set(connection, request.id.key, _TOKEN, token)

    return Admitted({**request.body, "properties": properties}, writes=writes)


def _secrets(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    with request.platform.database.read() as connection:
        return 200, request.platform.secrets.of(connection, row.id)


WEBHOOKS = Kind(
    path="workspaces/webhooks",
    title="webhook",
    properties=WebhookProperties,
    admit=_admit,
    actions={"listSecrets": Action(_secrets, gives_secrets=True)},
)
