"""List Blobs and List Containers."""

from __future__ import annotations

import base64
import binascii

from smalt.blob.accounts import Container
from smalt.blob.errors import invalid_query
from smalt.blob.message import Answer, Request, http_date
from smalt.blob.service import Blob, BlobService
from smalt.blob.xml import XML_HEADER, metadata_element, name_element, text_element

_MAX_RESULTS = 5000
_LIMIT = 1 << 31


async def list_blobs(service: BlobService, request: Request, answer: Answer) -> None:
    """Keyset paging: the marker says after which name to go on, so blobs that come and go do not shift pages."""
    request.grant.require("l")
    query = request.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    asked = request.query_number("maxresults", 1, _LIMIT)
    after = _read_marker(query.get("marker", ""))
    container = service.accounts.require_container(request.target.account, request.target.container)
    entries, following = await service.list(
        request.target, prefix, after, min(asked or _MAX_RESULTS, _MAX_RESULTS), delimiter
    )
    include = query.get("include", "").lower().split(",")
    with_metadata = "metadata" in include
    parts = [
        XML_HEADER,
        f'<EnumerationResults ServiceEndpoint="{_endpoint(request)}" ContainerName="{container.name}">',
        text_element("Prefix", prefix),
        text_element("Marker", query.get("marker", "")),
        f"<MaxResults>{asked}</MaxResults>" if asked else "",
        text_element("Delimiter", delimiter) if delimiter else "",
        "<Blobs>",
    ]
    for entry in entries:
        if isinstance(entry, str):
            parts.append(f"<BlobPrefix>{name_element(entry)}</BlobPrefix>")
        else:
            parts.append(_blob_xml(entry, with_metadata))
    parts += ["</Blobs>", text_element("NextMarker", _write_marker(following)), "</EnumerationResults>"]
    await answer.send(200, {"content-type": "application/xml"}, "".join(parts).encode())


async def list_containers(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require("l")
    query = request.query
    prefix = query.get("prefix", "")
    asked = request.query_number("maxresults", 1, _LIMIT)
    limit = min(asked or _MAX_RESULTS, _MAX_RESULTS)
    after = _read_marker(query.get("marker", ""))
    found = await service.in_thread(service.accounts.containers, request.target.account, prefix, after, limit + 1)
    page = found[:limit]
    with_metadata = "metadata" in query.get("include", "").lower().split(",")
    parts = [
        XML_HEADER,
        f'<EnumerationResults ServiceEndpoint="{_endpoint(request)}">',
        text_element("Prefix", prefix),
        text_element("Marker", query.get("marker", "")),
        f"<MaxResults>{asked}</MaxResults>" if asked else "",
        "<Containers>",
        *(_container_xml(one, with_metadata) for one in page),
        "</Containers>",
        text_element("NextMarker", _write_marker(page[-1].name if len(found) > limit else "")),
        "</EnumerationResults>",
    ]
    await answer.send(200, {"content-type": "application/xml"}, "".join(parts).encode())


def _blob_xml(blob: Blob, with_metadata: bool) -> str:
    properties = blob.properties
    return (
        f"<Blob>{name_element(blob.info.name)}<Properties>"
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
        "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>"
        "<ServerEncrypted>false</ServerEncrypted></Properties>"
        f"{metadata_element(properties.metadata) if with_metadata else ''}</Blob>"
    )


def _container_xml(container: Container, with_metadata: bool) -> str:
    return (
        f"<Container>{name_element(container.name)}<Properties>"
        f"<Last-Modified>{http_date(container.changed_at)}</Last-Modified>"
        f"<Etag>&quot;{container.etag}&quot;</Etag>"
        "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>"
        "<HasImmutabilityPolicy>false</HasImmutabilityPolicy><HasLegalHold>false</HasLegalHold></Properties>"
        f"{metadata_element(container.metadata) if with_metadata else ''}</Container>"
    )


def _endpoint(request: Request) -> str:
    host = request.header("host").replace("&", "").replace('"', "").replace("<", "")
    account = request.raw_path.lstrip("/").partition("/")[0]
    return f"{request.scheme}://{host}/" + (f"{account}/" if account.startswith(request.target.account + ".") else "")


def _write_marker(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode() if after else ""


def _read_marker(marker: str) -> str:
    if not marker:
        return ""
    try:
        return base64.urlsafe_b64decode(marker.encode()).decode()
    except (binascii.Error, ValueError):
        raise invalid_query("marker", "not one that a listing gave") from None
