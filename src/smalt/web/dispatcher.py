"""Which part of the server answers a request: decided by its path alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smalt.blob.names import is_blob_request
from smalt.tracking.dataplane.datastores import DatastoreApp
from smalt.tracking.dataplane.history import HistoryApp
from smalt.tracking.edge.app import TrackingApp
from smalt.web.nodes import NodesApp
from smalt.web.refusals import after_the_body
from smalt.web.refused import RefusedApp
from smalt.web.registries import RegistryApp
from smalt.web.visits import VisitApp

# As for Azure, two slashes are one here: clients write /{scope}/providers/… with a scope that begins with one itself.
ARM_PATH = re.compile(r"//?(subscriptions|providers|tenants)", re.IGNORECASE)
# Azure's own address of what answers for a workspace behind Resource Manager: clients list the jobs of endpoints there.
FRONTEND = re.compile(r"/mferp/managementfrontend(?=/)", re.IGNORECASE)


@dataclass(frozen=True)
class Dispatcher:
    """The first look at a request: whose is it?"""

    blobs: ASGIApp
    tracking: ASGIApp
    history: ASGIApp
    datastores: ASGIApp
    nodes: ASGIApp
    visits: ASGIApp
    registries: ASGIApp
    arm: ASGIApp
    studio: ASGIApp
    open_routes: ASGIApp
    make_room: Callable[[], object] = lambda: None  # SQLite writes before it deletes, also on a full disk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.open_routes(scope, receive, send)
            return
        if scope["method"] == "DELETE":
            self.make_room()
        if is_blob_request(scope):
            await self.blobs(scope, receive, send)
            return
        send = _without_guesses(send)
        for app, handles in ((self.nodes, NodesApp.handles), (self.visits, VisitApp.handles)):
            if handles(scope["path"]):  # conversations, in which either side may speak first
                await app(scope, receive, send)
                return
        receive, send = after_the_body(scope, receive, send)
        if RefusedApp.handles(scope):
            await RefusedApp()(scope, receive, send)
            return
        if RegistryApp.handles(scope["path"]):  # which has its own way with what is behind that address
            await self.registries(scope, receive, send)
            return
        if found := FRONTEND.match(scope["path"]):
            scope = {**scope, "path": scope["path"][found.end() :]}
        if ARM_PATH.match(scope["path"]):
            await self.arm(scope, receive, send)
        elif TrackingApp.handles(scope["path"]):
            await self.tracking(scope, receive, send)
        elif HistoryApp.handles(scope["path"]):
            await self.history(scope, receive, send)
        elif DatastoreApp.handles(scope["path"]):
            await self.datastores(scope, receive, send)
        elif scope["path"] == "/studio" or scope["path"].startswith("/studio/"):
            await self.studio(scope, receive, send)
        else:
            await self.open_routes(scope, receive, send)


def _without_guesses(send: Send) -> Send:
    """Adds what keeps a browser from taking an answer for something else than it says it is."""
    guard = (b"x-content-type-options", b"nosniff")

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and guard not in message["headers"]:
            message = {**message, "headers": [*message["headers"], guard]}
        await send(message)

    return sending
