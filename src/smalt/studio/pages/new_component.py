"""A new version of a component from YAML, looked at while one types."""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import quote

from starlette.responses import JSONResponse, RedirectResponse, Response

from smalt.arm.threads import Threads
from smalt.store.document import Document, part
from smalt.studio.documents import component_sent
from smalt.studio.documents.fields import Sent, in_file
from smalt.studio.documents.job_written import steps
from smalt.studio.documents.written import Faulty, Written, dump, read
from smalt.studio.pages.assets import next_version
from smalt.studio.pages.rehearsed import as_refused, rehearse, segment
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

_THREADS = Threads(2)  # what somebody has typed may take a moment to read


async def show(visit: Visit) -> Response:
    """`?from=NAME:VERSION`: as that one of this workspace is, without its version."""
    name, _, version = visit.http.query_params.get("from", "").partition(":")
    text = component_sent.EXAMPLE
    if name:
        one = visit.workspace.child("components", name).child("versions", version or "1")
        spec = (await visit.api.get(str(one)))["properties"]["componentSpec"]
        written = {key: value for key, value in spec.items() if key not in ("version", "_source")}
        text = dump({**written, **_as_in_file(name, spec)})
    return page("new_component.html", visit, yaml=text, origin=name)


async def check(visit: Visit) -> Response:
    """What is wrong, each with its line; nothing is kept."""
    try:
        document = await _read(visit)
    except Faulty as error:
        return _told([{"line": int(one.path[0]), "message": one.message} for one in error.faults])
    try:
        ready, place = await _ready(visit, document)
        await rehearse(visit, [*ready.before, (place, {"properties": ready.properties})])
    except Faulty as error:
        return _told(document.placed(error.faults))
    return _told([])


async def preview(visit: Visit) -> Response:
    try:
        document = await _read(visit)
        await _ready(visit, document)
    except Faulty as error:
        raise as_refused(error, "InvalidComponent") from None
    yaml, code = dump(document.document), component_sent.sdk_code()
    file, command = "component.yml", "az ml component create"
    return page("making_preview.html", visit, yaml=yaml, code=code, file=file, command=command)


async def submit(visit: Visit) -> Response:
    try:
        ready, place = await _ready(visit, await _read(visit))
    except Faulty as error:
        raise as_refused(error, "InvalidComponent") from None
    for before, body in ready.before:
        await visit.api.put(f"{visit.workspace}/{before}", body)
    new = {"if-none-match": "*"}
    await visit.api.put(f"{visit.workspace}/{place}", {"properties": ready.properties}, headers=new)
    _, name, _, version = place.split("/")
    return RedirectResponse(visit.link(f"/components/{quote(name)}/{quote(version)}"), 303, HEADERS)


async def _read(visit: Visit) -> Written:
    """Raises Faulty for text that is no YAML."""
    return await _THREADS.run(read, visit.fields.get("yaml", ""), component_sent.MAPPING)


async def _ready(visit: Visit, document: Written) -> tuple[Sent, str]:
    """What is sent, and the place of the version below the workspace. Raises Faulty, and Refused for a name."""
    ready = await _THREADS.run(component_sent.sent, document.document, visit.fields.get("code", ""))
    name, version = (str(document.document.get(one) or "") for one in ("name", "version"))
    version = version or await next_version(visit, "components", segment("name", name))
    return ready, f"components/{name}/versions/{segment('version', version)}"


def _as_in_file(name: str, spec: Document) -> Document:
    """What a file spells in another way than the API. Raises Refused."""
    found: Document = {key: in_file(str(spec[key])) for key in ("code", "environment") if spec.get(key)}
    if task := part(spec, "task"):
        found["task"] = {**task, **{key: in_file(str(task[key])) for key in ("code", "environment") if task.get(key)}}
    if isinstance(keys := spec.get("partition_keys"), str):
        with suppress(ValueError):
            found["partition_keys"] = json.loads(keys)
    if jobs := part(spec, "jobs"):
        if (written := steps(jobs)) is None:
            message = f"Component {name} has steps that are not written here: 'az ml component show' has its file."
            raise Refused(400, "InvalidComponent", message)
        found["jobs"] = written
    return found


def _told(faults: list[Document]) -> Response:
    return JSONResponse({"faults": faults}, headers=HEADERS)


ROUTES = (
    get("/components/new", show),
    post("/components/new/check", check),
    post("/components/new/preview", preview),
    post("/components/new", submit),
)
