"""The Azure Blob protocol as one ASGI callable: which operation a request is, may it, do it, and say what went wrong.

Raw ASGI, because a small PUT is answered in less time than a framework takes to route it. Run it behind a server that
adds `Date`, and with that server's access log off: it would write signatures.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

from smalt.arm.errors import ArmError
from smalt.arm.outage import outage
from smalt.arm.ports import Tokens
from smalt.blob.errors import (
    BlobError,
    from_arm,
    internal_error,
    invalid_name,
    invalid_query,
    not_authorized,
    unsupported,
)
from smalt.blob.names import Target
from smalt.blob.operations import containers, copying, leasing, listing, reading, snapshotting, tags, tiers, writing
from smalt.blob.operations.service import BlobService
from smalt.blob.protocol.access import Access, Permits
from smalt.blob.protocol.batch import run_batch
from smalt.blob.protocol.message import Answer, Disconnected, Message, Receive, Request, Send
from smalt.blob.protocol.refusals import Refusals

SERVICE_VERSION = "2023-11-03"
_MAX_ECHO = 1024
_MAX_DISCARDED = 100 << 20  # the largest block that clients of our day send
_DISCARD_S = 10.0  # who was refused may not hold a connection with half a body
_log = logging.getLogger(__name__)

Handler = Callable[[BlobService, Request, Answer], Awaitable[None]]

# (method, restype, comp) → handler
_ACCOUNT: dict[tuple[str, str, str], Handler] = {
    ("GET", "", "list"): listing.list_containers,
    ("GET", "service", "properties"): containers.get_service_properties,
    ("GET", "", "blobs"): tags.find_blobs,
}
_CONTAINER: dict[tuple[str, str, str], Handler] = {
    ("PUT", "container", ""): containers.create_container,
    ("DELETE", "container", ""): containers.delete_container,
    ("GET", "container", ""): containers.get_container_properties,
    ("HEAD", "container", ""): containers.get_container_properties,
    ("GET", "container", "metadata"): containers.get_container_properties,
    ("HEAD", "container", "metadata"): containers.get_container_properties,
    ("PUT", "container", "metadata"): containers.set_container_metadata,
    ("GET", "container", "acl"): containers.get_container_acl,
    ("HEAD", "container", "acl"): containers.get_container_acl,
    ("PUT", "container", "acl"): containers.set_container_acl,
    ("GET", "container", "list"): listing.list_blobs,
    ("GET", "container", "blobs"): tags.find_blobs,
    ("PUT", "container", "lease"): leasing.lease_container,
}
_BLOB: dict[tuple[str, str, str], Handler] = {
    ("PUT", "", ""): writing.put_blob,
    ("GET", "", ""): reading.get_blob,
    ("HEAD", "", ""): reading.get_blob_properties,
    ("DELETE", "", ""): writing.delete_blob,
    ("PUT", "", "block"): writing.put_block,
    ("PUT", "", "blocklist"): writing.put_block_list,
    ("GET", "", "blocklist"): writing.get_block_list,
    ("PUT", "", "appendblock"): writing.append_block,
    ("PUT", "", "metadata"): writing.set_metadata,
    ("GET", "", "metadata"): reading.get_blob_metadata,
    ("HEAD", "", "metadata"): reading.get_blob_metadata,
    ("PUT", "", "properties"): writing.set_properties,
    ("PUT", "", "lease"): leasing.lease_blob,
    ("PUT", "", "snapshot"): snapshotting.create_snapshot,
    ("PUT", "", "tags"): tags.set_tags,
    ("GET", "", "tags"): tags.get_tags,
    ("PUT", "", "tier"): tiers.set_tier,
}
_UNSUPPORTED = {
    "undelete": "Soft delete",
    "page": "Page blobs",
    "pagelist": "Page blobs",
    "query": "Querying blob contents",
    "expiry": "Blob expiry",
    "seal": "Sealing append blobs",
    "immutabilitypolicies": "Immutability policies",
    "legalhold": "Legal holds",
    "userdelegationkey": "A user delegation key",
    "properties": "Changing the service's properties",
    "stats": "Replication statistics",
    "rename": "Renaming a container",
    "incrementalcopy": "Page blobs",
}
_KNOWN = {comp for table in (_ACCOUNT, _CONTAINER, _BLOB) for _, _, comp in table} | {*_UNSUPPORTED, "batch", "copy"}
_RESTYPES = ("", "account", "container", "service")


class BlobApp:
    """ASGI. `tokens` None: no bearer tokens. `permits(principal, target, method)`: where roles are enforced.

    `refusals`: where each 403 is recorded.
    """

    def __init__(
        self,
        blobs: BlobService,
        tokens: Tokens | None,
        permits: Permits | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._service = blobs
        self._refusals = refusals
        self._access = Access(blobs.accounts, tokens, permits, in_thread=blobs.in_thread)
        self._numbers = itertools.count(1)
        self._run_id = str(uuid.uuid4())[:24]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        answer = Answer(send, scope["method"] == "HEAD", self._common(scope))
        request = None
        try:
            request = Request(scope, receive)
            await self._serve(request, answer)
        except Disconnected:
            return
        except Exception as error:
            refusal = _refusal(error)
            if refusal is None:
                _log.exception("blob request failed: %s %s", scope["method"], scope["path"])
                refusal = internal_error()
            if answer.started:  # too late for another status: cutting the connection is the only honest end
                raise
            if refusal.status == 403 and request is not None and self._refusals is not None:
                await self._service.in_thread(self._refusals.record, refusal, request, _id(answer))
            with suppress(Disconnected):
                if request is not None:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_DISCARD_S):
                            await request.discard(_MAX_DISCARDED)
                await _refuse(answer, refusal)

    async def _serve(self, request: Request, answer: Answer) -> None:
        target = request.target
        key = (request.method, request.query.get("restype", "").lower(), request.query.get("comp", "").lower())
        if key[1:] == ("account", "properties") and request.method in ("GET", "HEAD"):
            request.grant = await self._access.grant(request)
            await containers.get_account_information(self._service, request, answer)
            return
        if key[2] == "batch" and request.method == "POST":
            await run_batch(self, request, answer)  # its parts are authorized, each for itself
            return
        letter, handler = _operation(target, key)
        request.grant = await self._access.grant(request)
        if letter not in request.grant.types:
            raise not_authorized("AuthorizationResourceTypeMismatch", "resource type")
        if handler is None:
            raise _not_supported(request, key)
        if target.blob:
            if "versionid" in request.query:
                raise unsupported("Reading versions")
            if target.snapshot:
                snapshotting.check_snapshot(request, key[2])
            await self._service.require_container(target)
            if "x-ms-copy-source" in request.headers:
                await self._copy(request, answer, key[2])
                return
        await handler(self._service, request, answer)

    async def _copy(self, request: Request, answer: Answer, comp: str) -> None:
        if comp or request.method != "PUT":
            raise unsupported("Put Block and Append Block from a URL")
        copy = copying.put_blob_from_url if "x-ms-blob-type" in request.headers else copying.copy_blob
        await copy(self._service, self._access, request, answer)

    def _common(self, scope: Message) -> list[tuple[bytes, bytes]]:
        version, client = SERVICE_VERSION.encode(), b""
        for name, value in scope["headers"]:
            if name == b"x-ms-version":
                version = value
            elif name == b"x-ms-client-request-id":
                client = value
        common = [
            (b"server", b"Smalt-Blob/1.0"),
            (b"x-ms-request-id", f"{self._run_id}{next(self._numbers):012x}".encode()),
            (b"x-ms-version", version),
            (b"x-content-type-options", b"nosniff"),  # blobs share the origin of pages with a session:
            (b"content-security-policy", b"sandbox"),  # an uploaded page must not act as who looks at it
        ]
        if client and len(client) <= _MAX_ECHO:
            common.append((b"x-ms-client-request-id", client))
        return common


def _id(answer: Answer) -> str:
    """The `x-ms-request-id` that the answer bears."""
    return next(value.decode() for name, value in answer.common if name == b"x-ms-request-id")


def _operation(target: Target, key: tuple[str, str, str]) -> tuple[str, Handler | None]:
    """The resource type of an account SAS that it needs (s, c, o), and who does it."""
    if target.blob:
        return "o", _BLOB.get(key)
    if target.container:
        return "c", _CONTAINER.get(key)
    return "s", _ACCOUNT.get(key)


def _not_supported(request: Request, key: tuple[str, str, str]) -> BlobError:
    if request.method not in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        return BlobError(405, "UnsupportedHttpVerb", f"The resource doesn't support the HTTP verb {request.method}.")
    if key[2] not in _KNOWN:
        return invalid_query("comp", f"'{key[2][:40]}' is not known")
    if key[1] not in _RESTYPES:
        return invalid_query("restype", f"'{key[1][:40]}' is none of account, container, service")
    if feature := _UNSUPPORTED.get(key[2]):
        return unsupported(feature)
    if key[2] == "copy" and request.method == "PUT":
        return BlobError(409, "NoPendingCopyOperation", "There is currently no pending copy operation.")
    if not request.target.blob and not key[1]:
        return invalid_name("The URL names a container but no blob, and no restype=container.")
    what = f"{key[0]} with restype '{key[1]}' and comp '{key[2]}' is no operation on this resource"
    return invalid_query("comp" if key[2] else "restype", what)


def _refusal(error: Exception) -> BlobError | None:
    """None for what is our own fault."""
    if isinstance(error, BlobError):
        return error
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return invalid_name("The blob name is too long to be stored.")
    known = error if isinstance(error, ArmError) else outage(error)
    return from_arm(known) if known else None


async def _refuse(answer: Answer, error: BlobError) -> None:
    headers = {**error.headers, "x-ms-error-code": error.code}
    if error.status == 304:
        await answer.send(304, headers)
        return
    body = error.xml()
    await answer.send(error.status, {**headers, "content-type": "application/xml"}, body)
