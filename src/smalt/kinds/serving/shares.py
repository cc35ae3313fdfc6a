"""An endpoint's traffic, where one of its deployments goes."""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.store import resources
from smalt.store.resources import Lock, Row

FIELDS = ("traffic", "mirrorTraffic")


def forget(connection: Connection, row: Row, now: float) -> None:
    """`Kind.deleted` of a deployment: its endpoint names it no more, so that it can be written back as it is read."""
    endpoint = resources.get(connection, row.parent, Lock.WRITE)
    if endpoint is None or endpoint.deleting:
        return
    shares = {
        field: {
            name: share
            for name, share in (endpoint.properties.get(field) or {}).items()
            if name.lower() != row.name.lower()
        }
        for field in FIELDS
    }
    properties = {**endpoint.properties, **shares}
    if properties != endpoint.properties:
        spec = {**endpoint.spec, "properties": properties}
        resources.describe(connection, endpoint, spec, archived=endpoint.archived, now=now, by="smalt")
