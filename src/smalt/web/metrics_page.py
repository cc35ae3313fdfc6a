"""`GET /metrics`: what was recorded since the server started, for Prometheus. It asks for a token, as all routes do."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from smalt.arm.router import Authenticate, Authorize
from smalt.metrics.prometheus import CONTENT_TYPE, text
from smalt.metrics.recorder import Recorder

READ = "Microsoft.Insights/metrics/read"


class MetricsPage:
    """`authenticate` raises ArmError(401), `authorize` ArmError(403): it shows all workspaces."""

    def __init__(self, recorder: Recorder, authenticate: Authenticate, authorize: Authorize) -> None:
        self._recorder = recorder
        self._authenticate = authenticate
        self._authorize = authorize

    async def answer(self, http: Request) -> Response:
        principal = self._authenticate(http.scope)
        await run_in_threadpool(self._authorize, principal, READ, "/")
        return Response(await run_in_threadpool(lambda: text(self._recorder.totals())), media_type=CONTENT_TYPE)
