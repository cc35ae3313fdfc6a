"""A schedule for a job that there is, from a form; seen as YAML and as SDK code before it is sent."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.store.document import Document
from smalt.studio.documents import schedule_form
from smalt.studio.documents.written import Faulty, dump
from smalt.studio.pages.again import job_at
from smalt.studio.pages.rehearsed import as_refused, segment
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit


async def show(visit: Visit) -> Response:
    """`?job=NAME`: what is to be submitted again and again, as it was."""
    name = visit.http.query_params.get("job", "")
    if not name:
        raise Refused(400, "NoJob", "A schedule is made of a job: 'Schedule' on its page leads here.")
    job = await job_at(visit, name)
    title = (job["properties"].get("displayName") or name) if "properties" in job else name
    return page("new_schedule.html", visit, job=name, title=title, frequencies=schedule_form.FREQUENCIES)


async def preview(visit: Visit) -> Response:
    document = _document(visit)
    file, command = "schedule.yml", "az ml schedule create"
    yaml, code = dump(document), schedule_form.sdk_code(document)
    return page("making_preview.html", visit, yaml=yaml, code=code, file=file, command=command)


async def submit(visit: Visit) -> Response:
    document = _document(visit)
    properties = schedule_form.sent(document, visit.fields["job"])
    new, name = {"if-none-match": "*"}, segment("name", document["name"])
    await visit.api.put(f"{visit.workspace}/schedules/{name}", {"properties": properties}, headers=new)
    return RedirectResponse(visit.link(f"/schedules/{quote(name)}"), 303, HEADERS)


def _document(visit: Visit) -> Document:
    try:
        return schedule_form.document(visit.fields, visit.fields.get("job", ""))
    except Faulty as error:
        raise as_refused(error) from None


ROUTES = (
    get("/schedules/new", show),
    post("/schedules/new/preview", preview),
    post("/schedules/new", submit),
)
