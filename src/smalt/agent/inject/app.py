"""The routes: what Azure's inference server answers, for requests that come one by one from the HTTP layer.

`/score`, `/swagger.json` and `/` are Azure's; `/health`, `/ready` and `/metrics` are ours. All methods run in the HTTP
thread; the model is called by the workers, whose results come back through `loop.call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import OrderedDict
from urllib.parse import parse_qsl

from . import streaming
from .collected import RESPONSE, Collected
from .config import AzureSettings, ServeConfig
from .cors import Cors
from .http1 import Connection, Request, Response, Site
from .metrics import Metrics
from .outcome import JSON, TEXT, Outcome, error, model_error, to_json
from .swagger import Swagger, SwaggerError
from .workers import Job, Pool

HEADER_LIMIT = 100
STUCK_GRACE_S = 30
CHECK_S = 0.25  # how late a scoring timeout may be in threads that have no alarm signal
FROM_ENVOY = "x-envoy-expected-rq-timeout-ms"  # Envoy gives a request to another instance until it is told not to
NOT_FOUND = (
    "The requested URL was not found on the server. If you entered the URL manually please check your spelling "
    "and try again."
)
NOT_ALLOWED = "The method is not allowed for the requested URL."
METHODS = {
    "/score": ("GET", "HEAD", "POST", "OPTIONS"),
    "/swagger.json": ("GET", "HEAD", "OPTIONS"),
    "/": ("GET", "HEAD", "OPTIONS"),
    "/health": ("GET", "HEAD", "OPTIONS"),
    "/ready": ("GET", "HEAD", "OPTIONS"),
    "/metrics": ("GET", "HEAD", "OPTIONS"),
}


class App:
    """One deployment's server. It answers 503 until `serve` has given it a loaded model."""

    def __init__(
        self,
        config: ServeConfig,
        settings: AzureSettings,
        loop: asyncio.AbstractEventLoop,
        collected: Collected | None = None,
    ) -> None:
        self._config = config
        self._settings = settings
        self._loop = loop
        self._collected = collected
        self._logger = logging.getLogger("smalt.inference")
        self._cors = Cors(settings.cors_origins)
        self._pool: Pool | None = None
        self._swagger: Swagger | None = None
        self._timeout_s = config.request_timeout_s or float("inf")
        # All have the same timeout, so the first is the first to end. Answered ones are out: they hold their bodies.
        self._deadlines: OrderedDict[Job, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self.metrics = Metrics()
        self.site = Site(loop, config.max_body_bytes)

    def connection(self) -> Connection:
        return Connection(self.handle, self.refuse, self.site)

    def serve(self, pool: Pool, swagger: Swagger) -> None:
        """From now on requests are scored."""
        self._swagger = swagger
        self._pool = pool
        if pool.has_threads:
            self._check_threads()

    def done(self, jobs: list[Job], outcomes: list[Outcome] | None) -> None:
        """The workers' way back; called in their threads."""
        self._loop.call_soon_threadsafe(self._finish, jobs, outcomes)

    def handle(self, request: Request, connection: Connection) -> None:
        methods = METHODS.get(request.path)
        if methods is None or request.method not in methods:
            outcome = error(404, NOT_FOUND) if methods is None else error(405, NOT_ALLOWED)
            self._reply(request, connection, outcome, [])
            return
        ids, refusal = self._request_ids(request)
        if refusal is not None:
            self._reply(request, connection, refusal, ids)
        elif request.path == "/score":
            self._score(request, connection, ids)
        elif request.method == "OPTIONS":
            headers = [("Content-Type", TEXT), ("Allow", ", ".join(methods))]
            self._reply(request, connection, Outcome(200, b"", headers), ids)
        else:
            self._reply(request, connection, self._get(request), ids)

    def refuse(self, status: int, message: str) -> Response:
        """For what is not a request at all."""
        outcome = error(status, message)
        return Response(status, outcome.body, outcome.headers)

    def _get(self, request: Request) -> Outcome:
        if request.path == "/metrics":
            text = self.metrics.text(self._collected.metrics() if self._collected else [])
            return Outcome(200, text, [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")])
        if self._pool is None and request.path == "/health":
            return Outcome(200, b"Loading", [("Content-Type", TEXT)])  # it lives, however long its model takes
        if self._pool is None:
            return _loading()
        if request.path == "/swagger.json":
            return self._describe(request)
        if self._pool.stuck(STUCK_GRACE_S):
            return error(503, f"The model has not come back {STUCK_GRACE_S} s after the end of its time.")
        return Outcome(200, b"Healthy", [("Content-Type", TEXT)])

    def _describe(self, request: Request) -> Outcome:
        assert self._swagger is not None
        version = dict(reversed(parse_qsl(request.query, keep_blank_values=True))).get("version", "2")
        try:
            document = self._swagger.document(version)
        except SwaggerError as ex:
            return error(404, str(ex))
        return Outcome(200, to_json(document), [("Content-Type", JSON), ("x-ms-run-function-failed", "False")])

    def _score(self, request: Request, connection: Connection, ids: list[tuple[str, str]]) -> None:
        if self._pool is None:
            self._reply(request, connection, _loading(), ids)
            return
        if self.metrics.in_flight >= self._config.most_at_once:
            self._reply(request, connection, _too_many(), ids)
            return
        job = Job(request, request.arrived + self._timeout_s)
        if FROM_ENVOY in request.headers and self._pool.scorer.once:
            job.tell = connection.processing()

        def reply(outcome: Outcome) -> None:
            job.ends()
            self._deadlines.pop(job, None)
            self.metrics.in_flight -= 1
            self.metrics.scored(outcome.status, outcome.failed, time.perf_counter() - request.arrived)
            if not connection.end(whole=outcome.pieces is not None):
                self._reply(request, connection, outcome, ids)
            if self._collected is not None:
                self._collected.exchange(request, outcome, random.random())

        def lost() -> None:
            if not job.answered:
                reply(error(499, "The client has closed the connection."))

        def begin(outcome: Outcome) -> None:
            if not job.answered:
                self._reply(request, connection, outcome, ids)

        job.reply, job.begin, job.more = reply, begin, connection.more
        connection.on_lost = lost
        self.metrics.in_flight += 1
        if self._config.request_timeout_s:
            self._deadlines[job] = None
            self._arm()
        self._pool.put(job)

    def stream(self, job: Job, outcome: Outcome) -> None:
        """Sends an answer in pieces; called in the thread that scores. What the pieces raise breaks the answer off."""
        assert outcome.pieces is not None
        keep = self._collected is not None and self._collected.rate(RESPONSE) > 0
        try:
            streaming.send(job, outcome, outcome.pieces, self._loop, keep)
        except Exception:  # said by whom it is from
            outcome.pieces, outcome.failed, outcome.status = None, True, 424

    def _finish(self, jobs: list[Job], outcomes: list[Outcome] | None) -> None:
        self.metrics.batch(len(jobs), jobs[0].ended - jobs[0].taken)
        for job in jobs:
            self.metrics.waited(job.taken - job.request.arrived)
        for index, job in enumerate(jobs):
            if job.answered:
                continue
            if outcomes is None:
                job.reply(self._timed_out(job))
            elif index < len(outcomes):
                job.reply(outcomes[index])
            else:
                job.reply(error(500, "An unexpected internal error occurred. Check the logs for more info."))

    def _timed_out(self, job: Job) -> Outcome:
        if time.perf_counter() >= job.deadline - 0.005:
            return self._late()
        self._logger.error("run() did not end within SCORING_TIMEOUT_MS (%s ms)", self._settings.scoring_timeout_ms)
        return model_error(f"Scoring timeout after {self._settings.scoring_timeout_ms} ms")

    def _late(self) -> Outcome:
        seconds = self._config.request_timeout_s
        self._logger.error("a request was not answered within the deployment's request timeout (%g s)", seconds)
        return error(
            408, f"The request was not answered within the deployment's timeout of {seconds:g} s.", failed=True
        )

    def _arm(self) -> None:
        if self._timer is None and self._deadlines:
            delay = next(iter(self._deadlines)).deadline - time.perf_counter()
            self._timer = self._loop.call_later(max(delay, 0), self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = time.perf_counter()
        while self._deadlines and (job := next(iter(self._deadlines))).deadline <= now:
            job.reply(self._late())
        self._arm()

    def _check_threads(self) -> None:
        if self._pool is not None and self.metrics.in_flight:
            self._pool.check()
        self._loop.call_later(CHECK_S, self._check_threads)

    def _request_ids(self, request: Request) -> tuple[list[tuple[str, str]], Outcome | None]:
        """The id headers of the answer. `x-ms-request-id` used to be the client's own id and is still taken as it."""
        headers = request.headers
        ids: list[tuple[str, str]] = []
        request_id = headers.get("x-request-id") or ("" if "x-request-id" in headers else str(uuid.uuid4()))
        if len(request_id) > HEADER_LIMIT:
            return ids, error(431, f"x-request-id must not exceed {HEADER_LIMIT} characters")
        if request_id:
            ids.append(("x-request-id", request_id))
            request.id = request_id
        legacy = headers.get("x-ms-request-id", "")
        client = headers.get("x-ms-client-request-id", "") or legacy
        legacy = legacy or client or request_id
        if len(legacy) > HEADER_LIMIT or len(client) > HEADER_LIMIT:
            message = f"x-ms-request-id and x-ms-client-request-id must not exceed {HEADER_LIMIT} characters"
            return ids, error(431, message)
        if legacy:
            ids.append(("x-ms-request-id", legacy))
        if client:
            ids.append(("x-ms-client-request-id", client))
        if "traceid" in headers:
            ids.append(("TraceId", headers["traceid"]))
        return ids, None

    def _reply(self, request: Request, connection: Connection, outcome: Outcome, ids: list[tuple[str, str]]) -> None:
        headers = outcome.headers + ids
        if ids or request.path in METHODS:
            if self._settings.server_version:
                headers.append(("x-ms-server-version", self._settings.server_version))
            if self._cors.enabled:
                headers += self._cors.headers(request.method, request.headers)
        if self._config.access_log and request.path in ("/score", "/swagger.json"):
            took = (time.perf_counter() - request.arrived) * 1000
            length = len(outcome.body)
            self._logger.info("%s %s %s %.3fms %s", request.method, request.target, outcome.status, took, length)
        (connection.begin if outcome.pieces is not None else connection.send)(
            Response(outcome.status, outcome.body, headers)
        )


def _too_many() -> Outcome:
    outcome = error(429, "More requests wait for this deployment than it can take. Try again later.")
    outcome.headers.append(("Retry-After", "1"))
    return outcome


def _loading() -> Outcome:
    outcome = error(503, "The model is being loaded.")
    outcome.headers.append(("Retry-After", "1"))
    return outcome
