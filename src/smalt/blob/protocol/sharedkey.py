"""The SharedKey scheme: which text of a request its signature covers.

https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key. Clients differ in how they sort header
names and in what they take for the account's name, so a request may have more than one acceptable text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from smalt.blob.protocol.message import Request

_SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_FOLDED = re.compile(r"\s*\r?\n\s+")


def texts_to_sign(request: Request, signed_name: str) -> Iterator[str]:
    """The texts that a right signature of this request may cover."""
    headers = request.headers
    head = [request.method]
    for name in _SIGNED_HEADERS:
        value = headers.get(name, "")
        if name == "content-length" and value == "0":
            value = ""
        if name == "date" and "x-ms-date" in headers:
            value = ""
        head.append(value)
    start = "\n".join(head) + "\n"
    end = _resource(request, signed_name)
    ms_headers = {name.lower(): value for name, value in headers.items() if name.startswith("x-ms-")}
    plain = _headers(ms_headers, sorted(ms_headers))
    yield start + plain + end
    collated = _headers(ms_headers, sorted(ms_headers, key=_collation))
    if collated != plain:
        yield start + collated + end


def _headers(headers: Mapping[str, str], names: list[str]) -> str:
    return "".join(f"{name}:{_FOLDED.sub(' ', headers[name]).strip()}\n" for name in names)


def _collation(name: str) -> tuple[str, str]:
    """The service compares names as words: dashes count last, an underscore comes before all else."""
    return name.replace("-", "").replace("_", " "), name


def _resource(request: Request, signed_name: str) -> str:
    values: dict[str, list[str]] = {}
    for pair in request.raw_query.split("&"):
        name, _, value = pair.partition("=")
        if name:
            values.setdefault(unquote(name).lower(), []).append(unquote(value))
    lines = "".join(f"\n{name}:{','.join(sorted(values[name]))}" for name in sorted(values))
    return f"/{signed_name}{request.raw_path}{lines}"
