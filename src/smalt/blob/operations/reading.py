"""Get Blob and Get Blob Properties: headers, ranges, and the bytes in constant memory."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass

from smalt.blob.dates import http_date
from smalt.blob.errors import BlobError, invalid_header, invalid_range
from smalt.blob.operations.service import BlobService
from smalt.blob.operations.tiers import tier_headers
from smalt.blob.operations.upload import refuse_unsupported
from smalt.blob.protocol.blob import Blob, identity
from smalt.blob.protocol.conditions import read_conditions
from smalt.blob.protocol.message import Answer, Request
from smalt.blob.store.catalog import APPEND
from smalt.blob.store.objects import ObjectReader

_CHUNK_BYTES = 512 << 10
_MAX_RANGE_MD5_BYTES = 4 << 20
_OVERRIDES = {
    "rscc": "cache-control",
    "rscd": "content-disposition",
    "rsce": "content-encoding",
    "rscl": "content-language",
    "rsct": "content-type",
}


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes `start` to `end`, the end not included."""

    start: int
    end: int


async def get_blob(service: BlobService, request: Request, answer: Answer) -> None:
    refuse_unsupported(request)
    request.grant.require("r")
    reader, blob = await service.open(request.target)
    try:
        read_conditions(request).check_read(blob)
        wanted = parse_range(request.header("x-ms-range") or request.header("range"), blob.info.size)
        headers = blob_headers(blob, request)
        if wanted is None:
            headers["content-length"] = str(blob.info.size)
            await answer.start(200, headers)
            await _send(service, reader, Range(0, blob.info.size), answer)
            return
        size = wanted.end - wanted.start
        headers["content-length"] = str(size)
        headers["content-range"] = f"bytes {wanted.start}-{wanted.end - 1}/{blob.info.size}"
        if md5 := headers.pop("content-md5", ""):
            headers["x-ms-blob-content-md5"] = md5
        if request.header("x-ms-range-get-content-md5").lower() == "true":
            headers["content-md5"] = await _range_md5(service, reader, wanted)
        await answer.start(206, headers)
        await _send(service, reader, wanted, answer)
    finally:
        reader.close()


async def get_blob_properties(service: BlobService, request: Request, answer: Answer) -> None:
    refuse_unsupported(request)
    request.grant.require("r")
    blob = await service.require(request.target)
    read_conditions(request).check_read(blob)
    headers = blob_headers(blob, request)
    headers["content-length"] = str(blob.info.size)
    await answer.send(200, headers)


async def get_blob_metadata(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require("r")
    blob = await service.require(request.target)
    read_conditions(request).check_read(blob)
    await answer.send(200, {**identity(blob), **_metadata_headers(blob)})


def blob_headers(blob: Blob, request: Request) -> dict[str, str]:
    """All that Get Blob says beside Content-Length, with a service SAS's overrides."""
    properties = blob.properties
    headers = {
        "content-type": blob.content_type,
        **identity(blob),
        "accept-ranges": "bytes",
        "x-ms-blob-type": properties.type,
        "x-ms-creation-time": http_date(properties.created or blob.info.modified),
        "x-ms-server-encrypted": "false",
    }
    if not blob.snapshot:
        headers |= blob.lease.headers()
    optional = {
        "content-encoding": properties.content_encoding,
        "content-language": properties.content_language,
        "content-disposition": properties.content_disposition,
        "cache-control": properties.cache_control,
        "content-md5": properties.md5,
    }
    headers |= {name: value for name, value in optional.items() if value}
    if properties.type == APPEND:
        headers["x-ms-blob-committed-block-count"] = str(properties.append_blocks)
    else:
        headers |= tier_headers(properties)
    if properties.tags:
        headers["x-ms-tag-count"] = str(len(properties.tags))
    if properties.copy_id:
        headers |= {
            "x-ms-copy-id": properties.copy_id,
            "x-ms-copy-source": properties.copy_source,
            "x-ms-copy-status": "success",
            "x-ms-copy-progress": f"{blob.info.size}/{blob.info.size}",
            "x-ms-copy-completion-time": http_date(properties.created),
        }
    headers |= _metadata_headers(blob)
    for name, value in (request.grant.overrides or {}).items():
        headers[_OVERRIDES[name]] = value.replace("\r", "").replace("\n", "")
    return headers


def parse_range(text: str, size: int) -> Range | None:
    """`bytes=a-b`, `bytes=a-` or `bytes=-n`; None: the whole blob. BlobError(416) if it begins beyond the end."""
    if not text:
        return None
    unit, _, spec = text.partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip() != "bytes" or not dash or not _is_range(first, last):
        raise invalid_header("range", "not of the form bytes=start-end")
    if not first:
        length = min(int(last), size)
        if not length:
            raise invalid_range(size)
        return Range(size - length, size)
    start = int(first)
    if start >= size:
        raise invalid_range(size)
    return Range(start, min(int(last) + 1, size) if last else size)


def _is_range(first: str, last: str) -> bool:
    for part in (first, last):
        if part and (not part.isascii() or not part.isdecimal() or len(part) > 18):
            return False
    if not first:
        return bool(last)
    return not last or int(last) >= int(first)


async def _send(service: BlobService, reader: ObjectReader, wanted: Range, answer: Answer) -> None:
    """What the page cache has goes out at once; the rest is read by a thread, one chunk ahead."""
    at = wanted.start
    if at == wanted.end:
        await answer.write(b"", more=False)
        return
    ahead: asyncio.Future[bytes] | None = None
    try:
        while at < wanted.end:
            want = min(_CHUNK_BYTES, wanted.end - at)
            if ahead is not None:
                chunk, ahead = await ahead, None
            else:
                chunk = reader.read_now(at, want) or await service.in_thread(reader.read, at, want)
            if not chunk:
                raise EOFError("the blob became shorter while it was read")
            at += len(chunk)
            if at < wanted.end and len(chunk) < want:  # not in memory: read on while this goes out
                ahead = asyncio.ensure_future(service.in_thread(reader.read, at, min(_CHUNK_BYTES, wanted.end - at)))
            await answer.write(chunk, more=at < wanted.end)
    finally:
        if ahead is not None:  # the reader may only be closed when nobody reads
            await asyncio.wait([ahead])
            ahead.exception()


async def _range_md5(service: BlobService, reader: ObjectReader, wanted: Range) -> str:
    size = wanted.end - wanted.start
    if size > _MAX_RANGE_MD5_BYTES:
        raise BlobError(400, "OutOfRangeInput", "The MD5 of a range is computed for up to 4 MiB.")
    data = await service.in_thread(reader.read, wanted.start, size)
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _metadata_headers(blob: Blob) -> dict[str, str]:
    return {f"x-ms-meta-{name}": value for name, value in blob.properties.metadata.items()}
