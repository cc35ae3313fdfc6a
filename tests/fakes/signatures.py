"""SAS as the official client makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from azure.storage.blob import generate_container_sas

HOUR = timedelta(hours=1)


def soon() -> datetime:
    return datetime.now(UTC) + HOUR


def past() -> datetime:
    return datetime.now(UTC) - HOUR


def container_sas(rig, permission="rwdl", expiry=None, account="acct", container="data", **more):
    return generate_container_sas(account, container, rig.key, permission=permission, expiry=expiry or soon(), **more)
