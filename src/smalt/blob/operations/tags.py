"""Index tags: up to ten for each blob, set with it or alone, and found over a whole account or container."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from smalt.blob.errors import BlobError, invalid_query, invalid_xml
from smalt.blob.names import Target
from smalt.blob.operations.service import BlobService
from smalt.blob.operations.upload import check_md5, stated_md5
from smalt.blob.protocol.conditions import read_conditions
from smalt.blob.protocol.message import Answer, Request
from smalt.blob.protocol.xml_documents import parse_xml, read_marker, tags_element, write_marker
from smalt.blob.store.tag_query import CONTAINER, BadQuery, Term, parse_find
from smalt.blob.xml import XML_HEADER, name_element, text_element

_MAX_TAGS = 10
_MAX_KEY, _MAX_VALUE = 128, 256
_MAX_XML_BYTES = 64 << 10
_MAX_RESULTS = 5000
_POSSIBLE = re.compile(r"[A-Za-z0-9 +\-./:=_]*")


async def set_tags(service: BlobService, request: Request, answer: Answer) -> None:
    """All tags at once. Changes neither ETag nor Last-Modified."""
    request.grant.require("t")
    body = await request.body(_MAX_XML_BYTES)
    expected = stated_md5(request, "content-md5")
    check_md5(hashlib.md5(body, usedforsecurity=False) if expected else None, expected)
    tags = _read_xml(body)
    check = read_conditions(request).check_change
    await service.annotate(request.target, check, lambda before: replace(before, tags=tags))
    await answer.send(204, {})


async def get_tags(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require("t")
    blob = await service.require(request.target)
    read_conditions(request).check_read(blob)
    body = f"{XML_HEADER}<Tags>{tags_element(blob.properties.tags)}</Tags>"
    await answer.send(200, {"content-type": "application/xml"}, body.encode())


async def find_blobs(service: BlobService, request: Request, answer: Answer) -> None:
    """In the account, or, with a container in the URL, in that."""
    request.grant.require("f")
    query, target = request.query, request.target
    where = query.get("where", "")
    try:
        terms = parse_find(where)
    except BadQuery as error:
        raise invalid_query("where", str(error)) from None
    if target.container:
        await service.require_container(target)
        terms = [*terms, Term(CONTAINER, "=", target.container)]
    max_results = request.query_number("maxresults", 1, 1 << 31)
    limit = min(max_results or _MAX_RESULTS, _MAX_RESULTS)
    container, _, name = read_marker(query.get("marker", "")).partition("/")
    found = await service.in_thread(service.tags.find, target.account, terms, (container, name), limit + 1)
    keys = {term.key for term in terms}
    parts = [
        XML_HEADER,
        f'<EnumerationResults ServiceEndpoint="{request.endpoint}">',
        text_element("Where", where),
        f"<MaxResults>{max_results}</MaxResults>" if max_results else "",
        "<Blobs>",
    ]
    for place in found[:limit]:
        tags = await _tags_of(service, Target(target.account, *place))
        if all(term({**tags, CONTAINER: place[0]}) for term in terms):
            shown = {key: value for key, value in tags.items() if key in keys}
            names = name_element(place[1]) + text_element("ContainerName", place[0])
            parts.append(f"<Blob>{names}<Tags>{tags_element(shown)}</Tags></Blob>")
    marker = write_marker("/".join(found[limit - 1])) if len(found) > limit else ""
    parts += ["</Blobs>", text_element("NextMarker", marker), "</EnumerationResults>"]
    await answer.send(200, {"content-type": "application/xml"}, "".join(parts).encode())


def new_tags(request: Request) -> dict[str, str]:
    """Those of the header `x-ms-tags` (`a=1&b=2`, percent-encoded), which needs the permission to set tags."""
    text = request.header("x-ms-tags")
    if not text:
        return {}
    request.grant.require("t")
    pairs: list[tuple[str, str]] = []
    for pair in text.split("&"):
        key, equals, value = pair.partition("=")
        if not equals:
            raise BlobError(400, "InvalidTag", f"The tags specified are invalid: '{pair[:80]}' has no '='.")
        pairs.append((unquote_plus(key), unquote_plus(value)))
    return _checked(pairs)


async def _tags_of(service: BlobService, target: Target) -> Mapping[str, str]:
    if service.accounts.container(target.account, target.container) is None:
        return {}
    blob = await service.find(target)
    return blob.properties.tags if blob else {}


def _read_xml(body: bytes) -> dict[str, str]:
    root = parse_xml(body)
    if root.tag != "Tags" or [element.tag for element in root] != ["TagSet"]:
        raise invalid_xml("it is not Tags with one TagSet in it")
    return _checked([_pair(element) for element in root[0]])


def _pair(element: ElementTree.Element) -> tuple[str, str]:
    if element.tag != "Tag" or element.find("Key") is None or element.find("Value") is None:
        raise invalid_xml("a TagSet holds Tags, each with Key and Value")
    return element.findtext("Key") or "", element.findtext("Value") or ""


def _checked(pairs: list[tuple[str, str]]) -> dict[str, str]:
    if len(pairs) > _MAX_TAGS:
        raise BlobError(400, "TagsTooLarge", f"The tags specified exceed the maximum permissible limit of {_MAX_TAGS}.")
    tags = dict(pairs)
    if len(tags) < len(pairs):
        raise BlobError(400, "DuplicateTagNames", "The tags specified contain duplicate names.")
    for key, value in pairs:
        if not key:
            raise BlobError(400, "EmptyTagName", "The name of one of the tag key-value pairs is empty.")
        if len(key) > _MAX_KEY or len(value) > _MAX_VALUE:
            limits = f"{_MAX_KEY} characters of a name and {_MAX_VALUE} of a value"
            raise BlobError(400, "TagsTooLarge", f"The tags specified exceed the maximum permissible limit: {limits}.")
        if not _POSSIBLE.fullmatch(key) or not _POSSIBLE.fullmatch(value):
            message = f"The tags specified are invalid: '{key}' has characters that are not permitted."
            raise BlobError(400, "InvalidTag", message)
    return tags
