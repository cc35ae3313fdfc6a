"""MLflow's artifact routes, answered on the blob store itself: streamed, of any size, whether or not MLflow runs.

`{artifact root}/{path}`: PUT, GET (with a single range), DELETE; `{artifact root}?path=`: the list. As
MLflow's server answers them:
https://mlflow.org/docs/latest/self-hosting/architecture/artifact-store/
"""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import AsyncIterator
from typing import BinaryIO
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from smalt.arm.errors import ArmError, invalid, not_found
from smalt.arm.threads import Threads
from smalt.tracking.artifacts.artifact_names import blob_name
from smalt.tracking.artifacts.files import Unfinished
from smalt.tracking.artifacts.model_files import ModelFiles, Spot

# The clients compare this text, then upload in one request: mlflow `_UnsupportedMultipartUploadException.MESSAGE`.
NO_MULTIPART = "Multipart upload is not supported for the current artifact repository"
_CHUNK_BYTES = 1 << 20
_ROUTE = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/(artifacts|mpu|presigned)(?:/(.*))?", re.DOTALL)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def is_artifact_route(rest: str) -> bool:
    return _ROUTE.fullmatch(rest) is not None


async def artifact_response(request: Request, rest: str, files: ModelFiles, threads: Threads) -> Response:
    """`rest` is the decoded path below the workspace. Raises ArmError."""
    found = _ROUTE.fullmatch(rest)
    if found is None:
        raise not_found("The route", rest)
    kind, path = found[1], found[2] or ""
    if kind == "mpu":
        raise ArmError(501, "NotImplemented", NO_MULTIPART)
    if kind == "presigned":
        raise ArmError(
            501, "NotImplemented", "Presigned artifact URLs are not given out; download from the artifact's URL."
        )
    if request.method in ("GET", "HEAD"):
        return await (_download(request, path, files, threads) if path.strip("/") else _list(request, files, threads))
    if request.method == "PUT":
        return await _upload(request, path, files, threads)
    if request.method == "DELETE":
        spot = await threads.run(_writable, files, path)
        await threads.run(spot.folder.remove, spot.name)
        return JSONResponse({})
    raise ArmError(
        405,
        "MethodNotAllowed",
        f"{request.method} is not a way to use an artifact.",
        headers={"Allow": "GET, PUT, DELETE"},
    )


def _writable(files: ModelFiles, path: str) -> Spot:
    spot = files.locate(blob_name(path))
    spot.check_writable()
    return spot


async def _list(request: Request, files: ModelFiles, threads: Threads) -> Response:
    path = request.query_params.get("path", "").strip("/")
    try:
        spot = await threads.run(files.locate, blob_name(path) if path else "")
    except ArmError as error:
        if error.status != 404:
            raise
        return JSONResponse({})
    entries = await threads.run(spot.folder.entries, spot.name)
    found = [
        {"path": one.name, "is_dir": True}
        if one.is_folder
        else {"path": one.name, "is_dir": False, "file_size": one.size_bytes}
        for one in entries
    ]
    return JSONResponse({"files": found} if found else {})


async def _upload(request: Request, path: str, files: ModelFiles, threads: Threads) -> Response:
    if not path or path.endswith("/"):
        raise invalid("An artifact needs a file name; its path cannot end with '/'.", "path")
    spot = await threads.run(_writable, files, path)
    name, expected = spot.name, request.headers.get("content-length")
    unfinished = await threads.run(spot.folder.begin, name)
    try:
        received = await _receive(request, unfinished, threads)
        if expected is not None and expected != str(received):
            raise invalid(f"The upload of '{name}' ended after {received} of {expected} bytes.", name)
        await threads.run(unfinished.commit)
    except ClientDisconnect:
        raise invalid(f"The upload of '{name}' was broken off.", name) from None
    finally:
        unfinished.abandon()
    return Response(status_code=200)


async def _receive(request: Request, unfinished: Unfinished, threads: Threads) -> int:
    """The body, written in pieces large enough that changing threads costs nothing; the number of bytes."""
    received, waiting = 0, bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= _CHUNK_BYTES:
            received += await threads.run(unfinished.write, bytes(waiting))
            waiting.clear()
    return received + await threads.run(unfinished.write, bytes(waiting))


async def _download(request: Request, path: str, files: ModelFiles, threads: Threads) -> Response:
    spot = await threads.run(files.locate, blob_name(path))
    name = spot.name
    file = await threads.run(spot.folder.open, name)
    size = file.seek(0, os.SEEK_END)
    try:
        start, end = _wanted(request.headers.get("range"), size)
    except ArmError:
        file.close()
        raise
    last = name.rsplit("/", 1)[-1]
    headers = {
        "Content-Length": str(end - start),
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(last)}",
        "X-Content-Type-Options": "nosniff",
    }
    partial = request.headers.get("range") is not None and (start, end) != (0, size)
    if partial:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    media = mimetypes.guess_type(last)[0] or "application/octet-stream"
    if request.method == "HEAD":
        file.close()
        return Response(headers=headers, media_type=media)
    return StreamingResponse(_content(file, start, end, threads), 206 if partial else 200, headers, media)


async def _content(file: BinaryIO, start: int, end: int, threads: Threads) -> AsyncIterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            chunk = await threads.run(file.read, min(_CHUNK_BYTES, end - start))
            if not chunk:
                return  # it was cut while we read: the length does not fit, and the client sees that
            start += len(chunk)
            yield chunk


def _wanted(header: str | None, size: int) -> tuple[int, int]:
    """First byte and the one after the last. What is not one simple range means the whole file, as HTTP allows."""
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        return max(0, size - int(found[2])), size
    start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
    if start >= size or end <= start:
        raise ArmError(416, "InvalidRange", f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return start, end
