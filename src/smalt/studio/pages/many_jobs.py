"""What is done with many jobs at once: canceled, archived, tagged, run again, compared. The API decides of each."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.arm.kind import NAME
from smalt.studio.documents.job_form import pairs
from smalt.studio.documents.written import Faulty
from smalt.studio.pages import again
from smalt.studio.pages.compare import address_of
from smalt.studio.pages.rehearsed import as_refused
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import post
from smalt.studio.visit import ROOT, Visit

MOST = 500
_NAME = re.compile(NAME)
_AT_ONCE = 4  # what one person asks for takes no more of the server
CHOSEN = "job."  # how a form's field of a job begins
DONE = "#done"  # at the end of the list's address: the choice that its script keeps (`static/many.js`) is over
Act = Callable[[Visit, str], Awaitable[None]]


async def act(visit: Visit) -> Response:
    """`verb` for each job that has a field `job.NAME`; what was refused is listed, else one is back in the list."""
    names = [name.removeprefix(CHOSEN) for name in visit.fields if name.startswith(CHOSEN)]
    verb = visit.fields.get("verb", "")
    if not names:
        raise Refused(400, "NothingChosen", "No job was chosen: go back, and mark some in the list.")
    if wrong := next((name for name in names if not _NAME.fullmatch(name)), None):
        raise Refused(400, "InvalidName", f"{wrong[:80]!r} is no name of a job.")
    if len(names) > MOST:
        raise Refused(400, "TooMany", f"At most {MOST} jobs can be chosen at once; these are {len(names)}.")
    if verb == "compare":
        return RedirectResponse(await address_of(visit, names), 303, HEADERS)
    if verb not in ACTS:
        raise Refused(400, "UnknownVerb", f"Many jobs can be {', '.join(ACTS)}; not {verb[:40]!r}.")
    refused = await _each(visit, ACTS[verb], names)
    back = visit.fields.get("back", "")
    back = (back if back.startswith(f"{ROOT}/") else visit.link("/jobs")) + DONE
    if not refused:
        return RedirectResponse(back, 303, HEADERS)
    return page("many_jobs.html", visit, 409, verb=verb, refused=refused, done=len(names) - len(refused), back=back)


async def _each(visit: Visit, do: Act, names: Sequence[str]) -> list[tuple[str, Refused]]:
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> Refused | None:
        async with turn:
            try:
                await do(visit, name)
            except Refused as error:
                return error
        return None

    found = await asyncio.gather(*map(one, names))
    return [(name, error) for name, error in zip(names, found, strict=True) if error is not None]


async def _cancel(visit: Visit, name: str) -> None:
    await visit.api.post(f"{visit.workspace}/jobs/{name}/cancel")


async def _archive(visit: Visit, name: str) -> None:
    await visit.api.patch(f"/history/v1.0{visit.workspace}/runs/{name}", {"hidden": True})


async def _restore(visit: Visit, name: str) -> None:
    await visit.api.patch(f"/history/v1.0{visit.workspace}/runs/{name}", {"hidden": False})


async def _tag(visit: Visit, name: str) -> None:
    try:
        tags = pairs(visit.fields.get("tag", ""), "tag")
    except Faulty as error:
        raise as_refused(error, "NoTag") from None
    if not tags:
        raise Refused(400, "NoTag", "Write the tag as NAME=VALUE.")
    await visit.api.patch(f"/history/v1.0{visit.workspace}/runs/{name}", {"tags": tags})


async def _again(visit: Visit, name: str) -> None:
    await again.submit(visit, name, f"{name[:200]}-again-{time.time_ns() // 1_000_000}")


ACTS: dict[str, Act] = {"cancel": _cancel, "archive": _archive, "restore": _restore, "tag": _tag, "again": _again}


async def run_again(visit: Visit) -> Response:
    """One job once more; one is on the new one's page then."""
    name = str(visit.http.path_params["name"])
    new = f"{name[:200]}-again-{time.time_ns() // 1_000_000}"
    await again.submit(visit, name, new)
    return RedirectResponse(visit.link(f"/jobs/{quote(new)}"), 303, HEADERS)


ROUTES = (post("/jobs/many", act), post("/jobs/{name}/again", run_again))
