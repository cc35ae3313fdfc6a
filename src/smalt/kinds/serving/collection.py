"""Data collection of a deployment: what of its requests is kept, and in which folders of the workspace's store.

Each collection that is enabled is a data asset (uri_folder): the one that `dataId` names, or that which Azure's client
makes, `ENDPOINT-DEPLOYMENT-COLLECTION`, version 1, or the next that is no other deployment's. `request` and `response`
are what HTTP carries; all others are the script's own, and of a model without code `model_inputs` and `model_outputs`
are its rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import count
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from sqlalchemy import Connection

from smalt.agent.wire import CollectionSpec, CollectorSpec, OutputSpec, Ref
from smalt.arm.assets import insert_version
from smalt.arm.errors import invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document, Request
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties
from smalt.kinds.assets import references
from smalt.store import resources

FIELD = "properties.dataCollector"
_ROOT = "azureml://datastores/workspaceblobstore/paths/modelDataCollector"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_HTTP = ("request", "response")
_OF_MODELS = ("model_inputs", "model_outputs")


def _one_of(*known: str) -> AfterValidator:
    """In any case, as clients write it; stored as Azure does."""

    def check(given: str) -> str:
        for one in known:
            if one.lower() == given.lower():
                return one
        raise PydanticCustomError("choice", "this must be {known}", {"known": ", ".join(known)})

    return AfterValidator(check)


class CollectionProperties(Properties):
    data_collection_mode: Annotated[str, _one_of("Enabled", "Disabled")] | None = None
    data_id: str | None = None
    sampling_rate: float | None = Field(None, ge=0, le=1)


class RequestLogging(Properties):
    capture_headers: list[str] | None = None


class DataCollectorProperties(Properties):
    collections: dict[str, CollectionProperties]
    rolling_rate: Annotated[str, _one_of("Year", "Month", "Day", "Hour", "Minute")] | None = None
    request_logging: RequestLogging | None = None


Writes = Callable[[Connection], None]


def admit(request: Request, connection: Connection, properties: Document) -> Writes | None:
    """Puts the ids of data assets into `dataCollector`, and returns what registers those that are not there.

    Raises ArmError(400).
    """
    if not (given := properties.get("dataCollector")):
        return None
    scripted = bool(properties.get("codeConfiguration"))
    names = dict[str, str]()
    collections: Document = {}
    missing = dict[str, ResourceId]()
    for name, asked in given["collections"].items():
        field = f"{FIELD}.collections.{name[:80]}"
        if not _NAME.fullmatch(name):
            raise invalid(f"{field}: a collection's name is 1 to 128 letters, digits, '_', '-' and '.'.", field)
        if (before := names.setdefault(name.lower(), name)) != name:
            raise invalid(f"{field}: the names '{before}' and '{name}' are one: scripts collect in lower case.", field)
        collections[name] = one = dict(asked)
        if not _enabled(one):
            continue
        if not scripted and name.lower() not in (*_HTTP, *_OF_MODELS):
            raise invalid(f"{field}: without a scoring script nothing collects into '{name}'.", field)
        if one.get("dataId"):
            row = references.asset(connection, request.id.workspace, one["dataId"], "data", f"{field}.dataId")
            one["dataId"] = row.written
            _folder(request.platform, connection, request.id.workspace, row.properties, f"{field}.dataId")
            continue
        asset = _default_asset(request.platform, connection, request.id, name)
        one["dataId"] = str(asset)
        missing[name] = asset

    def writes(connection: Connection) -> None:
        for name, asset in missing.items():
            if resources.get(connection, asset.key) is None:
                properties = {"dataUri": _default_uri(request.id, name), "dataType": "uri_folder"}
                insert_version(
                    connection, asset, properties, type_="uri_folder", now=request.now, by=request.principal.name
                )

    properties["dataCollector"] = {**given, "collections": collections}
    return writes


def target(platform: Platform, connection: Connection, deployment: ResourceId, given: Document | None) -> Document:
    """What replicas are told, in a form that can be kept; empty where nothing is collected. Raises ArmError(400)."""
    enabled = {name: one for name, one in (given or {}).get("collections", {}).items() if _enabled(one)}
    if not given or not enabled:
        return {}
    kept: Document = {}
    for name, one in enabled.items():
        field = f"{FIELD}.collections.{name}.dataId"
        asset_id = one.get("dataId") or str(_default_asset(platform, connection, deployment, name))
        row = references.asset(connection, deployment.workspace, asset_id, "data", field)
        folder = _folder(platform, connection, deployment.workspace, row.properties, field)
        rate = one.get("samplingRate")
        kept[name.lower()] = {"folder": list(folder), "rate": 1.0 if rate is None else float(rate)}
    headers = (given.get("requestLogging") or {}).get("captureHeaders") or []
    return {"collections": kept, "rolling": str(given.get("rollingRate") or "Hour").lower(), "headers": headers}


def spec(
    platform: Platform, kept: Mapping[str, Any], deployment: ResourceId, replica: str
) -> tuple[CollectorSpec | None, list[OutputSpec]]:
    """For the task of a replica: what it collects, and the folders to which it adds files."""
    if not kept:
        return None, []
    folders = {name: Ref(*one["folder"]) for name, one in kept["collections"].items()}
    collections = [
        CollectionSpec(name, _output(at), _url(platform, folders[name]), one["rate"])
        for at, (name, one) in enumerate(kept["collections"].items())
    ]
    outputs = [OutputSpec(_output(at), mode="append", target=folder) for at, folder in enumerate(folders.values())]
    return CollectorSpec(collections, kept["rolling"], kept["headers"], str(deployment), replica), outputs


def _output(at: int) -> str:
    return f"collected_{at}"


def _url(platform: Platform, folder: Ref) -> str:
    return f"{platform.settings.account_url(folder.account)}/{folder.container}/{folder.name.rstrip('/')}"


def _enabled(one: Mapping[str, Any]) -> bool:
    return one.get("dataCollectionMode") == "Enabled"


def _default_uri(deployment: ResourceId, collection: str) -> str:
    return f"{_ROOT}/{deployment.parent.name}/{deployment.name}/{collection}/"


def _default_asset(platform: Platform, connection: Connection, deployment: ResourceId, collection: str) -> ResourceId:
    """The first version that is this deployment's, or is not there: `a-b` and `c` make the name of `a` and `b-c`."""
    asset = deployment.workspace.child("data", f"{deployment.parent.name}-{deployment.name}-{collection}")

    def place(uri: str) -> tuple[str, ...]:
        return references.place_key(platform, connection, deployment.workspace, uri)

    own = place(_default_uri(deployment, collection))
    for number in count(1):
        id_ = asset.child("versions", str(number))
        row = resources.get(connection, id_.key)
        if row is None or place(str(row.properties["dataUri"])) == own:
            return id_
    raise AssertionError("numbers do not end")


def _folder(
    platform: Platform, connection: Connection, workspace: ResourceId, asset: Mapping[str, Any], field: str
) -> Ref:
    if asset.get("dataType") != "uri_folder":
        raise invalid(f"{field}: data is collected into a uri_folder, and this is a {asset.get('dataType')}.", field)
    uri = str(asset["dataUri"])
    place = references.locate(platform, connection, workspace, uri, field)
    if not place.account or not place.path.strip("/"):
        raise invalid(f"{field}: {uri[:200]} is no folder of a blob datastore of this platform.", field)
    references.check_writable(connection, place, field)
    return place.ref(folder=True)
