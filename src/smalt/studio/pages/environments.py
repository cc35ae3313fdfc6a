"""Environments: names, versions; of one its specification, its builds with logs, exact packages, and the jobs in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.arm.ids import ResourceId
from smalt.store.document import Document, part
from smalt.studio.pages.assets import AssetType, described, home, path, version_at
from smalt.studio.pages.jobs import PAGE, listed
from smalt.studio.platform_api import API_VERSION, Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

ENVIRONMENTS = AssetType("environments", "Environments", "environment", origins=True, makes="New environment")
TABS = {"": "Overview", "packages": "Packages", "log": "Build log", "jobs": "Jobs"}
_FOR = {"jobs": "Jobs", "deployments": "Deployments"}


async def show(visit: Visit) -> Response:
    tab = visit.http.query_params.get("tab", "")
    if tab not in TABS:
        raise Refused(404, "NotFound", f"An environment has no tab {tab[:40]!r}.")
    cursor, own = await visit.cursor(), await path(visit, ENVIRONMENTS)
    version, of = await asyncio.gather(version_at(visit, ENVIRONMENTS), home(visit))
    properties = version["properties"]
    builds = await _builds(visit, own, of)
    values: Document = {"cursor": cursor, "tab": tab, "tabs": TABS, **described(visit, ENVIRONMENTS, version)}
    values |= {
        "image": properties.get("image") or "",
        "conda": properties.get("condaFile") or "",
        "context": part(properties, "build"),
        "curated": properties.get("environmentType") == "Curated",
        "builds": builds,
        "builds_at": f"{quote(own)}/builds?api-version={API_VERSION}",
        "uses": _FOR,
        "which": _which(visit),
    }
    read = {"": _nothing, "packages": _packages, "log": _nothing, "jobs": _jobs}[tab]
    return page("environment.html", visit, **values, **await read(visit, builds))


def _which(visit: Visit) -> str:
    return "deployments" if visit.http.query_params.get("for") == "deployments" else "jobs"


async def _builds(visit: Visit, own: str, of: ResourceId) -> Document:
    """A registry builds nothing: the workspaces do that use it."""
    none: Document = {"refused": None, "jobs": None, "deployments": None}
    return none if of.kind == "registries" else await visit.api.get(f"{own}/builds")


async def _nothing(visit: Visit, builds: Document) -> Document:
    return {}


async def _packages(visit: Visit, builds: Document) -> Document:
    """The lock; with `?with=NAME:VERSION` how it differs from that one's."""
    which = _which(visit)
    lock, other = part(part(builds, which), "lock"), visit.http.query_params.get("with", "").strip()
    shown: Document = {"lock": sorted(lock.items()), "other": other, "difference": [], "why": ""}
    if not other:
        return shown
    name, _, version = other.removeprefix("azureml:").rpartition(":")
    try:
        if not name:
            raise Refused(400, "InvalidName", "Name the other environment as NAME:VERSION.")
        against = visit.workspace.child("environments", name).child("versions", version)
        theirs = part(part(await visit.api.get(f"{against}/builds"), which), "lock")
        if not theirs:
            raise Refused(404, "NoLock", f"{other} was not built here, so its exact versions are not known.")
        return {**shown, "difference": differing(lock, theirs)}
    except Refused as error:
        return {**shown, "why": error.message}


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Name, our version, their version; empty where a package is missing."""
    both = sorted({*ours, *theirs}, key=str.lower)
    return [(one, ours.get(one, ""), theirs.get(one, "")) for one in both if ours.get(one) != theirs.get(one)]


async def _jobs(visit: Visit, builds: Document) -> Document:
    named, given = visit.http.path_params, visit.http.query_params
    query = {"environment": f"{named['name']}:{named['version']}", "count": str(PAGE), "listViewType": "All"}
    jobs, more = await listed(visit, query | ({"$skipToken": given["after"]} if given.get("after") else {}))
    return {"jobs": jobs, "more": more, "first": not given.get("after")}


async def build(visit: Visit) -> Response:
    """`use` of the form: `jobs` or `deployments`."""
    use = visit.fields.get("use", "")
    await visit.api.post(f"{await path(visit, ENVIRONMENTS)}/build", {"use": use})
    named = visit.http.path_params
    to = f"/environments/{quote(named['name'])}/{quote(named['version'])}"
    return RedirectResponse(visit.link(to, tab="log", **{"for": use}), 303, HEADERS)


ROUTES = (
    *ENVIRONMENTS.routes,
    get("/environments/{name}/{version}", show),
    post("/environments/{name}/{version}/build", build),
)
