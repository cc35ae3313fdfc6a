"""What is in a folder, and bytes of a file: bounded, and never outside of the place that was asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlencode
from xml.etree import ElementTree

from smalt.arm.threads import Threads
from smalt.studio.files.place import Place
from smalt.studio.platform_api import PlatformApi, Refused, Streamed

PAGE = 200
READERS = Threads(2)  # of what jobs have written: to parse it takes a moment
_LISTING_MOST = 16 << 20  # bytes of one answer


@dataclass(frozen=True)
class Entry:
    """Of a listing: `name` below the place's root; a folder's ends with `/` and has neither size nor time."""

    name: str
    size: int = 0  # bytes
    changed: str = ""  # ISO 8601, UTC

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")

    @property
    def title(self) -> str:
        return self.name.rstrip("/").rpartition("/")[2] + ("/" if self.is_folder else "")


@dataclass(frozen=True)
class Level:
    entries: list[Entry]
    more: str  # where the next page begins; empty: it was the last


@dataclass(frozen=True)
class Files:
    """All names are below the place's root; empty: the root itself."""

    api: PlatformApi
    place: Place

    async def level(self, below: str = "", after: str = "", most: int = PAGE, deep: bool = False) -> Level:
        """What is directly in a folder, or all below it (`deep`); at most `most`. Raises Refused."""
        query = {"restype": "container", "comp": "list", "prefix": self._blob(below), "maxresults": str(most)}
        query |= ({} if deep else {"delimiter": "/"}) | ({"marker": after} if after else {})
        async with self.api.stream("GET", self.place.url, f"{urlencode(query)}&{self.place.sas}") as answer:
            return _level(await _whole(answer, _LISTING_MOST), len(self.place.root))

    async def size(self, name: str = "") -> int | None:
        """In bytes; None where there is no such file. Raises Refused."""
        async with self.open(name, method="HEAD") as answer:
            if answer.status == 404:
                return None
            await _whole(answer, 1 << 20)
            return int(answer.headers["content-length"])

    async def read(self, name: str, start: int, length: int) -> bytes:
        """Fewer bytes only at the end. Raises Refused."""
        if length <= 0:
            return b""
        async with self.open(name, range_=f"bytes={start}-{start + length - 1}") as answer:
            return b"" if answer.status == 416 else await _whole(answer, length)

    def open(self, name: str, method: str = "GET", range_: str = "") -> AbstractAsyncContextManager[Streamed]:
        headers = {"range": range_} if range_ else {}
        return self.api.stream(method, f"{self.place.url}/{self._blob(name)}", self.place.sas, headers)

    def _blob(self, name: str) -> str:
        """Raises Refused(400) for what would lead out of the root."""
        if "\\" in name or "\0" in name or any(one in (".", "..") for one in name.split("/")):
            raise Refused(400, "InvalidPath", "The path leads out of the folder.")
        if name and not self.place.is_folder:
            raise Refused(404, "NotFound", "This is one file, with nothing below it.")
        return self.place.root + name


async def refuse(answer: Streamed) -> None:
    """Raises Refused for an answer that is one."""
    if answer.status < 400:
        return
    code = answer.headers.get("x-ms-error-code", "")
    missing = code in ("BlobNotFound", "ContainerNotFound")
    message = "There is no such file (any more)." if missing else f"The storage refused this: {code or answer.status}."
    raise Refused(answer.status, code or "Refused", message)


async def _whole(answer: Streamed, most: int) -> bytes:
    await refuse(answer)
    body = bytearray()
    async for piece in answer.pieces:
        body += piece
        if len(body) > most:
            raise Refused(413, "TooLarge", "The storage's answer is larger than a page can hold.")
    return bytes(body)


def _level(listing: bytes, begin: int) -> Level:
    """Of List Blobs' answer, as our own server writes it."""
    tree = ElementTree.fromstring(listing)
    blobs = tree.find("Blobs")
    entries = [_entry(one, begin) for one in (blobs if blobs is not None else ())]
    return Level([one for one in entries if one.name], tree.findtext("NextMarker") or "")


def _entry(one: ElementTree.Element, begin: int) -> Entry:
    named = one.find("Name")
    text = (named.text or "") if named is not None else ""
    name = (unquote(text) if named is not None and named.get("Encoded") == "true" else text)[begin:]
    if one.tag == "BlobPrefix":
        return Entry(name)
    changed = one.findtext("Properties/Last-Modified")
    at = parsedate_to_datetime(changed).astimezone(UTC) if changed else datetime.fromtimestamp(0, UTC)
    return Entry(name, int(one.findtext("Properties/Content-Length") or 0), at.isoformat())


async def all_below(files: Files, below: str, most: int) -> AsyncIterator[Entry]:
    """Raises Refused(413) where there are more than `most` files."""
    after, seen = "", 0
    while True:
        level = await files.level(below, after, most=5000, deep=True)
        for one in level.entries:
            seen += 1
            if seen > most:
                raise Refused(
                    413,
                    "TooManyFiles",
                    f"The folder has more than {most} files: take parts of it, or copy it "
                    "with azcopy or the SDK's artifact utilities.",
                )
            yield one
        if not (after := level.more):
            return
