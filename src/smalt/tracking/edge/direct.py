"""Calls that are answered on MLflow's tables, without MLflow's process: those that jobs make by the thousand.

All else goes on to it (`forward.py`), and so does one of these that is not plain (`store/plain.py`) or to be refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from smalt.arm.threads import Threads
from smalt.settings import Settings
from smalt.tracking.address import Address, mlflow_name
from smalt.tracking.edge.run_edge import RunEdge
from smalt.tracking.edge.translate import default_experiment_in_body, for_plugin, wants_azureml_uris
from smalt.tracking.runs.measured import Measured
from smalt.tracking.store.plain import log_batch, run_of_query
from smalt.tracking.store.searches import search_of
from smalt.tracking.store.tracking_store import TrackingStore

_LOG = re.compile(r"/(?:ajax-)?api/2\.0/mlflow/runs/(log-metric|log-parameter|set-tag|log-batch)")
_SEARCH = re.compile(r"/(?:ajax-)?api/2\.0/(?:preview/)?mlflow/runs/search")
_GET = re.compile(r"/(?:ajax-)?api/2\.0/mlflow/runs/get")
LOG_BATCH_ASYNC = "/api/2.0/preview/mlflow/runs/log-batch-async"  # the plugin's own name for it
_AT_ONCE = 64 * 1024  # a longer body is not read on the event loop
_HEADERS = {"x-content-type-options": "nosniff", "x-frame-options": "SAMEORIGIN"}


@dataclass(frozen=True)
class Direct:
    settings: Settings
    store: TrackingStore
    runs: RunEdge
    threads: Threads
    measured: Measured
    default_experiment: Callable[[str], int]  # of a workspace, by its key

    async def respond(self, request: Request, address: Address, body: bytes, by: str) -> Response | None:
        """None for a request that is MLflow's process to answer. `body` is without encoding; `by` is who asks."""
        query = request.scope["query_string"]
        if request.method == "POST" and not query and _is_json(request):
            if _SEARCH.fullmatch(address.rest):
                return await self._search(request, address, body)
            found = _LOG.fullmatch(address.rest)
            call = found[1] if found else "log-batch" if address.rest == LOG_BATCH_ASYNC else ""
            return await self._log(call, address, body, by) if call else None
        if request.method == "GET" and query and not body and _GET.fullmatch(address.rest):
            return await self._get(request, address, query.decode("latin-1"))
        return None

    async def _log(self, call: str, address: Address, body: bytes, by: str) -> Response | None:
        name = mlflow_name(address.workspace)
        if len(body) <= _AT_ONCE:
            batch = log_batch(call, name, body)
        else:
            batch = await self.threads.run(log_batch, call, name, body)
        if batch is None or not await self.store.log(batch):
            return None
        if batch.tags:
            await self.threads.run(self.runs.after, address.rest, body, b"{}", by)
        if batch.metrics:
            metrics = [(key, value, step) for key, value, _, _, step, is_nan in batch.metrics if not is_nan]
            self.measured.logged(address.workspace, batch.run_id, metrics)
        return _json(b"{}")

    async def _search(self, request: Request, address: Address, body: bytes) -> Response | None:
        name = mlflow_name(address.workspace)
        asked = await self.threads.run(search_of, name, body) if len(body) > _AT_ONCE else search_of(name, body)
        if asked is not None and 0 in asked.experiments:
            default = partial(self.default_experiment, address.workspace.key)
            asked = search_of(name, await self.threads.run(default_experiment_in_body, body, default))
        content = await self.store.search_runs(asked) if asked is not None else None
        return await self._answered(request, address, content)

    async def _get(self, request: Request, address: Address, query: str) -> Response | None:
        run_id = run_of_query(query)
        content = await self.store.get_run(mlflow_name(address.workspace), run_id) if run_id else None
        return await self._answered(request, address, content)

    async def _answered(self, request: Request, address: Address, content: bytes | None) -> Response | None:
        if content is None:
            return None
        if address.plugin and wants_azureml_uris(request.headers.get("user-agent", "")):
            content = await self.threads.run(for_plugin, content, self.settings, address.workspace)
        return _json(content)


def _is_json(request: Request) -> bool:
    """As MLflow sees it."""
    return request.headers.get("content-type", "").partition(";")[0] == "application/json"


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json", headers=_HEADERS)
