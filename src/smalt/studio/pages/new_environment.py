"""A new version of an environment, of a conda file or of pip's requirements; built at once, if one likes."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.arm.threads import Threads
from smalt.store.document import Document
from smalt.studio.documents import environment_form
from smalt.studio.documents.written import Faulty, dump
from smalt.studio.pages.assets import next_version
from smalt.studio.pages.rehearsed import as_refused, segment
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

_THREADS = Threads(2)  # what somebody has typed may take a moment to read


async def show(visit: Visit) -> Response:
    """`?from=NAME:VERSION`: as that one of this workspace is."""
    name, _, version = visit.http.query_params.get("from", "").partition(":")
    given: Document = {}
    if name:
        one = visit.workspace.child("environments", name).child("versions", version or "1")
        given = (await visit.api.get(str(one)))["properties"]
    return page(
        "new_environment.html",
        visit,
        title=name if given.get("environmentType") != "Curated" else "",
        image=given.get("image") or environment_form.IMAGE,
        conda=given.get("condaFile") or environment_form.CONDA,
        python=environment_form.PYTHON,
    )


async def preview(visit: Visit) -> Response:
    document = await _document(visit)
    file, command = "environment.yml", "az ml environment create"
    yaml, code = dump(document), environment_form.sdk_code(document)
    return page("making_preview.html", visit, yaml=yaml, code=code, file=file, command=command)


async def submit(visit: Visit) -> Response:
    """`build`: it is built now, for jobs, and the page that comes has the log."""
    document, new = await _document(visit), {"if-none-match": "*"}
    version = document.get("version") or await next_version(visit, "environments", document["name"])
    named = visit.workspace.child("environments", segment("name", document["name"]))
    place = named.child("versions", segment("version", version))
    await visit.api.put(str(place), {"properties": environment_form.sent(document)}, headers=new)
    built = bool(visit.fields.get("build")) and not (await visit.api.get(f"{place}/builds"))["refused"]
    if built:
        await visit.api.post(f"{place}/build", {"use": "jobs"})
    to = f"/environments/{quote(document['name'])}/{quote(version)}"
    return RedirectResponse(visit.link(to, tab="log" if built else None), 303, HEADERS)


async def _document(visit: Visit) -> Document:
    try:
        return await _THREADS.run(environment_form.document, visit.fields)
    except Faulty as error:
        raise as_refused(error) from None


ROUTES = (
    get("/environments/new", show),
    post("/environments/new/preview", preview),
    post("/environments/new", submit),
)
