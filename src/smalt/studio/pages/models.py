"""Models: names, versions; of one its signature, where it came from and is served, its job's numbers, and its files."""

from __future__ import annotations

import json
from typing import Any

import yaml
from starlette.responses import Response

from smalt.arm.yaml_text import read_yaml
from smalt.store.document import Document, part
from smalt.studio.files.answers import file_routes
from smalt.studio.files.browser import browsed, with_root
from smalt.studio.files.place import of_version
from smalt.studio.files.reading import READERS, Files
from smalt.studio.pages.assets import AssetType, described, lineage, version_at
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import page
from smalt.studio.routes import get
from smalt.studio.visit import Visit

MODELS = AssetType("models", "Models", "model", makes="Register a model")
TABS = {"": "Overview", "files": "Files"}
STAGES = ("Development", "Production", "Archived")
_MLMODEL_MOST = 64 << 10  # bytes
_PARAMETERS = 100


async def show(visit: Visit) -> Response:
    tab = visit.http.query_params.get("tab", "")
    tabs = {"": TABS[""]} if visit.guest else TABS  # its files are no part of a page that is shared
    if tab not in tabs:
        raise Refused(404, "NotFound", f"A model has no tab {tab[:40]!r}.")
    cursor = await visit.cursor()
    version = await version_at(visit, MODELS)
    properties = version["properties"]
    values: Document = {"cursor": cursor, "tab": tab, "tabs": tabs, **described(visit, MODELS, version)}
    values["asset"] |= {"stage": properties.get("stage") or ""}
    values |= {"model_type": properties["modelType"], "uri": properties["modelUri"], "stages": STAGES}
    values["sha256"] = part(properties, "properties").get("smalt.sha256") or ""
    read = {"": _overview, "files": _files}[tab]
    return page("model.html", visit, **values, **await read(visit, version))


async def _overview(visit: Visit, version: Document) -> Document:
    found = await lineage(visit, version["id"])
    return {
        "lineage": found,
        "served": _served(found),
        "job": await _made(visit, version, found),
        **await _signed(visit, version),
    }


def _served(found: Document) -> list[Document]:
    """The deployments that requests of this version follow now."""
    until = {one["to"]: one.get("until") for one in found["edges"] if one["what"] == "model"}
    keys = {str(one["id"]).lower() for one in found["nodes"] if one["key"] in until and not until[one["key"]]}
    return [one for one in found["uses"] if one["id"] in keys and not one["gone"]]


async def _made(visit: Visit, version: Document, found: Document) -> Document:
    """Metrics and parameters of the job that made it. Empty where none did, or it is gone."""
    name = str(version["properties"].get("jobName") or "")
    node = next((one for one in found["nodes"] if one["name"] == name and one["type"].endswith("/jobs")), None)
    if not name or node is None:
        return {}
    given = dict(part(part(node, "origin"), "parameters"))
    run = {}
    if not node.get("deletedAt"):
        run = await visit.api.get(f"{visit.workspace}/jobs/{name}")
    given |= part(part(run, "properties"), "parameters")
    return {
        "name": name,
        "metrics": (await visit.logged.latest(visit.workspace.key, name))[0],
        "parameters": sorted((key, str(value)) for key, value in given.items())[:_PARAMETERS],
    }


async def _signed(visit: Visit, version: Document) -> Document:
    """What its MLmodel says: `flavors`, `inputs`, `outputs`; `unsigned`: why there is nothing."""
    none: Document = {"flavors": [], "inputs": [], "outputs": [], "unsigned": ""}
    if visit.guest or version["properties"]["modelType"] != "mlflow_model":
        return none
    try:
        text = await (await _of(visit, version)).read("MLmodel", 0, _MLMODEL_MOST)
        said = await READERS.run(read_yaml, text)
        signature = part(said, "signature")
        ports = {name: _ports(signature.get(name)) for name in ("inputs", "outputs")}
        return {**none, **ports, "flavors": sorted(map(str, part(said, "flavors")))}
    except Refused as error:
        return {**none, "unsigned": error.message}
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError):
        return {**none, "unsigned": "Its MLmodel cannot be read."}


def _ports(text: Any) -> list[tuple[str, str]]:
    """Name and type of each column or tensor."""
    found = json.loads(text) if text else []
    return [(str(one.get("name") or f"{at}"), _type(one)) for at, one in enumerate(found)]


def _type(one: Document) -> str:
    if tensor := one.get("tensor-spec"):
        return f"{tensor.get('dtype')} {tensor.get('shape')}"
    return str(one.get("type") or "") + ("" if one.get("required", True) else ", optional")


async def _files(visit: Visit, version: Document) -> Document:
    return {"browser": await browsed(visit, _of(visit, version))}


async def _of(visit: Visit, version: Document) -> Files:
    properties = version["properties"]
    folder = properties["modelType"] != "custom_model" or str(properties["modelUri"]).endswith("/")
    files = Files(visit.api, await of_version(visit, version, str(properties["modelUri"]), folder))
    return await with_root(files)


async def _source(visit: Visit) -> Files:
    return await _of(visit, await version_at(visit, MODELS))


ROUTES = (
    *MODELS.routes,
    get("/models/{name}/{version}", show, shared=True),
    *file_routes("/models/{name}/{version}", _source),
)
