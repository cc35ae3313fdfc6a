"""Azure's artifact service for the azureml-mlflow plugin, which signs in only there, and for azureml.core.

Lists, and SAS URLs for the files themselves. `/history/v1.0{WS}/experiments/{e}/runs/{r}/artifacts…` for a run,
`/artifact/v2.0{WS}/artifacts/{origin}/{container}…` for what belongs to none (a model registered from a local folder).
The SDK of version 1 says the operation first, `…/artifacts/{operation}/{origin}/{container}/{path}`, of runs too.
Read from azureml-mlflow 1.60 and 1.62 and azureml-core 1.61, `_restclient`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from smalt.arm.errors import ArmError, invalid, not_found
from smalt.arm.ports import Blobs
from smalt.arm.threads import Threads
from smalt.settings import Settings
from smalt.tracking.address import Address
from smalt.tracking.artifacts.artifact_names import check_path
from smalt.tracking.artifacts.model_files import ModelFiles, Spot

_SAS_LIFETIME_S = 3600.0
_ORIGIN = "ExperimentRun"
_OPERATIONS = r"batch/metadata|prefix/contentinfo|contentinfo|metadata"
_OPERATION_FIRST = re.compile(rf"/({_OPERATIONS})/([^/]+)/([^/]+)(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """Where the artifacts of one `origin/container` are: a run's are `ExperimentRun/dcid.{run}`."""

    settings: Settings
    blobs: Blobs
    account: str
    files: ModelFiles
    origin: str
    container: str

    def spot(self, path: str) -> Spot:
        return self.files.locate(check_path(f"{self.origin}/{self.container}/{path}"))

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.files.files(f"{self.origin}/{self.container}") if name.startswith(prefix)]

    def describe(self, path: str) -> dict[str, Any]:
        return {
            "artifactId": f"{self.origin}/{self.container}/{path}",
            "origin": self.origin,
            "container": self.container,
            "path": path,
            "etag": None,
            "createdTime": None,
            "dataPath": None,
            "tags": {},
        }

    def content(self, path: str, permissions: str) -> dict[str, Any]:
        spot = self.spot(path)
        sas = self.blobs.sas(self.account, permissions, _SAS_LIFETIME_S, spot.container, spot.name)
        url = f"{self.settings.account_url(self.account)}/{spot.container}/{quote(spot.name)}?{sas}"
        return {"contentUri": url, "origin": self.origin, "container": self.container, "path": path, "tags": {}}


async def azure_artifact_response(
    request: Request,
    address: Address,
    settings: Settings,
    blobs: Blobs,
    account: str,
    files: ModelFiles,
    body: bytes,
    threads: Threads,
) -> Response:
    """`body` is what was posted. Raises ArmError."""
    path = request.query_params.get("path", "")
    if address.service == "history":
        origin, container, action = _ORIGIN, f"dcid.{address.run}", address.rest.strip("/")
    elif found := _OPERATION_FIRST.fullmatch(address.rest):
        action, origin, container, path = found[1], found[2], found[3], found[4] or ""
    else:
        origin, container, action = _split(address.rest)
    place = Place(settings, blobs, account, files, origin, container)
    check_path(f"{origin}/{container}")
    if action == "batch/metadata" and request.method == "POST":
        return JSONResponse(await threads.run(_create, place, _paths(body)))
    if request.method != "GET":
        raise ArmError(
            405, "MethodNotAllowed", f"{request.method} is not possible here.", headers={"Allow": "GET, POST"}
        )
    return JSONResponse(await threads.run(_read, place, action, path.strip("/")))


def _split(rest: str) -> tuple[str, str, str]:
    parts = rest.strip("/").split("/", 2)
    if len(parts) < 2:
        raise not_found("The artifact container", rest)
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""


def _read(place: Place, action: str, path: str) -> dict[str, Any]:
    if action in ("", "path"):
        return {"value": [place.describe(name) for name in place.names(path)]}
    if action == "prefix/contentinfo":
        return {"value": [place.content(name, "r") for name in place.names(path)]}
    if action in ("contentinfo", "metadata", "artifacturi"):
        spot = place.spot(path) if path else None
        if spot is None or not spot.folder.is_file(spot.name):
            raise not_found("The artifact", f"{place.origin}/{place.container}/{path}")
        return place.describe(path) if action == "metadata" else place.content(path, "r")
    raise not_found("The artifact operation", action)


def _create(place: Place, paths: list[str]) -> dict[str, Any]:
    """Where to upload to. The client refuses to overwrite a blob (`If-None-Match`), so an older one makes way here."""
    for path in paths:
        spot = place.spot(path)
        spot.check_writable()
        if spot.folder.is_file(spot.name):
            spot.folder.remove(spot.name)
    return {
        "artifacts": {path: place.describe(path) for path in paths},
        "artifactContentInformation": {path: place.content(path, "rcw") for path in paths},
        "errors": {},
    }


def _paths(body: bytes) -> list[str]:
    try:
        found = [one["path"] for one in json.loads(body)["paths"]]
    except (ValueError, KeyError, TypeError):
        raise invalid('The body must be {"paths": [{"path": …}]}.', "paths") from None
    if not all(isinstance(one, str) for one in found):
        raise invalid("Every path must be text.", "paths")
    return found
