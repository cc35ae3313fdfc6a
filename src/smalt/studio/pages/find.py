"""What the palette (⌘K) finds: jobs, endpoints and assets by words in their names, of each kind up to a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from smalt.store.document import Document
from smalt.studio.navigation import AREAS
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS
from smalt.studio.routes import get
from smalt.studio.visit import Visit

SHORTEST, LONGEST = 2, 100  # characters that are looked for
SHOWN = 6  # of each kind
LOOKED_AT = 200  # the newest of each kind but jobs, whose own search looks at 2000
KINDS = {
    "/endpoints": ("Endpoint", "onlineEndpoints"),
    "/batch-endpoints": ("Batch endpoint", "batchEndpoints"),
    "/models": ("Model", "models"),
    "/data": ("Data", "data"),
    "/environments": ("Environment", "environments"),
    "/components": ("Component", "components"),
    "/computes": ("Compute", "computes"),
}
_PAGES = {to for _, pages in AREAS for _, to in pages}


async def find(visit: Visit) -> Response:
    """`?q=`: `{"found": [{kind, name, to}]}`. What one may not read is not found."""
    words = visit.http.query_params.get("q", "").strip()[:LONGEST]
    if len(words) < SHORTEST:
        return JSONResponse({"found": []}, headers=HEADERS)
    kinds = [(page, *kind) for page, kind in KINDS.items() if page in _PAGES]
    found = await asyncio.gather(
        _job(visit, words), _jobs(visit, words), *(_named(visit, *kind, words) for kind in kinds)
    )
    unique = {one["to"]: one for group in found for one in group}
    return JSONResponse({"found": list(unique.values())}, headers=HEADERS)


async def _job(visit: Visit, words: str) -> list[Document]:
    """By its whole name, however old it is."""
    if "/" in words or " " in words:
        return []
    found = await _asked(visit, f"jobs/{words}", {})
    return [_shown(visit, "Job", found)] if "jobType" in found.get("properties", {}) else []


async def _jobs(visit: Visit, words: str) -> list[Document]:
    found = await _asked(visit, "jobs", {"search": words, "count": str(SHOWN)})
    return [_shown(visit, "Job", one) for one in found.get("value", [])[:SHOWN]]


async def _named(visit: Visit, page: str, title: str, kind: str, words: str) -> list[Document]:
    found = await _asked(visit, kind, {"count": str(LOOKED_AT)})
    names = [str(one["name"]) for one in found.get("value", [])]
    wanted = words.lower().split()
    near = [name for name in names if all(one in name.lower() for one in wanted)]
    return [{"kind": title, "name": name, "to": visit.link(f"{page}/{quote(name)}")} for name in near[:SHOWN]]


def _shown(visit: Visit, kind: str, job: Mapping[str, Any]) -> Document:
    title, name = job["properties"].get("displayName"), job["name"]
    shown = f"{title} ({name})" if title and title != name else name
    return {"kind": kind, "name": shown, "to": visit.link(f"/jobs/{quote(name)}")}


async def _asked(visit: Visit, what: str, query: Mapping[str, str]) -> Document:
    try:
        return await visit.api.get(f"{visit.workspace}/{what}", query)
    except Refused as error:
        if error.status >= 500:
            raise
        return {}


ROUTES = (get("/find", find),)
