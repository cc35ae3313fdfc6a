"""A job from a form, or from YAML as `az ml job create -f` takes it; seen as YAML and as SDK code before it is sent."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, RedirectResponse, Response

from smalt.arm.threads import Threads
from smalt.store.document import Document
from smalt.studio.documents import job_form, notebook_form
from smalt.studio.documents.fields import DATA_TYPES, MODES, Sent
from smalt.studio.documents.job_code import sdk_code
from smalt.studio.documents.job_sent import sent
from smalt.studio.documents.job_written import written
from smalt.studio.documents.written import Faulty, Written, dump, read
from smalt.studio.pages.again import job_at
from smalt.studio.pages.assets import without_aliases
from smalt.studio.pages.rehearsed import as_refused, rehearse, segment
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

LISTED = 50  # environments, computes: what the form offers; any other may be typed
_THREADS = Threads(2)  # what somebody has typed may take a moment to read
EXAMPLE = {
    "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
    "type": "command",
    "command": "echo hello",
    "environment": "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu@latest",
}


async def show(visit: Visit) -> Response:
    """`?from=NAME`: as that job was made; `?mode=yaml`."""
    if visit.http.query_params.get("mode") == "notebook":
        return await _notebook(visit)
    by_form = visit.http.query_params.get("mode") != "yaml"
    document: Document = {**EXAMPLE, "command": ""} if by_form else EXAMPLE
    name = visit.http.query_params.get("from", "")
    if name:
        given = written(await job_at(visit, name))
        if given is None:
            raise Refused(400, "NotWritten", f"Jobs like '{name}' are not made here: send its file by az.")
        document = given
    if not by_form or document.get("type") != "command":
        return await _yaml(visit, dump(document), name)
    return await _form(visit, document, name)


async def as_yaml(visit: Visit) -> Response:
    """The form goes on as YAML."""
    return await _yaml(visit, dump(_of_form(visit)), visit.fields.get("from", ""))


async def to_yaml(visit: Visit) -> Response:
    """Where that is opened without the form."""
    return RedirectResponse(visit.link("/jobs/new", **{**visit.parameters(), "mode": "yaml"}), 303, HEADERS)


async def preview(visit: Visit) -> Response:
    """Raises Refused: of a text whatever is wrong with it, as there is no code for that."""
    try:
        document = await _document(visit)
        if "yaml" in visit.fields:
            await _sent(visit, document)
    except Faulty as error:
        raise as_refused(error, "InvalidJob") from None
    return page("job_preview.html", visit, yaml=dump(document.document), code=sdk_code(document.document))


async def notebook(visit: Visit) -> Response:
    """A job that runs a notebook."""
    return await _submitted(visit, Written(_of_notebook(visit)))


async def notebook_preview(visit: Visit) -> Response:
    document = _of_notebook(visit)
    return page("job_preview.html", visit, yaml=dump(document), code=sdk_code(document))


async def check(visit: Visit) -> Response:
    """What is wrong, each with its line; nothing is kept."""
    try:
        document = await _document(visit)
    except Faulty as error:
        return _told([{"line": int(one.path[0]), "message": one.message} for one in error.faults])
    try:
        ready = await _sent(visit, document)
        await rehearse(visit, [*ready.before, ("jobs/studio_rehearsed", {"properties": ready.properties})])
    except Faulty as error:
        return _told(document.placed(error.faults))
    return _told([])


async def submit(visit: Visit) -> Response:
    try:
        document = await _document(visit)
    except Faulty as error:
        raise as_refused(error, "InvalidJob") from None
    return await _submitted(visit, document)


async def _submitted(visit: Visit, document: Written) -> Response:
    try:
        ready = await _sent(visit, document)
    except Faulty as error:
        raise as_refused(error, "InvalidJob") from None
    name = str(document.document.get("name") or f"studio_{secrets.token_hex(5)}")
    for place, body in ready.before:
        await visit.api.put(f"{visit.workspace}/{place}", body)
    new = {"if-none-match": "*"}
    await visit.api.put(
        f"{visit.workspace}/jobs/{segment('name', name)}", {"properties": ready.properties}, headers=new
    )
    return RedirectResponse(visit.link(f"/jobs/{quote(name)}"), 303, HEADERS)


def _told(faults: list[Document]) -> Response:
    return JSONResponse({"faults": faults}, headers=HEADERS)


async def _document(visit: Visit) -> Written:
    """Raises Faulty for text that is no YAML, Refused for a form."""
    if "yaml" in visit.fields:
        return await _THREADS.run(read, visit.fields["yaml"])
    return Written(_of_form(visit))


async def _sent(visit: Visit, document: Written) -> Sent:
    """Raises Faulty."""
    return await _THREADS.run(sent, document.document, visit.fields.get("code", ""))


def _of_form(visit: Visit) -> Document:
    try:
        return job_form.document(visit.fields)
    except Faulty as error:
        raise as_refused(error) from None


def _of_notebook(visit: Visit) -> Document:
    try:
        return notebook_form.document(visit.fields)
    except Faulty as error:
        raise as_refused(error) from None


async def _form(visit: Visit, document: Document, name: str) -> Response:
    return page(
        "new_job.html",
        visit,
        job=job_form.shown(document),
        origin=name,
        types=DATA_TYPES,
        input_types=(job_form.LITERAL, *DATA_TYPES),
        modes=tuple(MODES),
        **await _choices(visit),
    )


async def _notebook(visit: Visit) -> Response:
    """`?datastore=NAME&path=…`: of a datastore's files; otherwise of the browser's machine."""
    store, path = (visit.http.query_params.get(name, "") for name in ("datastore", "path"))
    source = visit.link(f"/datastores/{quote(store)}/file", path=path) if store and path else ""
    return page(
        "new_job_notebook.html",
        visit,
        environment=notebook_form.ENVIRONMENT,
        source=source,
        source_name=path.rpartition("/")[2],
        **await _choices(visit),
    )


async def _yaml(visit: Visit, text: str, name: str) -> Response:
    return page("new_job_yaml.html", visit, yaml=text, origin=name)


async def _choices(visit: Visit) -> Document:
    """What may be chosen: the newest of it, environments of one's own before those that are shipped."""
    environments = f"{visit.workspace}/environments"
    own, shipped, computes = await asyncio.gather(
        visit.api.get(environments, {"count": str(LISTED), "shipped": "false"}),
        visit.api.get(environments, {"count": str(LISTED), "shipped": "true"}),
        visit.api.get(f"{visit.workspace}/computes", {"count": str(LISTED)}),
    )
    return {
        "environments": [
            f"azureml:{one['name']}@latest" for one in (*own["value"], *without_aliases(shipped["value"]))
        ],
        "computes": [_compute(one) for one in computes["value"]],
    }


def _compute(document: Document) -> dict[str, Any]:
    properties = document["properties"]
    size = (properties.get("properties") or {}).get("vmSize") or ""
    return {"name": document["name"], "title": f"{document['name']} ({size})" if size else document["name"]}


ROUTES = (
    get("/jobs/new", show),
    get("/jobs/new/yaml", to_yaml),
    post("/jobs/new/yaml", as_yaml),
    post("/jobs/new/preview", preview),
    post("/jobs/new/check", check),
    post("/jobs/new", submit),
    post("/jobs/new/notebook", notebook),
    post("/jobs/new/notebook/preview", notebook_preview),
)
