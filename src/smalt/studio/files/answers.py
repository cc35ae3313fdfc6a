"""Answers that carry files: as attachments, pictures alone shown, nothing that a browser would run or lay out."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from posixpath import basename
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from smalt.studio.files.reading import Entry, Files, all_below, refuse
from smalt.studio.platform_api import Refused, Streamed
from smalt.studio.rendering import HEADERS
from smalt.studio.routes import Page, get
from smalt.studio.visit import Visit

PICTURES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
            "bmp": "image/bmp"}  # fmt: skip
PICTURE_MOST = 64 << 20  # bytes: what is larger is downloaded and not shown
PICTURE_AT_ONCE = 8 << 20  # what is larger is shown to who asks for it
ZIP_FILES_MOST, ZIP_BYTES_MOST = 10_000, 64 << 30
_GUARD = {**HEADERS, "Content-Security-Policy": "sandbox; default-src 'none'"}

Source = Callable[[Visit], Awaitable[Files]]


def file_routes(prefix: str, source: Source) -> tuple[Page, ...]:
    """`{prefix}/file?path=`, `{prefix}/picture?path=` and `{prefix}/zip?path=` of what `source` says."""

    async def download(visit: Visit) -> Response:
        return await _file(await source(visit), visit)

    async def picture(visit: Visit) -> Response:
        return await _picture(await source(visit), visit)

    async def zipped(visit: Visit) -> Response:
        return await _zip(await source(visit), visit)

    return get(f"{prefix}/file", download), get(f"{prefix}/picture", picture), get(f"{prefix}/zip", zipped)


def suffix(name: str) -> str:
    return basename(name).rpartition(".")[2].lower()


async def _file(files: Files, visit: Visit) -> Response:
    name = visit.http.query_params.get("path", "")
    shown = basename(name or files.place.root) or "file"
    return await _answer(
        files,
        name,
        visit.http.headers.get("range", ""),
        {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": _attachment(shown),
        },
    )


async def _picture(files: Files, visit: Visit) -> Response:
    name = visit.http.query_params.get("path", "")
    type_ = PICTURES.get(suffix(name or files.place.root))
    if type_ is None:
        raise Refused(415, "NoPicture", "Only PNG, JPEG, GIF, WebP and BMP are shown; download this file.")
    if (await files.size(name) or 0) > PICTURE_MOST:
        raise Refused(413, "TooLarge", f"Pictures of more than {PICTURE_MOST >> 20} MiB are not shown; download it.")
    return await _answer(files, name, "", {"Content-Type": type_})


async def _answer(files: Files, name: str, range_: str, headers: dict[str, str]) -> Response:
    stack = AsyncExitStack()
    try:
        found = await stack.enter_async_context(files.open(name, range_=range_))
        await refuse(found)
    except BaseException:
        await stack.aclose()
        raise
    kept = {key: found.headers[key] for key in ("content-length", "content-range", "etag") if key in found.headers}
    told = {**_GUARD, "Accept-Ranges": "bytes", **kept, **headers}
    return StreamingResponse(_pieces(stack, found), found.status, told)


async def _pieces(stack: AsyncExitStack, found: Streamed) -> AsyncIterator[bytes]:
    async with stack:
        async for piece in found.pieces:
            yield piece


async def _zip(files: Files, visit: Visit) -> Response:
    below = visit.http.query_params.get("path", "")
    if below and not below.endswith("/"):
        below += "/"
    entries = [one async for one in all_below(files, below, ZIP_FILES_MOST)]
    if not entries:
        raise Refused(404, "NotFound", "There is no file in this folder.")
    if sum(one.size for one in entries) > ZIP_BYTES_MOST:
        raise Refused(413, "TooLarge", f"The folder has more than {ZIP_BYTES_MOST >> 30} GiB: take parts of it.")
    shown = basename((files.place.root + below).rstrip("/")) or files.place.container
    told = {**_GUARD, "Content-Type": "application/zip", "Content-Disposition": _attachment(f"{shown}.zip")}
    return StreamingResponse(_zipped(files, below, entries), 200, told)


class _Sink:
    """What was written to a ZIP and not yet sent."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def write(self, data: bytes) -> int:
        self._kept += data
        return len(data)

    def flush(self) -> None: ...

    def taken(self) -> bytes:
        data, self._kept = bytes(self._kept), bytearray()
        return data


async def _zipped(files: Files, below: str, entries: list[Entry]) -> AsyncIterator[bytes]:
    """Stored, not compressed: it goes as fast as it is read. A file that goes meanwhile cuts the answer off."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", allowZip64=True) as whole:  # pyright: ignore[reportArgumentType, reportCallIssue]
        for one in entries:
            name = one.name.removeprefix(below).lstrip("/")  # who unpacks it shall not be led to the root
            if not name or one.is_folder:
                continue
            info = zipfile.ZipInfo(name, datetime.fromisoformat(one.changed).timetuple()[:6])
            info.external_attr = 0o644 << 16
            async with files.open(one.name) as found:
                await refuse(found)
                with whole.open(info, "w", force_zip64=True) as into:
                    async for piece in found.pieces:
                        into.write(piece)
                        yield sink.taken()
    yield sink.taken()


def _attachment(name: str) -> str:
    plain = "".join(one if one.isascii() and one.isprintable() and one not in '"\\%' else "_" for one in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
