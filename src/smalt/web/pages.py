"""Addresses that lead a browser to the Studio: the platform's own, and the older link of a job."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response


class Pages:
    """They ask for no session: the Studio does, and says there how to get one."""

    async def home(self, http: HttpRequest) -> Response:
        return RedirectResponse("/studio", 303)

    async def job(self, http: HttpRequest) -> Response:
        """`/jobs/{name}?wsid={workspace}`: the link that clients of earlier versions printed beside a job's name."""
        query = urlencode({"wsid": http.query_params.get("wsid", "")})
        return RedirectResponse(f"/studio/jobs/{quote(http.path_params['name'])}?{query}", 303)
