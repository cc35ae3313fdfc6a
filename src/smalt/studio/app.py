"""The routes of the Studio: `/studio/…`, for browsers with a session."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from smalt.arm.errors import ArmError
from smalt.arm.outage import outage
from smalt.auth.sessions import Sessions
from smalt.auth.shared_links import SharedLinks
from smalt.settings import Settings
from smalt.studio.metrics import Logged, Measurements
from smalt.studio.navigation import area_of
from smalt.studio.pages import (
    activity,
    alert,
    alerts,
    batch_endpoints,
    code_diff,
    compare,
    components,
    compute,
    computes,
    connect,
    data,
    datastores,
    endpoint,
    endpoint_actions,
    endpoints,
    environments,
    find,
    home,
    job,
    job_files,
    job_list,
    job_shell,
    job_use,
    many_jobs,
    models,
    new_asset,
    new_batch_endpoint,
    new_component,
    new_endpoint,
    new_environment,
    new_job,
    new_schedule,
    schedules,
    settings,
    shared_links,
    sweep,
    views,
)
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import Page
from smalt.studio.visit import ROOT, SHARE, Visit, workspace_of

log = logging.getLogger("smalt.studio")
STATIC = Path(__file__).parent / "static"
VENDORED = STATIC / "vendor"  # what comes of npm's registry
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # hosts of a platform that only its own machine reaches
_PLACE = re.compile(r"^properties\.[^:\s]*: ")  # how the API's messages begin: not where they stand at the field
FORM = "smalt-form"  # a header: the form was sent by a script, and the page stays
ROUTES = tuple(
    one
    for module in (
        home, find, activity, connect, settings, shared_links,
        job_list, views, many_jobs, code_diff, compare, new_job, job, job_files, job_shell, job_use, sweep,
        new_schedule, schedules,
        endpoints, new_endpoint, endpoint, endpoint_actions,
        new_batch_endpoint, batch_endpoints, alerts, alert,
        computes, compute,
        new_asset, new_environment, new_component, data, models, datastores, environments, components,
    )
    for one in module.ROUTES
)  # fmt: skip


class StudioApp:
    """An ASGI app for `/studio` and what is below it. `platform` answers the API: the whole server."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        measured: Measurements,
        platform: Callable[[], ASGIApp],
        links: SharedLinks,
    ) -> None:
        self._settings, self._sessions, self._links = settings, sessions, links
        self._platform, self._logged = platform, Logged(measured)
        self._app = Starlette(
            routes=[
                Mount(f"{ROOT}/static", _Files(directory=STATIC)),
                Route(f"{ROOT}/sign-in", self._sign_in, methods=["GET"]),
                *map(self._route, ROUTES),
            ],
            exception_handlers={404: _nothing, 405: self._only_sent},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _route(self, one: Page) -> Route:
        async def answer(http: HttpRequest) -> Response:
            visit = None
            try:
                visit = await self._visit(http, one)
                if visit is None:
                    return _stranger(http)
                if one.method == "POST":
                    await visit.read_form()
                return _placed(http, await one.handler(visit))
            except Refused as error:
                return _refused(http, visit, error.status, error.code, error.message, error.details)
            except Exception as error:  # the edge
                log.exception("%s %r failed", http.method, http.scope["path"])
                message = "The server failed on this page; its log (server.log) has the cause."
                known = outage(error) or ArmError(500, "InternalServerError", message)
                return _refused(http, visit, known.status, known.code, known.message)

        return Route(ROOT + one.path, answer, methods=[one.method])

    async def _visit(self, http: HttpRequest, one: Page) -> Visit | None:
        """None without a session. With a shared link only that counts. Raises Refused."""
        given = http.query_params.get(SHARE)
        if given is None:
            return Visit.read(http, self._settings, self._sessions, self._platform(), self._logged)
        shared = await run_in_threadpool(self._links.open, workspace_of(http), given)
        if shared is None:
            message = "This link is over, or was taken back. Whoever sent it can make another."
            raise Refused(403, "LinkIsOver", message)
        visit = Visit.of_guest(http, self._settings, self._sessions, self._platform(), self._logged, shared)
        if not one.shared or not visit.shows(quote(http.scope["path"].removeprefix(ROOT))):
            raise Refused(403, "NotShared", "The link that you were given shows one page, and this is another.")
        return visit

    async def _only_sent(self, http: HttpRequest, error: Any) -> Response:
        """An address that only forms have, opened in a browser: to the page above it."""
        above = http.scope["path"]
        while http.method == "GET" and above.startswith(f"{ROOT}/"):
            above = above.rpartition("/")[0]
            asked = {**http.scope, "path": above if above != ROOT else f"{ROOT}/", "raw_path": b""}
            if any(one.matches(asked)[0] is Match.FULL for one in self._app.routes):
                return RedirectResponse(f"{quote(above)}?{http.scope['query_string'].decode('latin-1')}", 303, HEADERS)
        return await _nothing(http, error)

    async def _sign_in(self, http: HttpRequest) -> Response:
        """Strangers of other machines are not told where the root is."""
        root = shlex.quote(str(self._settings.root)) if self._settings.host in LOOPBACK else ""
        return page("sign_in.html", None, back=http.query_params.get("next", ROOT)[:2000], root=root)


def _placed(http: HttpRequest, answer: Response) -> Response:
    """A script that sends a form (`forms.js`) is told where to go, and goes there itself."""
    if FORM not in http.headers or not 300 <= answer.status_code < 400:
        return answer
    return JSONResponse({"to": answer.headers["location"]}, headers=HEADERS)


def _refused(
    http: HttpRequest,
    visit: Visit | None,
    status: int,
    code: str,
    message: str,
    details: Sequence[tuple[str, str]] = (),
) -> Response:
    """A page; or what such a script shows beside the form and at its fields, so that nothing that was typed is lost."""
    if FORM in http.headers:
        fields = [{"target": target, "message": _PLACE.sub("", said)} for target, said in details if target]
        return JSONResponse({"status": status, "code": code, "message": message, "fields": fields}, headers=HEADERS)
    place = area_of(http.scope["path"].removeprefix(ROOT))
    return page("error.html", visit, status, missing=status == 404, code=code, message=message, place=place)


class _Files(StaticFiles):
    """Asked for anew each time, so that pages of a newer Smalt have its scripts: nearly always the answer is a 304."""

    def file_response(self, *given: Any, **named: Any) -> Response:
        answer = super().file_response(*given, **named)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def _stranger(http: HttpRequest) -> Response:
    """To the page that says how to sign in; a form or a script of ours that has no session any more is refused."""
    if http.method != "GET" or http.headers.get("sec-fetch-mode") not in (None, "navigate"):
        message = "There is no session, or it has ended, or this form was sent by another page. Sign in, and try again."
        return _refused(http, None, 403, "NoSession", message)
    query = http.scope["query_string"].decode("latin-1")
    back = http.scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"{ROOT}/sign-in?next={quote(back)}", 303, HEADERS)


async def _nothing(http: HttpRequest, _: Any) -> Response:
    message = f"There is no page {http.scope['path'][:200]} here."
    return _refused(http, None, 404, "NotFound", message)
