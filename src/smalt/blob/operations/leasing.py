"""Lease Blob and Lease Container: one header says what is asked, the others with what."""

from __future__ import annotations

import uuid

from smalt.blob.errors import invalid_header, missing_header
from smalt.blob.operations.service import BlobService
from smalt.blob.protocol.blob import identity
from smalt.blob.protocol.conditions import read_conditions
from smalt.blob.protocol.message import Answer, Request
from smalt.blob.store.leases import INFINITE

_ACTIONS = ("acquire", "renew", "change", "release", "break")
_MIN_S, _MAX_S = 15, 60


async def lease_blob(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require("w")
    action = _action(request)
    async with service.locked(request.target):
        blob = read_conditions(request).without_lease().check_present(await service.find(request.target))
        await _lease(service, request, answer, action, identity(blob))


async def lease_container(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require_account("w")
    action = _action(request)
    target = request.target
    async with service.locked(target):
        container = await service.require_container(target)
        read_conditions(request).check_times(container.changed_at)
        await _lease(service, request, answer, action, container.headers())


async def _lease(service: BlobService, request: Request, answer: Answer, action: str, headers: dict[str, str]) -> None:
    """Under the lock of the request's target, which exists."""
    leases, target = service.accounts.leases, request.target
    before = leases.fresh(target)
    if action == "release":
        before.released(_id(request, "x-ms-lease-id"))
        await service.in_thread(leases.drop, target)
        await answer.send(200, headers)
        return
    if action == "acquire":
        after = before.acquired(_id(request, "x-ms-proposed-lease-id", needed=False), _duration_s(request))
    elif action == "renew":
        after = before.renewed(_id(request, "x-ms-lease-id"))
    elif action == "change":
        after = before.changed(_id(request, "x-ms-lease-id"), _id(request, "x-ms-proposed-lease-id"))
    else:
        after = before.broken(_period_s(request))
    await service.in_thread(leases.put, target, after)
    if action == "break":
        await answer.send(202, {**headers, "x-ms-lease-time": str(after.remaining_s)})
    else:
        await answer.send(201 if action == "acquire" else 200, {**headers, "x-ms-lease-id": after.id})


def _action(request: Request) -> str:
    action = request.header("x-ms-lease-action").lower()
    if not action:
        raise missing_header("x-ms-lease-action")
    if action not in _ACTIONS:
        raise invalid_header("x-ms-lease-action", f"'{action[:40]}' is none of {', '.join(_ACTIONS)}")
    return action


def _id(request: Request, name: str, needed: bool = True) -> str:
    """A lease's id as it is compared."""
    text = request.header(name)
    if not text:
        if needed:
            raise missing_header(name)
        return ""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise invalid_header(name, "not a GUID") from None


def _duration_s(request: Request) -> int:
    text = request.header("x-ms-lease-duration")
    if not text:
        raise missing_header("x-ms-lease-duration")
    if text == str(INFINITE):
        return INFINITE
    seconds = request.number("x-ms-lease-duration")
    if seconds is None or not _MIN_S <= seconds <= _MAX_S:
        raise invalid_header("x-ms-lease-duration", f"neither {INFINITE} nor {_MIN_S} to {_MAX_S} seconds")
    return seconds


def _period_s(request: Request) -> int | None:
    seconds = request.number("x-ms-lease-break-period")
    if seconds is not None and seconds > _MAX_S:
        raise invalid_header("x-ms-lease-break-period", f"not 0 to {_MAX_S} seconds")
    return seconds
