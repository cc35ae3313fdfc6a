"""List Blobs and List Containers."""

from __future__ import annotations

from smalt.blob.accounts.accounts import Container
from smalt.blob.dates import http_date
from smalt.blob.errors import invalid_query, unsupported
from smalt.blob.names import Target
from smalt.blob.operations.service import BlobService
from smalt.blob.operations.tiers import tier_xml
from smalt.blob.protocol.blob import Blob
from smalt.blob.protocol.message import Answer, Request
from smalt.blob.protocol.xml_documents import read_marker, tags_element, write_marker
from smalt.blob.store.leases import Lease
from smalt.blob.xml import XML_HEADER, metadata_element, name_element, text_element

_MAX_RESULTS = 5000
_LIMIT = 1 << 31
# of what we have nothing of, nothing is listed: deleted blobs, versions and so on
_OF_BLOBS = frozenset(
    [
        "copy",
        "deleted",
        "deletedwithversions",
        "immutabilitypolicy",
        "legalhold",
        "metadata",
        "permissions",
        "snapshots",
        "tags",
        "uncommittedblobs",
        "versions",
    ]
)
_OF_CONTAINERS = frozenset(("deleted", "metadata", "system"))


async def list_blobs(service: BlobService, request: Request, answer: Answer) -> None:
    """Keyset paging: the marker says after which name to go on, so blobs that come and go do not shift pages."""
    request.grant.require("l")
    query = request.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    max_results = request.query_number("maxresults", 1, _LIMIT)
    include = _include(request, _OF_BLOBS)
    if "uncommittedblobs" in include:
        raise unsupported("Listing blobs that have only uncommitted blocks")
    if "snapshots" in include and delimiter:
        raise invalid_query("include", "snapshots cannot be listed with a delimiter")
    if "tags" in include:
        request.grant.require("t")
    name, _, snapshot = read_marker(query.get("marker", "")).partition("\0")
    container = await service.require_container(request.target)
    limit = min(max_results or _MAX_RESULTS, _MAX_RESULTS)
    if "snapshots" in include:
        entries, following = await service.list_with_snapshots(request.target, prefix, (name, snapshot), limit)
    else:
        entries, following = await service.list(request.target, prefix, name, limit, delimiter)
    parts = [
        XML_HEADER,
        f'<EnumerationResults ServiceEndpoint="{request.endpoint}" ContainerName="{container.name}">',
        text_element("Prefix", prefix),
        text_element("Marker", query.get("marker", "")),
        f"<MaxResults>{max_results}</MaxResults>" if max_results else "",
        text_element("Delimiter", delimiter) if delimiter else "",
        "<Blobs>",
    ]
    for entry in entries:
        if isinstance(entry, str):
            parts.append(f"<BlobPrefix>{name_element(entry)}</BlobPrefix>")
        else:
            parts.append(_blob_xml(entry, include))
    parts += ["</Blobs>", text_element("NextMarker", write_marker(following)), "</EnumerationResults>"]
    await answer.send(200, {"content-type": "application/xml"}, "".join(parts).encode())


async def list_containers(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require("l")
    query = request.query
    prefix = query.get("prefix", "")
    max_results = request.query_number("maxresults", 1, _LIMIT)
    limit = min(max_results or _MAX_RESULTS, _MAX_RESULTS)
    after = read_marker(query.get("marker", ""))
    found = await service.in_thread(service.accounts.containers, request.target.account, prefix, after, limit + 1)
    page = found[:limit]
    with_metadata = "metadata" in _include(request, _OF_CONTAINERS)
    parts = [
        XML_HEADER,
        f'<EnumerationResults ServiceEndpoint="{request.endpoint}">',
        text_element("Prefix", prefix),
        text_element("Marker", query.get("marker", "")),
        f"<MaxResults>{max_results}</MaxResults>" if max_results else "",
        "<Containers>",
        *(
            _container_xml(one, service.accounts.leases.get(Target(one.account, one.name)), with_metadata)
            for one in page
        ),
        "</Containers>",
        text_element("NextMarker", write_marker(page[-1].name if len(found) > limit else "")),
        "</EnumerationResults>",
    ]
    await answer.send(200, {"content-type": "application/xml"}, "".join(parts).encode())


def _include(request: Request, known: frozenset[str]) -> frozenset[str]:
    given = frozenset(part.strip() for part in request.query.get("include", "").lower().split(",")) - {""}
    if unknown := given - known:
        raise invalid_query("include", f"'{min(unknown)[:40]}' is none of {', '.join(sorted(known))}")
    return given


def _blob_xml(blob: Blob, include: frozenset[str]) -> str:
    properties = blob.properties
    return (
        f"<Blob>{name_element(blob.info.name)}"
        f"{text_element('Snapshot', blob.snapshot) if blob.snapshot else ''}<Properties>"
        f"<Creation-Time>{http_date(properties.created or blob.info.modified)}</Creation-Time>"
        f"<Last-Modified>{http_date(blob.modified)}</Last-Modified>"
        f"<Etag>{blob.etag}</Etag>"
        f"<Content-Length>{blob.info.size}</Content-Length>"
        f"{text_element('Content-Type', blob.content_type)}"
        f"{text_element('Content-Encoding', properties.content_encoding)}"
        f"{text_element('Content-Language', properties.content_language)}"
        "<Content-CRC64 />"
        f"{text_element('Content-MD5', properties.md5)}"
        f"{text_element('Cache-Control', properties.cache_control)}"
        f"{text_element('Content-Disposition', properties.content_disposition)}"
        f"<BlobType>{properties.type}</BlobType>"
        f"{tier_xml(properties)}"
        f"{'' if blob.snapshot else blob.lease.xml()}"
        f"{_copy_xml(blob) if properties.copy_id and 'copy' in include else ''}"
        f"{f'<TagCount>{len(properties.tags)}</TagCount>' if properties.tags else ''}"
        "<ServerEncrypted>false</ServerEncrypted></Properties>"
        f"{metadata_element(properties.metadata) if 'metadata' in include else ''}"
        f"{f'<Tags>{tags_element(properties.tags)}</Tags>' if properties.tags and 'tags' in include else ''}</Blob>"
    )


def _copy_xml(blob: Blob) -> str:
    properties = blob.properties
    return (
        f"{text_element('CopyId', properties.copy_id)}<CopyStatus>success</CopyStatus>"
        f"{text_element('CopySource', properties.copy_source)}"
        f"<CopyProgress>{blob.info.size}/{blob.info.size}</CopyProgress>"
        f"<CopyCompletionTime>{http_date(properties.created)}</CopyCompletionTime>"
    )


def _container_xml(container: Container, lease: Lease, with_metadata: bool) -> str:
    return (
        f"<Container>{name_element(container.name)}<Properties>"
        f"<Last-Modified>{http_date(container.changed_at)}</Last-Modified>"
        f"<Etag>&quot;{container.etag}&quot;</Etag>"
        f"{lease.xml()}"
        "<HasImmutabilityPolicy>false</HasImmutabilityPolicy><HasLegalHold>false</HasLegalHold></Properties>"
        f"{metadata_element(container.metadata) if with_metadata else ''}</Container>"
    )
