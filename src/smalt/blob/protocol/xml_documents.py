"""What several operations read from XML or write into it: documents of clients, tags, and where a listing goes on."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from xml.etree import ElementTree

from smalt.blob.errors import invalid_query, invalid_xml
from smalt.blob.xml import text_element


def parse_xml(body: bytes) -> ElementTree.Element:
    """The root of a client's document. BlobError(400)."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise invalid_xml("a document type is not allowed")
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise invalid_xml(str(error)) from None


def tags_element(tags: Mapping[str, str]) -> str:
    pairs = (text_element("Key", key) + text_element("Value", value) for key, value in sorted(tags.items()))
    return f"<TagSet>{''.join(f'<Tag>{pair}</Tag>' for pair in pairs)}</TagSet>"


def write_marker(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode() if after else ""


def read_marker(marker: str) -> str:
    if not marker:
        return ""
    try:
        return base64.urlsafe_b64decode(marker.encode()).decode()
    except (binascii.Error, ValueError):
        raise invalid_query("marker", "not one that a listing gave") from None
