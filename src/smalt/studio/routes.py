"""How a module of `pages/` says what it answers: `ROUTES = (get("/jobs", show), post("/jobs/{name}/stop", stop))`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from starlette.responses import Response

from smalt.studio.visit import Visit

Handler = Callable[[Visit], Awaitable[Response]]


class Page(NamedTuple):
    """`path` is below `/studio`. The form of a POST has been checked when `handler` is called. `shared`: a guest may
    come here, where it is part of the page that a link shows him."""

    path: str
    handler: Handler
    method: Literal["GET", "POST"]
    shared: bool = False


def get(path: str, handler: Handler, shared: bool = False) -> Page:
    return Page(path, handler, "GET", shared)


def post(path: str, handler: Handler) -> Page:
    return Page(path, handler, "POST")
