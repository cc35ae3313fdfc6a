"""Alerts: rules on metrics in the workspace; which are fired, why, what changed before, and who looks after it."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from smalt.studio.pages.endpoint import alert
from smalt.studio.pages.jobs import PAGE, following
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import ROOT, Visit


async def show(visit: Visit) -> Response:
    cursor = await visit.cursor()
    query = {"count": str(PAGE), "scope": str(visit.workspace)}
    if after := visit.http.query_params.get("after"):
        query["$skipToken"] = after
    found = await visit.api.get(rules_of(visit), query)
    alerts = sorted((alert(one) for one in found["value"]), key=lambda one: (one["state"] != "Fired", one["severity"]))
    return page(
        "alerts.html",
        visit,
        cursor=cursor,
        alerts=alerts,
        more=following(found),
        first=not after,
        feed=_group(visit),
    )


async def acknowledge(visit: Visit) -> Response:
    """`fired`: since when it was, where the form was shown."""
    seen = {"firedDateTime": visit.fields["fired"]} if visit.fields.get("fired") else {}
    await visit.api.post(f"{rules_of(visit)}/{visit.http.path_params['name']}/acknowledge", seen)
    back = visit.fields.get("back", "")
    return RedirectResponse(back if back.startswith(f"{ROOT}/") else visit.link("/alerts"), 303, HEADERS)


def _group(visit: Visit) -> str:
    """Rules hang on it; changes of them are in its feed, and not in the workspace's."""
    return str(visit.workspace.parent)


def rules_of(visit: Visit) -> str:
    return f"{_group(visit)}/providers/Microsoft.Insights/metricAlerts"


ROUTES = (get("/alerts", show), post("/alerts/{name}/acknowledge", acknowledge))
