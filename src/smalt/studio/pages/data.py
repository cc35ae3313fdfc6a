"""Data assets: names, versions; of one its files, their first rows and profile, who uses it and how one does."""

from __future__ import annotations

from starlette.responses import Response

from smalt.store.document import Document
from smalt.studio.files.answers import file_routes
from smalt.studio.files.browser import browsed, table_of
from smalt.studio.files.place import of_version
from smalt.studio.files.reading import Files
from smalt.studio.pages.assets import AssetType, described, lineage, version_at
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import page
from smalt.studio.routes import get
from smalt.studio.visit import Visit

DATA = AssetType("data", "Data", "data asset", ("uri_file", "uri_folder", "mltable"), makes="Upload data")
TABS = {"": "Overview", "files": "Files", "profile": "Profile"}


async def show(visit: Visit) -> Response:
    tab = visit.http.query_params.get("tab", "")
    if tab not in TABS:
        raise Refused(404, "NotFound", f"Data has no tab {tab[:40]!r}.")
    cursor = await visit.cursor()
    version = await version_at(visit, DATA)
    values: Document = {"cursor": cursor, "tab": tab, "tabs": TABS, **described(visit, DATA, version)}
    values |= {"data_type": version["properties"]["dataType"], "uri": version["properties"]["dataUri"]}
    read = {"": _overview, "files": _files, "profile": _profile}[tab]
    return page("data.html", visit, **values, **await read(visit, version))


async def _overview(visit: Visit, version: Document) -> Document:
    return {"lineage": await lineage(visit, version["id"])}


async def _files(visit: Visit, version: Document) -> Document:
    return {"browser": await browsed(visit, _of(visit, version))}


async def _profile(visit: Visit, version: Document) -> Document:
    try:
        return {"preview": await table_of(visit, await _of(visit, version)), "why": ""}
    except Refused as error:
        return {"preview": None, "why": error.message}


async def _of(visit: Visit, version: Document) -> Files:
    properties = version["properties"]
    folder = properties["dataType"] != "uri_file"
    return Files(visit.api, await of_version(visit, version, str(properties["dataUri"]), folder))


async def _source(visit: Visit) -> Files:
    return await _of(visit, await version_at(visit, DATA))


ROUTES = (*DATA.routes, get("/data/{name}/{version}", show), *file_routes("/data/{name}/{version}", _source))
