"""Operations that change one blob: Put Blob, blocks, Append Block, metadata, properties, Delete."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace

from smalt.blob.errors import (
    BlobError,
    blob_not_found,
    invalid_header,
    invalid_query,
    invalid_xml,
    missing_header,
    too_large,
    unsupported,
    wrong_blob_type,
)
from smalt.blob.names import check_blob
from smalt.blob.operations.service import BlobService
from smalt.blob.operations.snapshotting import delete_with_snapshots
from smalt.blob.operations.tags import new_tags
from smalt.blob.operations.tiers import asked_tier
from smalt.blob.operations.upload import (
    check_md5,
    new_metadata,
    new_properties,
    pump,
    refuse_unsupported,
    require_header_value,
    stage_body,
    stated_md5,
    write_chunks,
)
from smalt.blob.protocol.blob import NOT_ENCRYPTED, Blob, changed, identity
from smalt.blob.protocol.conditions import Conditions, read_conditions
from smalt.blob.protocol.message import Answer, Request
from smalt.blob.protocol.xml_documents import parse_xml
from smalt.blob.store.blocks import Extent, Spool, committed_extents, resolve
from smalt.blob.store.catalog import APPEND, BLOCK, Properties
from smalt.blob.xml import XML_HEADER, text_element

MAX_PUT_BYTES = 5000 << 20
MAX_BLOCK_BYTES = 4000 << 20
MAX_APPEND_BYTES = 100 << 20
_MAX_XML_BYTES = 8 << 20


async def put_blob(service: BlobService, request: Request, answer: Answer) -> None:
    check_blob(request.target.blob)
    refuse_unsupported(request)
    kind = request.header("x-ms-blob-type")
    if not kind:
        raise missing_header("x-ms-blob-type")
    if kind == "PageBlob":
        raise unsupported("PageBlob")
    require_header_value(request, "x-ms-blob-type", (BLOCK, APPEND))
    conditions = read_conditions(request)
    if kind == APPEND and request.content_length():
        raise invalid_header("content-length", "an append blob begins empty")
    described = with_extras(request, new_properties(request, kind, 0.0))
    check = may_write(request, conditions)
    if conditions.must_be_new or conditions.lease:
        check(await service.find(request.target))  # before gigabytes are received for nothing
    staged, md5 = await stage_body(service, request, MAX_PUT_BYTES, with_md5=kind == BLOCK)
    properties = replace(described, md5=md5 or described.md5, created=staged.version / 1e9)
    blob = await service.commit(request.target, staged, check, properties, conditions.must_be_new)
    headers = changed(blob)
    if md5:
        headers["content-md5"] = md5
    await answer.send(201, headers)


async def put_block(service: BlobService, request: Request, answer: Answer) -> None:
    check_blob(request.target.blob)
    refuse_unsupported(request)
    request.grant.require("cw")
    block = _block_id(request.query.get("blockid", ""))
    length = request.content_length()
    if length > MAX_BLOCK_BYTES:
        raise too_large(MAX_BLOCK_BYTES)
    if not length:
        raise invalid_header("content-length", "a block cannot be empty")
    expected = stated_md5(request, "content-md5")
    hasher = hashlib.md5(usedforsecurity=False) if expected else None
    conditions = read_conditions(request)
    async with service.locked(request.target):
        before = await service.find(request.target)
        conditions.check_lease(before)
        _check_is_block(before)
        spool = service.spools.get(request.target)
        start = spool.reserve(length)
    complete = False
    try:
        with _SpoolFile(spool) as file:
            await pump(service, request, length, lambda chunks, at: write_chunks(file.fd, chunks, start + at), hasher)
        check_md5(hasher, expected)
        complete = True
    finally:
        if not complete:
            spool.abandon(start, length)
    spool.complete(block, start, length)
    await answer.send(201, {"content-md5": expected, **NOT_ENCRYPTED} if expected else dict(NOT_ENCRYPTED))


async def put_block_list(service: BlobService, request: Request, answer: Answer) -> None:
    target = request.target
    check_blob(target.blob)
    refuse_unsupported(request)
    conditions = read_conditions(request)
    expected = stated_md5(request, "content-md5")
    body = await request.body(_MAX_XML_BYTES)
    hasher = hashlib.md5(body, usedforsecurity=False) if expected else None
    check_md5(hasher, expected)
    entries = _block_list(body)
    check = may_write(request, conditions)
    described = with_extras(request, _list_properties(request, 0.0))
    async with service.locked(target):
        before = await service.find(target)
        check(before)
        _check_is_block(before)
        spool = service.spools.get(target)
        committed = committed_extents(before.row.blocks if before and before.row else "")
        extents = resolve(entries, spool, committed)
        staged = service.spools.in_place(spool, extents)
        if staged is None:
            reader = (await service.open(target))[0] if any(one.committed for one in extents) else None
            try:
                staged = await service.in_thread(service.spools.assemble, spool, extents, reader)
            finally:
                if reader:
                    reader.close()
        blocks = json.dumps([[name, extent.length] for (_, name), extent in zip(entries, extents, strict=True)])
        properties = replace(described, created=staged.version / 1e9)
        try:
            blob = await service.commit_locked(target, staged, check, properties, conditions.must_be_new, blocks)
        except BaseException:
            service.drop_staged(staged)
            raise
        service.drop_blocks(target)
    await answer.send(201, changed(blob))


async def get_block_list(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require("r")
    kind = (request.query.get("blocklisttype") or "committed").lower()
    if kind not in ("committed", "uncommitted", "all"):
        raise invalid_query("blocklisttype", f"'{kind}' is none of committed, uncommitted, all")
    blob = await service.find(request.target)
    if blob:
        read_conditions(request).check_read(blob)
    spool = None if request.target.snapshot else service.spools.find(request.target)
    if blob is None and (spool is None or not spool.blocks):
        raise blob_not_found()
    if blob and blob.properties.type != BLOCK:
        raise wrong_blob_type()
    parts = [XML_HEADER, "<BlockList>"]
    if kind in ("committed", "all"):
        parts += _blocks_xml("CommittedBlocks", committed_extents(blob.row.blocks if blob and blob.row else ""))
    if kind in ("uncommitted", "all"):
        parts += _blocks_xml("UncommittedBlocks", spool.blocks if spool else {})
    parts.append("</BlockList>")
    headers = {"content-type": "application/xml"}
    if blob:
        headers |= {**identity(blob), "x-ms-blob-content-length": str(blob.info.size)}
    await answer.send(200, headers, "".join(parts).encode())


async def append_block(service: BlobService, request: Request, answer: Answer) -> None:
    check_blob(request.target.blob)
    refuse_unsupported(request)
    request.grant.require("aw")
    conditions = read_conditions(request)
    at, maximum = request.number("x-ms-blob-condition-appendpos"), request.number("x-ms-blob-condition-maxsize")
    length = request.content_length()
    if not length:
        raise invalid_header("content-length", "nothing to append")

    def check(blob: Blob | None) -> Blob:
        found = conditions.check_change(blob)
        if found.properties.type != APPEND:
            raise wrong_blob_type()
        if at is not None and at != found.info.size:
            raise BlobError(
                412, "AppendPositionConditionNotMet", "The append position condition specified was not met."
            )
        if maximum is not None and found.info.size + length > maximum:
            raise BlobError(412, "MaxBlobSizeConditionNotMet", "The max blob size condition specified was not met.")
        return found

    check(await service.find(request.target))
    staged, _ = await stage_body(service, request, MAX_APPEND_BYTES, with_md5=False)
    blob, offset = await service.append(request.target, staged, check)
    count = str(blob.properties.append_blocks)
    await answer.send(
        201, {**changed(blob), "x-ms-blob-append-offset": str(offset), "x-ms-blob-committed-block-count": count}
    )


async def set_metadata(service: BlobService, request: Request, answer: Answer) -> None:
    refuse_unsupported(request)
    request.grant.require("w")
    metadata = new_metadata(request)
    check = read_conditions(request).check_change
    blob = await service.describe(request.target, check, lambda before: replace(before, metadata=metadata))
    await answer.send(200, changed(blob))


async def set_properties(service: BlobService, request: Request, answer: Answer) -> None:
    """Set Blob Properties: all content headers at once, those not given are cleared."""
    refuse_unsupported(request)
    request.grant.require("w")
    if "x-ms-blob-content-length" in request.headers or "x-ms-sequence-number-action" in request.headers:
        raise unsupported("PageBlob")
    new = _list_properties(request, 0.0)
    blob = await service.describe(
        request.target,
        read_conditions(request).check_change,
        lambda before: replace(
            before,
            content_type=new.content_type,
            content_encoding=new.content_encoding,
            content_language=new.content_language,
            content_disposition=new.content_disposition,
            cache_control=new.cache_control,
            md5=new.md5,
        ),
    )
    await answer.send(200, changed(blob))


async def delete_blob(service: BlobService, request: Request, answer: Answer) -> None:
    refuse_unsupported(request)
    request.grant.require("d")
    await delete_with_snapshots(service, request)
    await answer.send(202, {"x-ms-delete-type-permanent": "true"})


def may_write(request: Request, conditions: Conditions) -> Callable[[Blob | None], None]:
    """Conditions and permissions of an operation that makes or replaces a blob: `c` is enough for a new one."""
    grant = request.grant
    grant.require("cw")

    def check(blob: Blob | None) -> None:
        conditions.check_write(blob)
        if blob is not None:
            grant.require("w")

    return check


def with_extras(request: Request, properties: Properties) -> Properties:
    """What a request may say of a new blob beside its content: the tier and the tags."""
    if "x-ms-access-tier" not in request.headers and "x-ms-tags" not in request.headers:
        return properties
    return replace(properties, tier=asked_tier(request, properties.type), tags=new_tags(request))


def _check_is_block(blob: Blob | None) -> None:
    if blob and blob.properties.type != BLOCK:
        raise wrong_blob_type()


class _SpoolFile:
    def __init__(self, spool: Spool) -> None:
        self.fd = spool.open()

    def __enter__(self) -> _SpoolFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def _list_properties(request: Request, created: float) -> Properties:
    """Only x-ms-blob-… headers count: the standard ones describe the request's own body."""
    standard = ("content-type", "content-encoding", "content-language", "cache-control")
    kept = {name: request.headers.pop(name) for name in standard if name in request.headers}
    try:
        return new_properties(request, BLOCK, created)
    finally:
        request.headers |= kept


def _block_id(text: str) -> str:
    try:
        valid = 0 < len(base64.b64decode(text, validate=True)) <= 64
    except (binascii.Error, ValueError):
        valid = False
    if not valid:
        raise invalid_query("blockid", "not base64 of 1 to 64 bytes")
    return text


def _block_list(body: bytes) -> list[tuple[str, str]]:
    root = parse_xml(body)
    if root.tag != "BlockList":
        raise invalid_xml(f"the root is {root.tag}, not BlockList")
    for element in root:
        if element.tag not in ("Latest", "Committed", "Uncommitted"):
            raise invalid_xml(f"{element.tag} is none of Latest, Committed, Uncommitted")
    return [(element.tag, (element.text or "").strip()) for element in root]


def _blocks_xml(tag: str, blocks: dict[str, Extent]) -> list[str]:
    inner = [
        f"<Block>{text_element('Name', name)}<Size>{extent.length}</Size></Block>" for name, extent in blocks.items()
    ]
    return [f"<{tag}>", *inner, f"</{tag}>"]
