"""The trials of a sweep: with their values and scores, the best first; which parameters matter; and all in charts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from smalt.arm.threads import Threads
from smalt.store.document import Document
from smalt.studio.importance import importance
from smalt.studio.pages.compare import number_of
from smalt.studio.pages.jobs import standing
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS
from smalt.studio.routes import get
from smalt.studio.visit import Visit

Shares = Sequence[tuple[str, float]]
SHOWN = 200  # trials in the table
KEPT_S, KEPT_MOST = 30.0, 200  # how long, and of how many sweeps, it is known what matters
_THREADS = Threads(1)  # of sums that take a moment


class Importance:
    """What matters in sweeps, summed again as trials get scores, at most every KEPT_S. Of one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, int, Shares]] = {}

    def of(self, sweep: str, scored: Sequence[tuple[Mapping[str, str], float]], maximize: bool) -> Shares:
        when, count, shares = self._kept.get(sweep, (-math.inf, -1, []))
        if count != len(scored) and self._clock() - when >= KEPT_S:
            shares = importance(scored, maximize)
            self._kept.pop(sweep, None)  # the newest is the last
            self._kept[sweep] = self._clock(), len(scored), shares
            if len(self._kept) > KEPT_MOST:
                del self._kept[next(iter(self._kept))]
        return shares


_IMPORTANCE = Importance()


async def trials_of(visit: Visit, document: Document) -> Document:
    """What the tab's template takes."""
    found = await _trials(visit, document["name"])
    scored = [(one["parameters"], one["score"]) for one in found["value"] if one["score"] is not None]
    sweep = f"{visit.workspace.key}/{document['name']}"
    shares = await _THREADS.run(_IMPORTANCE.of, sweep, scored, found["maximize"])
    names = sorted({name for one in found["value"] for name in one["parameters"]})
    return {
        "trials": found["value"][:SHOWN],
        "submitted": found["submitted"],
        "metric": found["metric"],
        "maximize": found["maximize"],
        "parameters": names,
        "importance": shares,
        "scored": len(scored),
        "x": visit.http.query_params.get("x") or (shares[0][0] if shares else next(iter(names), "")),
    }


async def table(visit: Visit) -> Response:
    """What the charts draw: as `compare.table`."""
    found = await _trials(visit, str(visit.http.path_params["name"]))
    trials = found["value"]
    names = sorted({name for one in trials for name in one["parameters"]})
    columns = [
        {"name": f"params.{name}", "values": [number_of(one["parameters"].get(name)) for one in trials]}
        for name in names
    ]
    columns.append({"name": f"metrics.{found['metric']}", "values": [number_of(one["score"]) for one in trials]})
    jobs = [{"name": one["name"], "title": f"trial {one['number']}", "status": one["status"]} for one in trials]
    return JSONResponse({"jobs": jobs, "columns": columns}, headers=HEADERS)


async def _trials(visit: Visit, name: str) -> dict[str, Any]:
    """The best first, then those without a score. Raises Refused."""
    found = await visit.api.get(f"{visit.workspace}/jobs/{name}/trials")
    metric, maximize = str(found["objective"].get("primaryMetric") or ""), _is_maximized(found["objective"])
    names = [one["name"] for one in found["value"]]
    try:
        ranges = await visit.logged.ranges(visit.workspace.key, names, [metric]) if names else {}
    except Refused as error:
        if error.status != 503:
            raise
        ranges = {}
    for one in found["value"]:
        of = ranges.get((one["name"], metric))
        one["score"] = None if of is None else of.most if maximize else of.least
        one["best"] = one["name"] == found["best"]
        one["status"] = standing(one["status"], one["error"])

    def rank(one: Document) -> tuple[bool, bool, float, int]:
        score = one["score"]
        return (
            not one["best"],
            score is None,
            (-score if maximize else score) if score is not None else 0.0,
            one["number"],
        )

    return {
        "value": sorted(found["value"], key=rank),
        "submitted": found["submitted"],
        "metric": metric,
        "maximize": maximize,
    }


def _is_maximized(objective: Document) -> bool:
    return str(objective.get("goal") or "").lower() == "maximize"


ROUTES = (get("/jobs/{name}/trials", table, shared=True),)
