"""Upload data: from the browser to a datastore, and then a version of a data asset that is there."""

from __future__ import annotations

import re
import uuid
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.store.document import Document
from smalt.studio.pages.datastores import opening
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

_STORE = "workspaceblobstore"
_UPLOADED = re.compile(r"azureml://datastores/[^/]+/paths/uploads/.+", re.DOTALL)
TYPES = ("uri_file", "uri_folder", "mltable")


async def show(visit: Visit) -> Response:
    return _form(visit, {"name": visit.http.query_params.get("name", "")})


async def make(visit: Visit) -> Response:
    """Of what was uploaded: what is refused is shown above the form, which still knows the files."""
    fields = visit.fields
    name, uri, type_ = (fields.get(one, "").strip() for one in ("name", "uri", "dataType"))
    try:
        if not _UPLOADED.fullmatch(uri) or type_ not in TYPES:
            raise Refused(400, "NothingUploaded", "Choose files first: nothing was uploaded.")
        if not name:
            raise Refused(400, "NameMissing", "The data needs a name.")
        version = fields.get("version", "").strip() or await _next(visit, name)
        properties: Document = {"dataUri": uri, "dataType": type_, "description": fields.get("description", "").strip()}
        await visit.api.put(f"{visit.workspace}/data/{name}/versions/{version}", {"properties": properties})
    except Refused as error:
        return _form(visit, {**fields, "uri": uri if _UPLOADED.fullmatch(uri) else ""}, error)
    return RedirectResponse(visit.link(f"/data/{quote(name)}/{quote(version)}", tab="files"), 303, HEADERS)


async def _next(visit: Visit, name: str) -> str:
    try:
        found = await visit.api.get(f"{visit.workspace}/data/{name}")
    except Refused as error:
        if error.status != 404:
            raise
        return "1"
    return str(found["properties"].get("nextVersion") or "1")


def _form(visit: Visit, fields: Document, error: Refused | None = None) -> Response:
    names = ("name", "version", "description", "dataType", "uri")
    return page(
        "data_new.html",
        visit,
        error.status if error else 200,
        opens=opening(visit, _STORE),
        error=error,
        fields={one: fields.get(one, "") for one in names},
        folder=f"uploads/{uuid.uuid4()}/",
        store=_STORE,
        types=TYPES,
    )


ROUTES = (get("/data/new", show), post("/data/new", make))
