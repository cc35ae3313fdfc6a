"""Requests that sign somebody in have an id, as all others do: it stands in the answer and in the feed."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from smalt.store import author

Handler = Callable[[Request], Awaitable[Response]]


def traced(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        request_id = str(uuid.uuid4())
        with author.on_behalf(request_id):
            response = await handler(request)
        response.headers["x-ms-request-id"] = request_id
        return response

    return answer
