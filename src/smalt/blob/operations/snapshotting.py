"""Snapshot Blob, and which operations a snapshot takes part in."""

from __future__ import annotations

from dataclasses import replace

from smalt.blob.errors import BlobError, invalid_query
from smalt.blob.names import Target
from smalt.blob.operations.service import BlobService
from smalt.blob.operations.upload import new_metadata, refuse_unsupported
from smalt.blob.protocol.blob import changed
from smalt.blob.protocol.conditions import read_conditions
from smalt.blob.protocol.message import Answer, Request

_READABLE = frozenset(
    [
        ("GET", ""),
        ("HEAD", ""),
        ("DELETE", ""),
        ("GET", "metadata"),
        ("HEAD", "metadata"),
        ("GET", "blocklist"),
        ("GET", "tags"),
    ]
)


def check_snapshot(request: Request, comp: str) -> None:
    """BlobError(400) for an operation that a snapshot has not: it never changes."""
    if (request.method, comp) not in _READABLE:
        raise invalid_query("snapshot", "a snapshot can only be read, copied and deleted")


async def create_snapshot(service: BlobService, request: Request, answer: Answer) -> None:
    """Metadata, where given, are the snapshot's instead of the blob's; it has an ETag of its own then."""
    refuse_unsupported(request)
    request.grant.require("cw")
    metadata = new_metadata(request)
    conditions = read_conditions(request)
    taken, blob = await service.snapshot(
        request.target,
        conditions.check_present,
        lambda before: replace(before, metadata=metadata) if metadata else before,
    )
    await answer.send(201, {**changed(blob), "x-ms-snapshot": taken.snapshot})


async def delete_with_snapshots(service: BlobService, request: Request) -> None:
    """Delete Blob, of one snapshot or of a blob, with its snapshots as `x-ms-delete-snapshots` says."""
    conditions, target = read_conditions(request), request.target
    delete_snapshots = request.header("x-ms-delete-snapshots").lower()
    if delete_snapshots not in ("", "include", "only"):
        raise BlobError(400, "InvalidHeaderValue", "x-ms-delete-snapshots is neither include nor only.")
    if target.snapshot:
        if delete_snapshots:
            raise invalid_query("snapshot", "x-ms-delete-snapshots is for the blob, not for one of its snapshots")
        conditions.check_change(await service.find(target))
        await service.in_thread(service.snapshots.delete, [target])
        return
    if not service.snapshots.any_in(target.account, target.container):
        if delete_snapshots == "only":
            conditions.check_change(await service.find(target))
        else:
            await service.delete(target, conditions.check_change)
        return
    async with service.locked(target):
        conditions.check_change(await service.find(target))
        await _delete(service, request, delete_snapshots, await service.in_thread(service.snapshots.of, target))


async def _delete(service: BlobService, request: Request, delete_snapshots: str, taken: list[Target]) -> None:
    if taken and not delete_snapshots:
        raise BlobError(409, "SnapshotsPresent", "This operation is not permitted because the blob has snapshots.")
    await service.in_thread(service.snapshots.delete, taken)
    if delete_snapshots != "only":
        await service.delete_locked(request.target, read_conditions(request).check_change)
