"""Jobs beside each other: in what they differ, what they logged, together in charts, and in groups (such as seeds)."""

from __future__ import annotations

import asyncio
import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from smalt.arm.ids import ResourceId
from smalt.store.document import Document, bits, differences, part
from smalt.studio.pages.job_search import named
from smalt.studio.pages.jobs import shown
from smalt.studio.pages.rehearsed import segment
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get
from smalt.studio.visit import Visit

MOST = 500
NAMES_MOST = 2000  # characters in a URL, which mails and chats keep whole; what is longer is kept by the server
KEYS_MOST = 40  # metrics, and parameters, that the table has
LINES_POINTS = 60_000  # of all lines of one chart together
POINTS_MOST = 1000  # of one line
SELECTIONS = ("jobs", "kept", "link")  # which jobs are meant: one of these of the URL
INFINITE = 1e300  # what is as great is no number that a job measured


@dataclass(frozen=True)
class Column:
    """What the jobs have as parameter, tag, input or else: `spelled` is its name in URLs. `values` are by job."""

    spelled: str
    label: str
    values: Mapping[str, str]


async def show(visit: Visit) -> Response:
    given = visit.http.query_params
    cursor = await visit.cursor()
    asked = await names_of(visit)
    documents = await _documents(visit, asked)
    names, home = list(documents), visit.workspace.key
    metrics, params = await visit.logged.keys(home, names, KEYS_MOST)
    values, ranges = await asyncio.gather(
        visit.logged.values(home, names, [*metrics, *params]), visit.logged.ranges(home, names, metrics)
    )
    columns = _columns(documents, values, params)
    metric = given.get("metric") or next(iter(metrics), "")
    group = given.get("group", "")
    scatter = {
        "x": given.get("x") or _first(columns, metrics),
        "y": given.get("y") or (f"metrics.{metric}" if metric else ""),
    }
    return page(
        "compare.html",
        visit,
        cursor=cursor,
        jobs=[shown(one) for one in documents.values()],
        columns=columns,
        metrics=metrics,
        values=values,
        ranges=ranges,
        best=_best(ranges, metrics),
        metric=metric,
        group=group,
        scatter=scatter,
        missing=[one for one in asked if one not in documents],
        given=given,
        of={name: given[name] for name in SELECTIONS if given.get(name)},
        most=NAMES_MOST,
        groups=_groups(group, columns, names, values, metrics),
        provenance=await _provenance(visit, names),
    )


async def table(visit: Visit) -> Response:
    """What scatter and parallel coordinates draw: the jobs, and their values by column; numbers where they are such."""
    documents = await _documents(visit, await names_of(visit))
    names, home = list(documents), visit.workspace.key
    metrics, params = await visit.logged.keys(home, names, KEYS_MOST)
    values = await visit.logged.values(home, names, [*metrics, *params])
    columns = [
        {"name": one.spelled, "values": [number_of(one.values.get(name)) for name in names]}
        for one in _columns(documents, values, params)
    ]
    columns += [
        {
            "name": f"metrics.{key}",
            "values": [number_of(values[name].metrics.get(key)) if name in values else None for name in names],
        }
        for key in metrics
    ]
    jobs = [
        {"name": one["name"], "title": one["title"], "status": one["status"]} for one in map(shown, documents.values())
    ]
    return JSONResponse({"jobs": jobs, "columns": columns}, headers=HEADERS)


async def lines(visit: Visit) -> Response:
    """`?metric=`: a line for each job, over their steps, the time, or the time since each began (`axis`)."""
    documents = await _documents(visit, await names_of(visit))
    axis, metric = visit.http.query_params.get("axis", ""), visit.http.query_params.get("metric", "")
    most = min(POINTS_MOST, max(20, LINES_POINTS // len(documents)))
    found = await visit.logged.lines(visit.workspace.key, list(documents), metric, most)
    drawn: list[Document] = []
    for name, points in found.items():
        first = points[0][1] if axis == "relative" else 0
        at = [step if axis not in ("time", "relative") else when - first for step, when, _ in points]
        drawn.append(
            {"name": name, "title": shown(documents[name])["title"], "at": at, "values": [one[2] for one in points]}
        )
    return JSONResponse({"lines": drawn}, headers=HEADERS)


def number_of(text: Any) -> float | str | None:
    """A number where it is one that JSON has, which `nan` and `inf` are not."""
    try:
        number = float(text)
    except (TypeError, ValueError):
        return text
    return number if math.isfinite(number) else str(text)


async def names_of(visit: Visit) -> list[str]:
    """`jobs` of the URL; or those of the comparison `kept`, or of the shared link `link`, or of a guest's own.

    Raises Refused.
    """
    given = visit.http.query_params
    if visit.shared and not given.get("jobs"):
        found = [ResourceId.parse(one).name for one in visit.shared.resources]
    elif given.get("kept"):
        kept = visit.workspace.child("comparisons", segment("kept", given["kept"]))
        found = (await visit.api.get(str(kept)))["properties"]["jobs"]
    elif given.get("link"):
        link = visit.workspace.child("sharedLinks", segment("link", given["link"]))
        found = [ResourceId.parse(one).name for one in (await visit.api.get(str(link)))["properties"]["resources"]]
    else:
        found = given.get("jobs", "").split(",")
    names = list(dict.fromkeys(filter(None, (one.strip() for one in found))))
    if not 2 <= len(names) <= MOST:
        raise Refused(
            400,
            "InvalidQueryParameter",
            f"Choose 2 to {MOST} jobs in the list to compare them; these are {len(names)}.",
        )
    return names


async def address_of(visit: Visit, names: Sequence[str]) -> str:
    """Of the page that compares them: bounded however long their names are, and the same for the same jobs."""
    text = ",".join(names)
    if len(text) <= NAMES_MOST or len(names) < 2:
        return visit.link("/jobs/compare", jobs=text)
    name = hashlib.sha256(text.encode()).hexdigest()[:24]
    await visit.api.put(f"{visit.workspace}/comparisons/{name}", {"properties": {"jobs": list(names)}})
    return visit.link("/jobs/compare", kept=name)


async def _documents(visit: Visit, names: Sequence[str]) -> dict[str, Document]:
    """In the order of the names. Raises Refused, also where fewer than two are to be seen."""
    found = {name.lower(): one for name, one in (await named(visit, names)).items()}
    if len(found) < 2:
        raise Refused(404, "NotFound", "Of these jobs there are not two (any more) that you may see.")
    there = [found[name.lower()] for name in names if name.lower() in found]
    return {one["name"]: one for one in there}


def _columns(documents: Mapping[str, Document], values: Mapping[str, Any], params: Sequence[str]) -> list[Column]:
    """Only those in which the jobs differ."""
    by_key: dict[str, dict[str, str]] = {f"params.{key}": {} for key in params}
    for name, values_of in values.items():
        for key, value in values_of.params.items():
            by_key.setdefault(f"params.{key}", {})[name] = value
    for name, document in documents.items():
        properties = document["properties"]
        for key, value in part(properties, "tags").items():
            by_key.setdefault(f"tags.{key}", {})[name] = value or ""
        for key, one in part(properties, "inputs").items():
            if f"params.{key}" not in by_key or (one or {}).get("uri"):
                by_key.setdefault(f"inputs.{key}", {})[name] = str(
                    (one or {}).get("uri") or (one or {}).get("value") or ""
                )
        for key in ("command", "codeId", "environmentId", "computeId", "experimentName"):
            by_key.setdefault(key, {})[name] = _short(str(properties.get(key) or ""))
    return [
        Column(key, key.partition(".")[2] or key, found)
        for key, found in by_key.items()
        if len(found) < len(documents) or len(set(found.values())) > 1
    ][: 2 * KEYS_MOST]


def _first(columns: Sequence[Column], metrics: Sequence[str]) -> str:
    """The first column that is a number everywhere, for a scatter to begin with."""
    numeric = (one for one in columns if all(isinstance(number_of(value), float) for value in one.values.values()))
    first = next(numeric, None)
    return first.spelled if first else f"metrics.{metrics[-1]}" if metrics else ""


def _best(ranges: Mapping[tuple[str, str], Any], metrics: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The least and the greatest that any of the jobs has logged, by metric."""
    found: dict[str, tuple[float, float]] = {}
    for metric in metrics:
        of = [one for (_, key), one in ranges.items() if key == metric]
        if of:
            found[metric] = (min(one.least for one in of), max(one.most for one in of))
    return found


def _groups(
    group: str,
    columns: Sequence[Column],
    names: Sequence[str],
    values: Mapping[str, Any],
    metrics: Sequence[str],
) -> list[dict[str, Any]]:
    """Jobs with the same value of a column: which, and of each metric mean and standard deviation of what is last."""
    column = next((one for one in columns if one.spelled == group), None)
    if column is None:
        return []
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(column.values.get(name, "–"), []).append(name)
    found: list[dict[str, Any]] = []
    for value, those in sorted(members.items(), key=lambda one: (str(type(number_of(one[0]))), number_of(one[0]))):
        told: dict[str, tuple[float, float] | None] = {}
        for metric in metrics:
            last = [values[one].metrics.get(metric) for one in those if one in values]
            told[metric] = _mean([one for one in last if one is not None])
        found.append({"value": value, "jobs": those, "metrics": told})
    return found


def _mean(known: Sequence[float]) -> tuple[float, float] | None:
    """Mean and standard deviation; None where one of them is infinite, for which MLflow keeps the greatest float."""
    if not known or any(not abs(one) < INFINITE for one in known):
        return None
    return statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else 0.0


async def _provenance(visit: Visit, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """In what two jobs differ of what they were made from: what, and what each has; of more than two nothing,
    and nothing for guests: code and variables are no part of a page that is shared."""
    if len(names) != 2 or visit.guest:
        return []
    one, other = await asyncio.gather(*(visit.api.get(f"{visit.workspace}/jobs/{name}/provenance") for name in names))
    return [(path, _said(before), _said(after)) for path, before, after in differences(bits(one), bits(other))]


def _short(id_: str) -> str:
    """An ARM id of a workspace's resource without its workspace."""
    return id_.rpartition("/workspaces/")[2].partition("/")[2] if "/workspaces/" in id_ else id_


def _said(value: Any) -> str:
    return "–" if value is None else str(value)


ROUTES = (
    get("/jobs/compare", show, shared=True),
    get("/jobs/compare/table", table, shared=True),
    get("/jobs/compare/lines", lines, shared=True),
)
