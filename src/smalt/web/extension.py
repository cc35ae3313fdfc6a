"""The extension `ml` for Microsoft's `az`: a wheel made of `smalt/azext_ml`, and the index in which `az` looks for it.

`az extension add -n ml [--upgrade]` works unmodified where `AZURE_EXTENSION_INDEX_URL` names the index. The wheel is
the same, byte for byte, wherever it is made of the same source.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from functools import cache
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

SOURCE = Path(__file__).parents[1] / "azext_ml"
SDK = "azure-ai-ml==1.35.2"
INDEX = "/extensions/index.json"
OLDEST_CLI = "2.60.0"
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can hold
_READABLE = 0o644 << 16


@cache
def version() -> str:
    """Above Microsoft's own, and higher with each version of Smalt: `--upgrade` takes it."""
    return f"2.100.{installed('smalt')}"


def filename() -> str:
    return f"ml-{version()}-py3-none-any.whl"


@cache
def wheel() -> bytes:
    """The wheel. Its one dependency is the SDK, which `az extension add` installs with it."""
    info = f"ml-{version()}.dist-info"
    files = {
        f"azext_ml/{path.relative_to(SOURCE).as_posix()}": path.read_bytes()
        for path in sorted(SOURCE.rglob("*"))
        if path.suffix in (".py", ".json")
    }
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: ml\nVersion: {version()}\nSummary: Azure Machine Learning on machines you own\n"
        f"License: Apache-2.0\nRequires-Python: >=3.10\nRequires-Dist: {SDK}\n"
    ).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: smalt\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/top_level.txt"] = b"azext_ml\n"
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # deflated bytes differ from one zlib to another
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _BEGINNING)
            entry.external_attr = _READABLE
            archive.writestr(entry, content)
    return packed.getvalue()


def _digest(content: bytes) -> str:
    """As RECORD has it: base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def index(url: str) -> dict[str, Any]:
    """What `az` reads, of a platform at `url`."""
    entry = {
        "downloadUrl": f"{url}/extensions/{filename()}",
        "filename": filename(),
        "sha256Digest": hashlib.sha256(wheel()).hexdigest(),
        "metadata": {"name": "ml", "version": version(), "azext.minCliCoreVersion": OLDEST_CLI, "summary": "Azure ML"},
    }
    return {"formatVersion": "1", "extensions": {"ml": [entry]}}


def routes(url: str) -> list[Route]:
    """Open to all, as the code is."""

    async def listed(_: HttpRequest) -> Response:
        return JSONResponse(await run_in_threadpool(index, url))

    async def packed(http: HttpRequest) -> Response:
        if http.path_params["name"] != filename():
            return PlainTextResponse(f"There is one extension: {filename()}\n", status_code=404)
        return Response(await run_in_threadpool(wheel), media_type="application/zip")

    return [
        Route(INDEX, listed, methods=["GET"]),
        Route("/extensions/{name}", packed, methods=["GET"]),
    ]
