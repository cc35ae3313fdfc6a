"""Copy Blob, Copy Blob From URL and Put Blob From URL: one thing here, a copy that is finished when it is answered.

The source is a blob of this server, named by its URL; it is read with the URL's own SAS, with the source token, or, in
the same account, with what authorizes the request itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from smalt.blob.errors import BlobError, invalid_header, wrong_blob_type
from smalt.blob.names import Target, check_blob, parse_target
from smalt.blob.operations.service import BlobService
from smalt.blob.operations.upload import new_metadata, new_properties, refuse_unsupported
from smalt.blob.operations.writing import may_write, with_extras
from smalt.blob.protocol.access import Access
from smalt.blob.protocol.blob import Blob, changed
from smalt.blob.protocol.conditions import read_conditions
from smalt.blob.protocol.grants import Grant
from smalt.blob.protocol.message import Answer, Request, parse_query
from smalt.blob.store.catalog import APPEND, BLOCK, Properties
from smalt.blob.store.objects import ObjectReader, Staged


async def copy_blob(service: BlobService, access: Access, request: Request, answer: Answer) -> None:
    """202 with `x-ms-copy-status: success`, for the synchronous and the asynchronous form."""
    copied, copy_id = await _copy(service, access, request, _like_source, same_type=True)
    await answer.send(202, {**changed(copied), "x-ms-copy-id": copy_id, "x-ms-copy-status": "success"})


async def put_blob_from_url(service: BlobService, access: Access, request: Request, answer: Answer) -> None:
    keep = request.header("x-ms-copy-source-blob-properties").lower() != "false"
    copied, _ = await _copy(service, access, request, _with_headers if keep else _only_headers)
    await answer.send(201, changed(copied))


def _like_source(request: Request, source: Blob) -> Properties:
    """The source's properties; metadata, if any is given, replaces the source's."""
    metadata = new_metadata(request) or source.properties.metadata
    return with_extras(request, replace(source.properties, metadata=metadata, modified=0.0, tags={}))


def _tagged(request: Request, properties: Properties, source: Blob) -> Properties:
    """Tags are copied only if that is asked for."""
    option = request.header("x-ms-copy-source-tag-option").upper()
    if option not in ("", "REPLACE", "COPY"):
        raise invalid_header("x-ms-copy-source-tag-option", "neither REPLACE nor COPY")
    if option != "COPY":
        return properties
    if properties.tags:
        message = "x-ms-tags must not be given where x-ms-copy-source-tag-option is COPY."
        raise BlobError(400, "BothUserTagsAndSourceTagsCopyPresentException", message)
    request.grant.require("t")
    return replace(properties, tags=source.properties.tags)


def _with_headers(request: Request, source: Blob) -> Properties:
    given = _only_headers(request, source)
    kept = source.properties
    return replace(
        given,
        content_type=given.content_type or kept.content_type,
        content_encoding=given.content_encoding or kept.content_encoding,
        content_language=given.content_language or kept.content_language,
        content_disposition=given.content_disposition or kept.content_disposition,
        cache_control=given.cache_control or kept.cache_control,
        md5=given.md5 or kept.md5,
        metadata=given.metadata or kept.metadata,
    )


def _only_headers(request: Request, source: Blob) -> Properties:
    return with_extras(request, new_properties(request, BLOCK, 0.0))


async def _copy(
    service: BlobService,
    access: Access,
    request: Request,
    describe: Callable[[Request, Blob], Properties],
    same_type: bool = False,
) -> tuple[Blob, str]:
    target = request.target
    check_blob(target.blob)
    refuse_unsupported(request)
    conditions = read_conditions(request)
    check = may_write(request, conditions)
    before = await service.find(target)
    check(before)
    url = request.header("x-ms-copy-source")
    source = _source(request, url)
    await _authorize(access, request, source, urlsplit(url).query)
    await service.require_container(source)
    reader, blob = await service.open(source)
    try:
        _check_source(request, blob)
        if same_type and before and before.properties.type != blob.properties.type:
            raise wrong_blob_type()
        properties = _tagged(request, describe(request, blob), blob)
        staged = await service.in_thread(_staged_copy, service, reader, blob.info.size)
    finally:
        reader.close()
    copy_id = secrets.token_hex(16)
    properties = replace(
        properties, created=staged.version / 1e9, copy_id=copy_id, copy_source=urlsplit(url)._replace(query="").geturl()
    )
    blocks = blob.row.blocks if blob.row and properties.type != APPEND else ""
    return await service.commit(target, staged, check, properties, conditions.must_be_new, blocks), copy_id


def _source(request: Request, url: str) -> Target:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise invalid_header("x-ms-copy-source", "it is no URL") from None
    try:
        source = parse_target(parts.path, parts.netloc)
    except BlobError:
        raise _foreign(400) from None
    path_style = not parts.netloc.startswith(f"{source.account}.")
    if path_style and parts.netloc.lower() != request.header("host").lower():
        raise _foreign(400)
    if not source.container or not source.blob:
        raise invalid_header("x-ms-copy-source", "it names no blob")
    return replace(source, snapshot=parse_query(parts.query).get("snapshot", ""))


async def _authorize(access: Access, request: Request, source: Target, query: str) -> None:
    parsed = parse_query(query)
    token = request.header("x-ms-copy-source-authorization")
    if "sig" in parsed:
        grant: Grant = await access.sas(source, parsed, request.scheme, request.client)
    elif token:
        grant = await access.bearer(source, request, token)
    elif request.grant.whole_account and source.account == request.target.account:
        grant = request.grant
    else:
        raise BlobError(
            403, "CannotVerifyCopySource", "The copy source cannot be read: give its URL a SAS with permission 'r'."
        )
    if "o" not in grant.types or not grant.allows("r"):
        raise BlobError(403, "CannotVerifyCopySource", "The copy source's signature has no permission to read it.")


def _check_source(request: Request, blob: Blob) -> None:
    try:
        read_conditions(request, "x-ms-source-").check_read(blob)
    except BlobError as error:
        if error.status not in (304, 412):
            raise
        raise BlobError(412, "SourceConditionNotMet", "The source condition specified is not met.") from None


def _staged_copy(service: BlobService, reader: ObjectReader, size: int) -> Staged:
    with service.staging.writer() as writer:
        writer.copy(reader, 0, size)
        return writer.finish()


def _foreign(status: int) -> BlobError:
    message = "The copy source is not a blob of this server. Download it and upload it here instead."
    return BlobError(status, "CannotVerifyCopySource", message)
