"""The routes of the Studio: `/studio/…`, for browsers with a session."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from smalt.arm.errors import ArmError
from smalt.arm.outage import outage
from smalt.auth.sessions import Sessions
from smalt.studio import endpoints, home, job, jobs
from smalt.studio.metrics import Measurements
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.visit import ROOT, Visit

log = logging.getLogger("smalt.studio")
STATIC = Path(__file__).parent / "static"
Handler = Callable[[Visit], Awaitable[Response]]


class StudioApp:
    """An ASGI app for `/studio` and what is below it. `platform` answers the API: the whole server."""

    def __init__(self, sessions: Sessions, measured: Measurements, platform: Callable[[], ASGIApp]) -> None:
        self._sessions, self._platform = sessions, platform
        one, pages = f"{ROOT}/jobs/{{name}}", job.Pages(measured)
        self._app = Starlette(
            routes=[
                Mount(f"{ROOT}/static", _Files(directory=STATIC)),
                Route(f"{ROOT}/sign-in", _sign_in, methods=["GET"]),
                self._route(ROOT, home.show),
                self._route(f"{ROOT}/", home.show),
                self._route(f"{ROOT}/workspaces", home.workspaces),
                self._route(f"{ROOT}/jobs", jobs.show),
                self._route(f"{ROOT}/endpoints", endpoints.show),
                self._route(f"{ROOT}/endpoints/{{name}}", endpoints.show_one),
                self._route(f"{ROOT}/endpoints/{{name}}/numbers", endpoints.numbers),
                self._route(one, pages.show),
                self._route(f"{one}/metrics", pages.points),
                self._route(f"{one}/mlflow", pages.mlflow),
                self._route(f"{one}/logs", job.logs),
                self._route(f"{one}/cancel", job.cancel, "POST"),
                self._route(f"{one}/archive", job.archive, "POST"),
                self._route(f"{one}/restore", job.restore, "POST"),
            ],
            exception_handlers={404: _nothing, 405: _nothing},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _route(self, path: str, handler: Handler, method: str = "GET") -> Route:
        async def answer(http: HttpRequest) -> Response:
            visit = None
            try:
                visit = Visit.read(http, self._sessions, self._platform())
                if visit is None:
                    return _stranger(http)
                if method == "POST":
                    await visit.check_form()
                return await handler(visit)
            except Refused as error:
                return page("error.html", visit, error.status, code=error.code, message=error.message)
            except Exception as error:  # the edge
                log.exception("%s %r failed", http.method, http.scope["path"])
                message = "The server failed on this page; its log (server.log) has the cause."
                known = outage(error) or ArmError(500, "InternalServerError", message)
                return page("error.html", visit, known.status, code=known.code, message=known.message)

        return Route(path, answer, methods=[method])


class _Files(StaticFiles):
    """Asked for anew each time, so that pages of a newer Smalt have its scripts: nearly always the answer is a 304."""

    def file_response(self, *given: Any, **named: Any) -> Response:
        answer = super().file_response(*given, **named)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def _stranger(http: HttpRequest) -> Response:
    """To the page that says how to sign in; a form or a script of ours that has no session any more is refused."""
    if http.method != "GET" or http.headers.get("sec-fetch-mode") not in (None, "navigate"):
        message = "There is no session, or it has ended, or this form was sent by another page."
        return page("error.html", None, 403, code="NoSession", message=message)
    query = http.scope["query_string"].decode("latin-1")
    back = http.scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"{ROOT}/sign-in?next={quote(back)}", 303, HEADERS)


async def _sign_in(http: HttpRequest) -> Response:
    return page("sign_in.html", None, back=http.query_params.get("next", ROOT)[:2000])


async def _nothing(http: HttpRequest, _: Any) -> Response:
    message = f"There is no page {http.scope['path'][:200]} here."
    return page("error.html", None, 404, code="NotFound", message=message)
