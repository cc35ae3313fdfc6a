"""Routes without a protocol of their own: the login's, health, pip constraints, pages; and what no route answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from smalt.arm.errors import ArmError
from smalt.arm.outage import outage
from smalt.arm.router import error_response
from smalt.web import extension
from smalt.web.metrics_page import MetricsPage
from smalt.web.pages import Pages
from smalt.web.service_pages import ServicePages
from smalt.web.services import OPEN

CONSTRAINTS = Path(__file__).parents[1] / "cli" / "quickstart"


def open_routes(
    url: str, login: Sequence[BaseRoute], pages: Pages, metrics: MetricsPage, services: ServicePages
) -> Starlette:
    """What is asked without a token. `url` is the platform's own."""
    return Starlette(
        routes=[
            *login,
            *extension.routes(url),
            Route("/metrics", metrics.answer, methods=["GET"]),
            Route("/healthz", _health, methods=["GET"]),
            Route("/constraints/{name}", _constraints, methods=["GET"]),
            Route("/", pages.home, methods=["GET"]),
            Route("/jobs/{name}", pages.job, methods=["GET"]),
            Route(OPEN, services.open, methods=["GET"]),
        ],
        exception_handlers={
            ArmError: _refused,
            404: _unknown_path,
            405: _unknown_path,
            ClientDisconnect: _incomplete,
            OperationalError: _away,
        },
    )


async def _incomplete(_: HttpRequest, __: Exception) -> Response:
    return error_response(ArmError(400, "RequestIncomplete", "The connection ended before the body did."))


async def _refused(_: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, ArmError)
    return error_response(error)


async def _away(_: HttpRequest, error: Exception) -> Response:
    known = outage(error)
    if known is None:
        raise error
    return error_response(known)


async def _health(_: HttpRequest) -> Response:
    return JSONResponse({"status": "ok"})


async def _unknown_path(http: HttpRequest, _: Exception) -> Response:
    message = f"{http.method} {http.url.path[:200]} is not a route of this server."
    return error_response(ArmError(404, "NotFound", message, target="path"))


async def _constraints(http: HttpRequest) -> Response:
    """pip constraints with which a client version is known to work: /constraints/azure-ai-ml-1.35.2.txt"""
    version = http.path_params["name"].removeprefix("azure-ai-ml-").removesuffix(".txt")
    known = await run_in_threadpool(_tested)
    if version not in known:
        versions = ", ".join(sorted(known))
        return PlainTextResponse(f"No constraints for '{version[:40]}'; tested versions: {versions}\n", status_code=404)
    return PlainTextResponse(known[version])


@cache
def _tested() -> dict[str, str]:
    return {path.stem.removeprefix("constraints-"): path.read_text() for path in CONSTRAINTS.glob("constraints-*.txt")}
