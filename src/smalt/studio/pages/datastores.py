"""Datastores with a browser of their files; uploads go from the browser to the Blob protocol by a signature."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from smalt.store.document import Document
from smalt.studio.files.answers import file_routes
from smalt.studio.files.browser import browsed
from smalt.studio.files.place import in_datastore
from smalt.studio.files.reading import Files
from smalt.studio.pages.jobs import PAGE, following
from smalt.studio.rendering import page
from smalt.studio.routes import get
from smalt.studio.visit import Visit

_CONTAINERS = ("containerName", "fileShareName", "filesystem")  # by the datastore's type


async def show(visit: Visit) -> Response:
    cursor, given = await visit.cursor(), visit.http.query_params
    query = {"count": str(PAGE), "searchText": given.get("searchText", "")}
    query |= {"$skipToken": given["after"]} if given.get("after") else {}
    found = await visit.api.get(f"{visit.workspace}/datastores", query)
    stores = [_shown(one) for one in found["value"]]
    return page(
        "datastores.html",
        visit,
        cursor=cursor,
        stores=stores,
        more=following(found),
        first=not given.get("after"),
        words=query["searchText"],
    )


async def show_one(visit: Visit) -> Response:
    cursor, name = await visit.cursor(), visit.http.path_params["name"]
    store = _shown(await visit.api.get(f"{visit.workspace}/datastores/{name}"))
    browser = await browsed(visit, _source(visit))
    return page(
        "datastore.html",
        visit,
        cursor=cursor,
        store=store,
        browser=browser,
        to=visit.link,
        base=f"/datastores/{quote(name)}",
        opens=opening(visit, name),
        uri=f"azureml://datastores/{store['name']}/paths/{browser.path}",
    )


def opening(visit: Visit, name: str) -> str:
    """Where a browser gets the signature of a datastore, as azureml-fsspec does."""
    return f"/datastore/v1.0{visit.workspace}/datastores/{quote(name)}"


def _shown(one: Document) -> Document:
    properties = one["properties"]
    return {
        "id": str(one["id"]).lower(),
        "name": one["name"],
        "type": properties["datastoreType"],
        "account": properties.get("accountName") or "",
        "container": next((properties[name] for name in _CONTAINERS if properties.get(name)), ""),
        "default": bool(properties.get("isDefault")),
        "description": properties.get("description") or "",
        "created": one["systemData"]["createdAt"],
    }


async def _source(visit: Visit) -> Files:
    return Files(visit.api, await in_datastore(visit, visit.http.path_params["name"]))


ROUTES = (
    get("/datastores", show),
    get("/datastores/{name}", show_one),
    *file_routes("/datastores/{name}", _source),
)
