"""A new version of data or of a model: of files that the browser uploads to a datastore, or of what a job left."""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.store.document import Document
from smalt.studio.pages.assets import next_version
from smalt.studio.pages.datastores import opening
from smalt.studio.pages.rehearsed import segment
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import Page, get, post
from smalt.studio.visit import Visit

_STORE = "workspaceblobstore"
_THERE = re.compile(
    r"(?:azureml://datastores/[^/]+/paths/uploads/|runs:/[^/]+/|azureml://jobs/[^/]+/outputs/).+", re.DOTALL
)
_MLFLOW = "mlflow_model"
_LOOKED_MOST = 40  # folders of a job in which a model may lie


@dataclass(frozen=True)
class New:
    """`uri`, `type`: as the API's properties are called. `entity`: the SDK's class."""

    name: str
    area: str
    one: str
    title: str
    types: tuple[str, ...]
    uri: str
    type: str
    entity: str
    kinds: str  # which files make which type

    @property
    def routes(self) -> tuple[Page, ...]:
        place = f"/{self.name}/new"
        return get(place, partial(_show, self)), post(place, partial(_make, self))


DATA = New(
    "data", "Data", "data", "Upload data", ("uri_file", "uri_folder", "mltable"), "dataUri", "dataType", "Data",
    "One file makes a uri_file, a folder or several a uri_folder, one with a file MLTable an mltable.",
)  # fmt: skip
MODEL = New(
    "models", "Models", "model", "Register a model", ("custom_model", _MLFLOW), "modelUri", "modelType", "Model",
    "A folder with a file MLmodel makes an mlflow_model, which is served without a script; all else a custom_model.",
)  # fmt: skip


async def _show(new: New, visit: Visit) -> Response:
    """`?job=NAME`, `?path=` a folder or file of its artifacts: of what that job left, without an upload."""
    given = visit.http.query_params
    fields = {"name": given.get("name", "")}
    if not (job := given.get("job", "")):
        return _form(new, visit, fields)
    there = await _left(new, visit, job, given.get("path", "").strip("/"))
    uri, type_ = next(iter(there.items()), (f"runs:/{job}/", ""))
    fields["name"] = fields["name"] or re.sub(r"[^A-Za-z0-9_-]+", "-", uri.rstrip("/").rpartition("/")[2]).strip("-")
    return _form(new, visit, {**fields, "uri": uri, new.type: type_, "job": job}, there=there)


async def _make(new: New, visit: Visit) -> Response:
    fields = visit.fields
    name, uri, type_ = (fields.get(one, "").strip() for one in ("name", "uri", new.type))
    there = bool(_THERE.fullmatch(uri))
    if not there or type_ not in new.types:
        raise Refused(400, "NothingChosen", "Choose files first: there is nothing to register.")
    if not name:
        raise Refused.at("name", "NameMissing", f"The {new.one} needs a name.")
    version = fields.get("version", "").strip() or await next_version(visit, new.name, name)
    body: Document = {new.uri: uri, new.type: type_, "description": fields.get("description", "").strip()}
    place = f"{visit.workspace}/{new.name}/{segment('name', name)}/versions/{segment('version', version)}"
    await visit.api.put(place, {"properties": body}, headers={"if-none-match": "*"})
    tab = "files" if new is DATA else None
    return RedirectResponse(visit.link(f"/{new.name}/{quote(name)}/{quote(version)}", tab=tab), 303, HEADERS)


async def _left(new: New, visit: Visit, job: str, path: str) -> dict[str, str]:
    """Addresses in a job's artifacts with the type that each makes: `path`, or else the models that lie there."""
    files = f"{visit.workspace}/jobs/{job}"
    if path:
        folder, _, name = path.rpartition("/")
        found = await visit.api.get(f"{files}/files", {"path": folder})
        is_folder = all(one["folder"] for one in found["value"] if one["name"] == name)
        mlflow = new is MODEL and await _is_mlflow(visit, files, path)
        type_ = _MLFLOW if mlflow else "" if new is MODEL else "uri_folder" if is_folder else "uri_file"
        return {f"runs:/{job}/{path}": type_}
    if new is not MODEL:
        return {}
    top, outputs = await asyncio.gather(*(visit.api.get(f"{files}/files", {"path": at}) for at in ("", "outputs")))
    folders = [one["name"] for one in top["value"] if one["folder"]]
    folders += [f"outputs/{one['name']}" for one in outputs["value"] if one["folder"]]
    folders = folders[:_LOOKED_MOST]
    models = await asyncio.gather(*(_is_mlflow(visit, files, one) for one in folders))
    return {f"runs:/{job}/{one}": _MLFLOW for one, is_one in zip(folders, models, strict=True) if is_one}


async def _is_mlflow(visit: Visit, files: str, folder: str) -> bool:
    try:
        await visit.api.get(f"{files}/file", {"path": f"{folder}/MLmodel"})
    except Refused as error:
        if error.status != 404:
            raise
        return False
    return True


def _form(new: New, visit: Visit, fields: Document, there: Document | None = None) -> Response:
    names = ("name", new.type, "uri", "job")
    return page(
        "new_asset.html",
        visit,
        new=new,
        opens=opening(visit, _STORE),
        fields={one: fields.get(one, "") for one in names},
        there=there or {},
        folder=f"uploads/{uuid.uuid4()}/",
        store=_STORE,
    )


ROUTES = (*DATA.routes, *MODEL.routes)
