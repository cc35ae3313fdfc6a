"""What each node of a job uses: processors, memory, GPUs; by the minute, as the platform looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response

from smalt.store.document import Document
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, moment, seconds
from smalt.studio.routes import get
from smalt.studio.visit import Visit

_MINUTES_MOST = 1000  # of which a chart has one each; of a longer job the last


@dataclass(frozen=True)
class Use:
    """`unit`: how many of the metric's are one of the chart's."""

    label: str
    metric: str
    unit: float


USES = {
    "cpu": Use("CPU, processors", "CpuUtilizationMillicores", 1000),
    "memory": Use("Memory, GB", "CpuMemoryUtilizationMegabytes", 1000),
    "gpu": Use("GPU, GPUs", "GpuUtilizationMilliGPUs", 1000),
    "gpumemory": Use("GPU memory, GB", "GpuMemoryUtilizationMegabytes", 1000),
}


async def use(visit: Visit) -> Response:
    """`?of=` one of USES: columns as charts take them, a line for each node."""
    asked = USES.get(visit.http.query_params.get("of", ""))
    if asked is None:
        raise Refused(404, "NotFound", f"A job uses {', '.join(USES)}.")
    name = visit.http.path_params["name"]
    run = await visit.api.get(f"/history/v1.0{visit.workspace}/runs/{name}")
    begun = seconds(run.get("startTimeUtc"))
    if begun is None:
        return JSONResponse({"step": [], "time": [], "lines": {}}, headers=HEADERS)
    ended = seconds(run.get("endTimeUtc")) or moment()
    since = max(begun - 60, ended - 60 * _MINUTES_MOST)
    query = {
        "metricnames": asked.metric,
        "timespan": f"{_time(since)}/{_time(ended + 60)}",
        "interval": "PT1M",
        "aggregation": "Average",
        "$filter": "instance eq '*'",
    }
    found = await visit.api.get(f"{visit.workspace}/jobs/{name}/providers/Microsoft.Insights/metrics", query)
    return JSONResponse(_columns(found, asked), headers=HEADERS)


def _columns(found: Document, asked: Use) -> Document:
    by_node: dict[str, dict[float, float]] = {}
    for metric in found["value"]:
        for one in metric["timeseries"]:
            node = next((str(label["value"]) for label in one["metadatavalues"]), "")
            points = {seconds(at["timeStamp"]): at.get("average") for at in one["data"]}
            by_node[node] = {at: value / asked.unit for at, value in points.items() if at and value is not None}
    times = sorted({at for points in by_node.values() for at in points})
    names = sorted(by_node)
    lines = {
        _node(name, at): [by_node[name].get(one) for one in times] for at, name in enumerate(names) if by_node[name]
    }
    return {"step": times, "time": times, "lines": lines}


def _node(task: str, at: int) -> str:
    """`node 0`, of a task's name, which ends with the number of its node."""
    last = task.rpartition("-")[2].lstrip("n")
    return f"node {last}" if last.isdecimal() else f"node {at}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


ROUTES = (get("/jobs/{name}/use", use, shared=True),)
