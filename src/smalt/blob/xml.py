"""The little XML that the protocol speaks, as text: a listing has thousands of elements and no need of a tree."""

from __future__ import annotations

import re
from urllib.parse import quote
from xml.sax.saxutils import escape

XML_HEADER = '<?xml version="1.0" encoding="utf-8"?>'
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\r\ufffe\uffff]")


def text_element(tag: str, text: str) -> str:
    """`<tag>text</tag>`, escaped, without what XML cannot hold; empty text makes an empty element."""
    text = _NOT_IN_XML.sub("", text)
    return f"<{tag}>{escape(text)}</{tag}>" if text else f"<{tag} />"


def name_element(text: str) -> str:
    """A blob's name; one with characters that XML cannot hold is percent-encoded and says so."""
    if _NOT_IN_XML.search(text):
        return f'<Name Encoded="true">{quote(text)}</Name>'
    return f"<Name>{escape(text)}</Name>"


def metadata_element(metadata: dict[str, str]) -> str:
    if not metadata:
        return "<Metadata />"
    inner = "".join(text_element(name, value) for name, value in metadata.items())
    return f"<Metadata>{inner}</Metadata>"
