"""The way of a browser to a service of a job: from the platform's origin, where it is known, to the service's own."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from smalt.arm.errors import ArmError
from smalt.arm.services import Place
from smalt.auth.sessions import Sessions
from smalt.web.services import ServiceDoors


@dataclass(frozen=True)
class ServicePages:
    """A session of the platform opens services, too; its cookie stays here, and the service has one of its own."""

    sessions: Sessions
    doors: ServiceDoors

    async def open(self, http: HttpRequest) -> Response:
        """`/services/open?service={place}&to={path}`: where a service sends who has no cookie of its own."""
        principal = self.sessions.read("GET", http.scope["headers"])
        if principal is None:
            return PlainTextResponse(
                "Open the login link that `smalt up` prints, and then this page again.\n", status_code=401
            )
        place = Place.read(http.query_params.get("service", ""))
        if place is None:
            return PlainTextResponse("The link names no service.\n", status_code=400)
        try:
            link = await run_in_threadpool(self.doors.link, principal, place, http.query_params.get("to", "/"))
        except ArmError as error:
            return PlainTextResponse(f"{error.message}\n", status_code=error.status)
        return RedirectResponse(link, 303, {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"})
