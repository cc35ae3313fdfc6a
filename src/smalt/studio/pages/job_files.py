"""The files that a job left, a folder at a time; one of them is shown beside; and a search through all of a log."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import JSONResponse, Response

from smalt.store.document import Document
from smalt.studio.files.answers import PICTURE_AT_ONCE
from smalt.studio.rendering import HEADERS
from smalt.studio.routes import get
from smalt.studio.visit import Visit


async def files_of(visit: Visit, document: Document) -> Document:
    """What the tab's template takes. `path` and `file` of the URL: the folder, and the name of a file in it."""
    given = visit.http.query_params
    path, file, job = given.get("path", "").strip("/"), given.get("file", ""), document["name"]
    query = {"path": path, **({"after": after} if (after := given.get("after")) else {})}
    found = await visit.api.get(f"{visit.workspace}/jobs/{job}/files", query)
    parts = path.split("/") if path else []
    crumbs = [(part, "/".join(parts[: at + 1])) for at, part in enumerate(parts)]
    opened = None
    if file:
        whole = f"{path}/{file}" if path else file
        one = await visit.api.get(f"{visit.workspace}/jobs/{job}/file", {"path": whole})
        large = one["size"] > PICTURE_AT_ONCE
        opened = {"name": file, "size": one["size"], "large": large, "url": local(one["url"])}
    return {"files": found["value"], "more": found["after"], "path": path, "crumbs": crumbs, "opened": opened}


async def search(visit: Visit) -> Response:
    """`?file=` (as the list of logs names it) and `?text=`."""
    given = visit.http.query_params
    path = f"{visit.workspace}/jobs/{visit.http.path_params['name']}/searchLog"
    found = await visit.api.get(path, {"path": given.get("file", ""), "text": given.get("text", "")})
    return JSONResponse(found, headers=HEADERS)


def local(url: str) -> str:
    """An address of the platform's as one of this origin, whatever a browser calls that."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


ROUTES = (get("/jobs/{name}/search", search, shared=True),)
