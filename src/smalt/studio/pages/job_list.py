"""The list of jobs: which ones, in which order and with which columns its URL says; a page at a time, or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from smalt.store.document import Document
from smalt.studio.pages import job_columns
from smalt.studio.pages.job_columns import KNOWN, Column
from smalt.studio.pages.job_search import Asked, jobs_of
from smalt.studio.pages.jobs import PAGE, STATUSES, TYPES, shown
from smalt.studio.pages.many_jobs import MOST
from smalt.studio.pages.views import of_list
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get
from smalt.studio.visit import Visit

CSV_MOST = 10_000  # rows
_CSV_PAGE = 500
_LOOKS_MOST = 5  # each at 2000 jobs, where the API filters
_OFFERED_FROM, _OFFERED_MOST = 10, 200  # jobs whose metrics and parameters are offered as columns; how many of them
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would work out, of a text


async def show(visit: Visit) -> Response:
    asked = Asked.of(visit.http.query_params)
    cursor = await visit.cursor()
    columns = job_columns.read(visit.http.query_params.get("columns", ""))
    documents, more, wrong = list[Document](), None, ""
    try:
        documents, more = await jobs_of(visit, asked, PAGE)
    except Refused as error:
        if error.status != 400 or not asked.by_runs:
            raise
        wrong = error.message
    jobs = [shown(one) for one in documents]
    offered = await _offered(visit, jobs)
    return page(
        "jobs.html",
        visit,
        cursor=cursor,
        asked=asked,
        wrong=wrong,
        more=more,
        columns=columns,
        rows=await _rows(visit, jobs, columns),
        offered=offered,
        statuses=STATUSES,
        types=TYPES,
        csv_most=CSV_MOST,
        many_most=MOST,
        of=visit.link("/jobs", **asked.chosen, view=asked.view, filter=asked.like),
        views=await of_list(visit, "jobs"),
    )


async def as_csv(visit: Visit) -> Response:
    """All jobs of the list, not only a page of it: at most CSV_MOST, the first in its order."""
    asked = Asked.of(visit.http.query_params)
    columns = job_columns.read(visit.http.query_params.get("columns", ""))
    first = await jobs_of(visit, asked, _CSV_PAGE)  # before it begins, what is refused can still be said
    headers = {**HEADERS, "Content-Disposition": 'attachment; filename="jobs.csv"'}
    return StreamingResponse(_lines(visit, asked, columns, first), 200, headers, "text/csv; charset=utf-8")


async def names(visit: Visit) -> Response:
    """`names` of the first jobs of the whole list, as many as are done with at once; `more`: there are others, too."""
    asked = replace(Asked.of(visit.http.query_params), after="")
    found, more = await jobs_of(visit, asked, MOST)
    looks = 1
    while more and len(found) < MOST and looks < _LOOKS_MOST:
        further, more = await jobs_of(visit, replace(asked, after=more), MOST - len(found))
        found, looks = [*found, *further], looks + 1
    return JSONResponse({"names": [one["name"] for one in found], "more": more is not None}, headers=HEADERS)


async def _lines(
    visit: Visit, asked: Asked, columns: Sequence[Column], found: tuple[list[Document], str | None]
) -> AsyncIterator[str]:
    yield _line(["name", "display name", "status", *(one.spelled for one in columns)])
    sent = 0
    while True:
        documents, more = found
        jobs = [shown(one) for one in documents][: CSV_MOST - sent]
        for job, cells in await _rows(visit, jobs, columns):
            yield _line([job["name"], job["title"], job["status"], *cells])
        sent += len(jobs)
        if more is None or sent >= CSV_MOST:
            return
        found = await jobs_of(visit, replace(asked, after=more), _CSV_PAGE)


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(
        [
            f"'{one}" if isinstance(one, str) and one.startswith(_FORMULA) and not _is_number(one) else one
            for one in cells
        ]
    )
    return text.getvalue()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


async def _rows(
    visit: Visit, jobs: Sequence[dict[str, Any]], columns: Sequence[Column]
) -> list[tuple[dict[str, Any], list[Any]]]:
    """Each job with its cells."""
    values: Any = {}
    if jobs and job_columns.needs_values(columns):
        names = [job["name"] for job in jobs]
        values = await visit.logged.values(visit.workspace.key, names, job_columns.logged_keys(columns))
    return [(job, [one.of(job, values.get(job["name"])) for one in columns]) for job in jobs]


async def _offered(visit: Visit, jobs: Sequence[dict[str, Any]]) -> list[str]:
    """What may be a column: all that is known of every job, and what some of these have logged."""
    some = [job["name"] for job in jobs[:_OFFERED_FROM]]
    values = await visit.logged.values(visit.workspace.key, some) if some else {}
    logged = {f"metrics.{key}" for one in values.values() for key in one.metrics}
    logged |= {f"params.{key}" for one in values.values() for key in one.params}
    tags = {f"tags.{key}" for job in jobs for key in job["tags"]}
    return [*KNOWN, *sorted(one for one in logged | tags if "," not in one)[:_OFFERED_MOST]]


ROUTES = (get("/jobs", show), get("/jobs.csv", as_csv), get("/jobs.json", names))
