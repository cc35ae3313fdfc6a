"""What data, models, environments and components have in common: lists of names and versions, tags, archive, lineage.

They are a workspace's, or with `?registry=NAME` a registry's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.runs import NOWHERE
from smalt.store.document import Document, part
from smalt.studio.pages.jobs import PAGE, VIEWS, following
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import Page, get, post
from smalt.studio.visit import Visit

_PROVIDER = "providers/Microsoft.MachineLearningServices"
_TAGS_MOST = 50
_TAG = re.compile(r"tag-name-(\d{1,3})")
_SHIPPED = {"": "false", "curated": "true"}


@dataclass(frozen=True)
class AssetType:
    """`name`: as ids and the Studio's URLs have it. `area`: as the navigation has it. `types`: to filter by.
    `origins`: some are shipped, and not shown unless they are asked for. `makes`: what its form is called."""

    name: str
    area: str
    one: str
    types: tuple[str, ...] = ()
    origins: bool = False
    makes: str = ""

    @property
    def routes(self) -> tuple[Page, ...]:
        """All but the page of a version itself."""
        of_name, of_version = f"/{self.name}/{{name}}", f"/{self.name}/{{name}}/{{version}}"
        return (
            get(f"/{self.name}", partial(_names, self)),
            get(of_name, partial(_versions, self)),
            post(f"{of_name}/archive", partial(_archive, self, True)),
            post(f"{of_name}/restore", partial(_archive, self, False)),
            post(f"{of_version}/archive", partial(_archive, self, True)),
            post(f"{of_version}/restore", partial(_archive, self, False)),
            post(f"{of_version}/tags", partial(_tags, self)),
        )


async def home(visit: Visit) -> ResourceId:
    """The workspace, or the registry that the URL names. Raises Refused(404)."""
    if not (name := visit.http.query_params.get("registry")):
        return visit.workspace
    for one in await _registries(visit):
        if one["name"].lower() == name.lower():
            return ResourceId.parse(one["id"])
    raise Refused(404, "NotFound", f"There is no registry {name[:100]!r}, or you may not see it.")


def link(visit: Visit, to: str, /, **parameters: str | None) -> str:
    """As `visit.link`, of the same registry."""
    return visit.link(to, registry=visit.http.query_params.get("registry"), **parameters)


def page_of(type_: AssetType, name: str, version: str = "") -> str:
    return f"/{type_.name}/{quote(name)}" + (f"/{quote(version)}" if version else "")


async def version_at(visit: Visit, type_: AssetType) -> Document:
    """The document of the version that the URL names. Raises Refused."""
    found = await visit.api.get(await path(visit, type_))
    if "properties" not in found:  # the name is one that means something else to the API
        raise Refused(404, "NotFound", f"There is no such {type_.one}.")
    return found


async def next_version(visit: Visit, type_: str, name: str) -> str:
    """Of an asset's name, also of one that is new."""
    try:
        found = await visit.api.get(f"{visit.workspace}/{type_}/{name}")
    except Refused as error:
        if error.status != 404:
            raise
        return "1"
    return str(part(found, "properties").get("nextVersion") or "1")


async def path(visit: Visit, type_: AssetType) -> str:
    named = visit.http.path_params
    above = (await home(visit)).child(type_.name, named["name"])
    return str(above.child("versions", named["version"]) if "version" in named else above)


def described(visit: Visit, type_: AssetType, version: Document) -> Document:
    """Of a version, what `asset.html` shows of each type."""
    properties, made = version["properties"], version["systemData"]
    kept = {name: value for name, value in part(properties, "properties").items() if value is not None}
    name, number = visit.http.path_params["name"], visit.http.path_params["version"]
    own = page_of(type_, name, number)
    return {
        "asset_type": type_,
        "to": partial(link, visit),
        "own": own,
        "asset": {
            "id": str(version["id"]).lower(),
            "etag": version.get("etag") or "",
            "name": name,
            "version": number,
            "state": properties.get("provisioningState") or "",
            "description": properties.get("description") or "",
            "tags": sorted(part(properties, "tags").items()),
            "kept": sorted(kept.items()),
            "archived": bool(properties.get("isArchived")),
            "made_by": kept.get("smalt.made_by") or properties.get("jobName") or "",
            "created": made["createdAt"],
            "by": made.get("createdBy") or "",
            "registry": visit.http.query_params.get("registry", ""),
        },
        "reference": reference(visit, type_, name, number),
    }


def reference(visit: Visit, type_: AssetType, name: str, version: str) -> str:
    """As jobs name it."""
    registry = visit.http.query_params.get("registry")
    short = f"azureml:{name}:{version}"
    return f"azureml://registries/{registry}/{type_.name}/{name}/versions/{version}" if registry else short


async def lineage(visit: Visit, of: str, depth: int = 5) -> dict[str, Any]:
    """`sources` and `uses`, nearest first: resources from which it came, and which came of it."""
    found = await visit.api.get(f"{of}/lineage", {"depth": str(depth)})
    edges: dict[str, set[str]] = {}
    for one in found["edges"]:
        for end in (one["from"], one["to"]):
            edges.setdefault(end, set()).add(one["what"] + (f" “{one['name']}”" if one.get("name") else ""))
    nodes = [_node(visit, one, edges) for one in found["nodes"] if one["distance"]]
    return {
        "sources": [one for one in sorted(nodes, key=lambda one: -one["distance"]) if one["distance"] < 0],
        "uses": [one for one in nodes if one["distance"] > 0],
        "truncated": found["truncated"],
        "nodes": found["nodes"],
        "edges": found["edges"],
    }


def _node(visit: Visit, one: Document, edges: Mapping[str, set[str]]) -> Document:
    title, to, what = named(visit, str(one["id"]))
    gone = bool(one.get("deletedAt")) or one.get("state") == "Deleted"
    as_ = ", ".join(sorted(edges.get(one["key"], ())))
    return {
        "id": str(one["id"]).lower(),
        "title": title,
        "what": what,
        "to": "" if gone else to,
        "as": as_,
        "gone": gone,
        "state": one.get("state") or "",
        "created": one["createdAt"],
        "distance": one["distance"],
    }


_PAGES = {"jobs": "/jobs", "data": "/data", "models": "/models", "environments": "/environments", "components":
          "/components", "onlineendpoints": "/endpoints"}  # fmt: skip
_WHAT = {"jobs": "job", "data": "data", "models": "model", "environments": "environment", "components": "component",
         "onlineendpoints": "deployment", "batchendpoints": "batch deployment"}  # fmt: skip


def named(visit: Visit, id_: str) -> tuple[str, str, str]:
    """Title, link (empty: there is no page) and kind of a resource, for people."""
    try:
        found = ResourceId.parse(id_)
        home_ = found.home
    except NotAnId:
        return id_, "", ""
    below = [one for one in found.path if one not in home_.path]
    if not below:
        return found.name, "", ""
    (type_, name), *rest = below
    page_, what = _PAGES.get(type_.lower(), ""), _WHAT.get(type_.lower(), type_)
    if type_.lower().endswith("endpoints"):
        title = f"{name} / {rest[0][1]}" if rest else name
        return title, visit.link(f"{page_}/{quote(name)}") if page_ else "", what if rest else "endpoint"
    if name == NOWHERE:  # of a run that somebody's own program made
        return "none of the platform's", "", what
    registry = home_.name if home_.kind == "registries" else None
    what += f" of registry {registry}" if registry else ""
    version = f"/{quote(rest[0][1])}" if rest else ""
    title = f"{name}:{rest[0][1]}" if rest else name
    return title, visit.link(f"{page_}/{quote(name)}{version}", registry=registry) if page_ else "", what


async def _registries(visit: Visit) -> list[Document]:
    found = await visit.api.get(f"/subscriptions/{visit.workspace.subscription}/{_PROVIDER}/registries")
    return found["value"]


async def _names(type_: AssetType, visit: Visit) -> Response:
    given, cursor = visit.http.query_params, await visit.cursor()
    view = given.get("view", "")
    query = {"count": str(PAGE), "listViewType": VIEWS.get(view, "ActiveOnly")}
    query |= {"$skipToken": given["after"]} if given.get("after") else {}
    chosen = {one: given.get(one, "") for one in ("searchText", "dataType")}
    query |= {name: value for name, value in chosen.items() if value}
    origin = given.get("origin", "") if type_.origins else "all"
    query |= {"shipped": _SHIPPED[origin]} if origin in _SHIPPED and not given.get("registry") else {}
    of, others = await asyncio.gather(home(visit), _registries(visit))
    found = await visit.api.get(f"{of}/{type_.name}", query)
    return page(
        "assets.html",
        visit,
        cursor=cursor,
        asset_type=type_,
        to=partial(link, visit),
        more=following(found),
        first=not given.get("after"),
        view=view,
        chosen=chosen,
        registry=given.get("registry", ""),
        origin=origin,
        registries=[one["name"] for one in others],
        names=[_name(one) for one in without_aliases(found["value"])],
    )


def without_aliases(found: list[Document]) -> list[Document]:
    """Curated environments are there under two names each, such as `sklearn-1.5` and `AzureML-sklearn-1.5`."""
    names = {one["name"] for one in found}
    return [one for one in found if one["name"].removeprefix("AzureML-") not in names - {one["name"]}]


def _name(one: Document) -> Document:
    properties = one["properties"]
    return {
        "name": one["name"],
        "latest": properties.get("latestVersion") or "",
        "type": properties.get("dataType") or "",
        "description": properties.get("description") or "",
        "archived": bool(properties.get("isArchived")),
        "created": one["systemData"]["createdAt"],
        "by": one["systemData"].get("createdBy") or "",
    }


async def _versions(type_: AssetType, visit: Visit) -> Response:
    given, cursor = visit.http.query_params, await visit.cursor()
    view = given.get("view", "")
    query = {"count": str(PAGE), "listViewType": VIEWS.get(view, "ActiveOnly")}
    query |= {"$skipToken": given["after"]} if given.get("after") else {}
    of = await path(visit, type_)
    above, found = await asyncio.gather(visit.api.get(of), visit.api.get(f"{of}/versions", query))
    return page(
        "versions.html",
        visit,
        cursor=cursor,
        asset_type=type_,
        to=partial(link, visit),
        above=_name(above),
        own=page_of(type_, above["name"]),
        versions=[_version(one) for one in found["value"]],
        more=following(found),
        first=not given.get("after"),
        view=view,
        id=str(above["id"]).lower(),
    )


def _version(one: Document) -> Document:
    properties = one["properties"]
    kind = properties.get("dataType") or properties.get("modelType") or properties.get("environmentType")
    kind = kind or part(properties, "componentSpec").get("type") or ""
    return {
        "version": one["name"],
        "kind": kind,
        "stage": properties.get("stage") or "",
        "description": properties.get("description") or "",
        "tags": sorted(part(properties, "tags").items()),
        "archived": bool(properties.get("isArchived")),
        "created": one["systemData"]["createdAt"],
        "by": one["systemData"].get("createdBy") or "",
    }


async def _archive(type_: AssetType, wanted: bool, visit: Visit) -> Response:
    await visit.api.patch(await path(visit, type_), {"properties": {"isArchived": wanted}})
    return back(visit, type_)


async def _tags(type_: AssetType, visit: Visit) -> Response:
    """`tag-name-N` and `tag-value-N`, and `description`, as they are sent, of the version whose `etag` was shown."""
    tags = _rows(visit.fields)
    if len(tags) > _TAGS_MOST:
        raise Refused(400, "TooManyTags", f"A resource has at most {_TAGS_MOST} tags.")
    old = part((await version_at(visit, type_))["properties"], "tags")
    change: Document = {
        "tags": {**dict.fromkeys(old), **tags},  # null takes one away
        "description": visit.fields.get("description", "").replace("\r\n", "\n"),
    }
    if visit.fields.get("stage"):
        change["stage"] = visit.fields["stage"]
    await visit.change(await path(visit, type_), {"properties": change})
    return back(visit, type_)


def _rows(fields: Mapping[str, str]) -> dict[str, str]:
    """The tags of a form; a row without a name is none."""
    found: dict[str, str] = {}
    for field, value in fields.items():
        if (row := _TAG.fullmatch(field)) and value.strip():
            found[value.strip()] = fields.get(f"tag-value-{row[1]}", "").replace("\r\n", "\n")
    return found


def back(visit: Visit, type_: AssetType) -> Response:
    """A reload of what comes then sends no form again."""
    named_ = visit.http.path_params
    return RedirectResponse(link(visit, page_of(type_, named_["name"], named_.get("version", ""))), 303, HEADERS)
