"""Home: alerts that are fired; what broke, by cause; what runs, waits or has ended; endpoints; all workspaces."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from smalt.studio.pages import endpoints
from smalt.studio.pages.alerts import rules_of
from smalt.studio.pages.endpoint import alert
from smalt.studio.pages.jobs import PAGE, following, listed
from smalt.studio.rendering import page
from smalt.studio.routes import get
from smalt.studio.visit import Visit

SHOWN = 10
CAUSES = 10
_PAGES_MOST = 10
SECTIONS = (
    ("Running", "Starting,Running,Finalizing,CancelRequested", "Nothing runs."),
    ("Waiting", "NotStarted,Preparing,Queued", "Nothing waits."),
    ("Failed", "Failed", "Nothing has failed."),
    ("Recently completed", "Completed", "Nothing is completed."),
)


async def show(visit: Visit) -> Response:
    cursor = await visit.cursor()
    failures, fired, serving, found = await asyncio.gather(
        visit.api.get(f"{visit.workspace}/failures"),
        _fired(visit),
        visit.api.get(f"{visit.workspace}/onlineEndpoints", {"count": str(SHOWN)}),
        asyncio.gather(*(listed(visit, {"status": states, "$top": str(SHOWN)}) for _, states, _ in SECTIONS)),
    )
    sections = [
        (*section, jobs, len(jobs) < SHOWN and more) for section, (jobs, more) in zip(SECTIONS, found, strict=True)
    ]
    return page(
        "home.html",
        visit,
        cursor=cursor,
        sections=sections,
        fired=fired,
        causes=failures["value"][:CAUSES],
        endpoints=[endpoints.shown(one) for one in serving["value"]],
        more_endpoints=following(serving),
    )


async def _fired(visit: Visit) -> list[dict[str, Any]]:
    """Rules that are; a page of them may be short and have one behind it."""
    query = {"scope": str(visit.workspace), "monitorCondition": "Fired", "count": str(PAGE)}
    found: list[dict[str, Any]] = []
    for _ in range(_PAGES_MOST):
        answer = await visit.api.get(rules_of(visit), query)
        found += map(alert, answer["value"])
        after = following(answer)
        if not after or len(found) >= PAGE:
            break
        query["$skipToken"] = after
    return found


async def workspaces(visit: Visit) -> Response:
    query = {"$skipToken": skip} if (skip := visit.http.query_params.get("after")) else {}
    provider = "providers/Microsoft.MachineLearningServices/workspaces"
    found = await visit.api.get(f"/subscriptions/{visit.workspace.subscription}/{provider}", query)
    return page("workspaces.html", visit, found=found["value"], more=following(found))


ROUTES = (get("", show), get("/", show), get("/workspaces", workspaces))
