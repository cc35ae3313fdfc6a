"""From a request's body to a file in the staging area: small ones at once, large ones in constant memory.

Large bodies are gathered to batches and written (and hashed) by a thread while the next batch arrives.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from smalt.blob.errors import BlobError, incomplete_body, invalid_header, md5_mismatch, too_large, unsupported
from smalt.blob.operations.service import BlobService
from smalt.blob.protocol.message import Request
from smalt.blob.store.catalog import Properties
from smalt.blob.store.objects import Staged
from smalt.blob.store.staging import write_all

if TYPE_CHECKING:
    from hashlib import _Hash

SMALL_BYTES = 256 << 10
_BATCH_BYTES = 1 << 20
_BATCH_CHUNKS = 512  # below IOV_MAX
_MAX_METADATA_BYTES = 8 << 10
_REFUSED_HEADERS = {
    "x-ms-structured-body": "A structured body (x-ms-structured-body)",
    "x-ms-encryption-key": "A customer-provided encryption key",
    "x-ms-encryption-scope": "An encryption scope",
    "x-ms-immutability-policy-until-date": "An immutability policy",
    "x-ms-legal-hold": "A legal hold",
}


async def stage_body(service: BlobService, request: Request, limit: int, with_md5: bool) -> tuple[Staged, str]:
    """The body as a staged file, and its MD5 (base64) if asked for or if the request states one, which is checked."""
    length = request.content_length()
    if length > limit:
        raise too_large(limit)
    expected = stated_md5(request, "content-md5")
    hasher = hashlib.md5(usedforsecurity=False) if with_md5 or expected else None
    if length <= SMALL_BYTES:
        data = await request.body(SMALL_BYTES)
        if hasher:
            hasher.update(data)
        check_md5(hasher, expected)
        return service.staging.write(data), digest(hasher)
    with await service.in_thread(service.staging.writer) as writer:

        def write(chunks: list[bytes], at: int) -> None:
            write_chunks(writer.fd, chunks, at)

        await pump(service, request, length, write, hasher)
        writer.size = length
        check_md5(hasher, expected)
        return writer.finish(), digest(hasher)


async def pump(
    service: BlobService,
    request: Request,
    length: int,
    write: Callable[[list[bytes], int], None],
    hasher: _Hash | None,
) -> None:
    """Call `write(chunks, at)` in a thread for the whole body, one batch ahead of the network at most."""

    def work(chunks: list[bytes], at: int) -> None:
        write(chunks, at)
        if hasher:
            for chunk in chunks:
                hasher.update(chunk)

    batch: list[bytes] = []
    size = done = 0
    running: asyncio.Task[None] | None = None
    try:
        async for chunk in request.chunks():
            batch.append(chunk)
            size += len(chunk)
            if done + size > length:
                raise incomplete_body()
            if size >= _BATCH_BYTES or len(batch) >= _BATCH_CHUNKS:
                if running:
                    await running
                running = asyncio.ensure_future(service.in_thread(work, batch, done))
                done, batch, size = done + size, [], 0
        if running:
            await running
            running = None
        if done + size != length:
            raise incomplete_body()
        if batch:
            await service.in_thread(work, batch, done)
    finally:
        if running:  # the file may only be closed when nobody writes to it
            await asyncio.wait([running])
            running.exception()


def write_chunks(fd: int, chunks: list[bytes], at: int) -> None:
    written = os.pwritev(fd, chunks, at)
    if written < sum(map(len, chunks)):
        write_all(fd, memoryview(b"".join(chunks))[written:], at + written)


def stated_md5(request: Request, name: str) -> str:
    """A header with an MD5 in base64, or an empty string. BlobError(400) if it is not one."""
    text = request.headers.get(name, "")
    if text:
        try:
            valid = len(base64.b64decode(text, validate=True)) == 16
        except binascii.Error:
            valid = False
        if not valid:
            raise BlobError(
                400, "InvalidMd5", "The MD5 value specified in the request is invalid: it is not 16 bytes in base64."
            )
    return text


def check_md5(hasher: _Hash | None, expected: str) -> None:
    if hasher and expected and not hmac.compare_digest(digest(hasher), expected):
        raise md5_mismatch()


def digest(hasher: _Hash | None) -> str:
    return base64.b64encode(hasher.digest()).decode() if hasher else ""


def refuse_unsupported(request: Request) -> None:
    """What would change the stored bytes or their protection must not be ignored."""
    for name, feature in _REFUSED_HEADERS.items():
        if name in request.headers:
            raise unsupported(feature)


def new_metadata(request: Request) -> dict[str, str]:
    """The request's x-ms-meta-… headers, checked. Names keep their case, and are one where only that differs."""
    metadata = request.metadata()
    if not metadata:
        return metadata
    if len({name.lower() for name in metadata}) < len(metadata):
        raise BlobError(400, "InvalidMetadata", "The metadata specified is invalid: a name is given twice.")
    for name in metadata:
        if not name.isidentifier() or not name.isascii():
            raise BlobError(
                400, "InvalidMetadata", f"The metadata specified is invalid: '{name}' is not an identifier."
            )
    if sum(len(name) + len(value) for name, value in metadata.items()) > _MAX_METADATA_BYTES:
        raise BlobError(400, "MetadataTooLarge", "The size of the specified metadata exceeds 8 KiB.")
    return metadata


def new_properties(request: Request, kind: str, created: float, md5: str = "") -> Properties:
    """A new blob's properties, from the x-ms-blob-… headers (and, for Put Blob, the standard ones)."""
    header = request.header
    if stated := stated_md5(request, "x-ms-blob-content-md5"):
        md5 = stated
    return Properties(
        type=kind,
        content_type=header("x-ms-blob-content-type") or header("content-type"),
        content_encoding=header("x-ms-blob-content-encoding") or header("content-encoding"),
        content_language=header("x-ms-blob-content-language") or header("content-language"),
        content_disposition=header("x-ms-blob-content-disposition"),
        cache_control=header("x-ms-blob-cache-control") or header("cache-control"),
        md5=md5,
        metadata=new_metadata(request),
        created=created,
    )


def require_header_value(request: Request, name: str, allowed: tuple[str, ...]) -> str:
    value = request.header(name)
    if value not in allowed:
        raise invalid_header(name, f"'{value}' is none of {', '.join(allowed)}")
    return value
