"""Who did what, the newest first: of the workspace, its group (alerts, storage) or all (sign-ins)."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from starlette.responses import Response

from smalt.store.document import Document
from smalt.studio.pages.assets import named
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get
from smalt.studio.visit import Visit

PAGE = 50
SCOPES = {"": "this workspace", "group": "its resource group", "all": "the platform"}
WHATS = {
    "created": "made",
    "updated": "changed",
    "described": "renamed or tagged",
    "state": "went on",
    "deleting": "is deleting",
    "deleted": "deleted",
    "refused": "was refused",
    "signed_in": "signed in",
    "sign_in_refused": "could not sign in",
    "secret_read": "read a secret of",
    "connected": "connected to",
}
_PEOPLE = tuple(one for one in WHATS if one != "state")
_SAID = ("created", "updated", "gone", "delete requested")  # reasons that say what `what` does
_PAGES = {"batchendpoints": "/batch-endpoints/", "schedules": "/schedules/", "computes": "/computes/",
          "datastores": "/datastores/"}  # fmt: skip
_KINDS = {
    "onlineEndpoints": "endpoint",
    "onlineEndpoints/deployments": "deployment",
    "batchEndpoints": "batch endpoint",
    "batchEndpoints/deployments": "batch deployment",
    "metricAlerts": "alert",
    "storageAccounts": "storage account",
    "data": "data",
}
_REASONS = {"listKeys": "its keys", "listSecrets": "its secrets", "datastore": "to a store's files", "token": "a token"}
PLATFORM = "smalt"  # who does what the platform does of itself
CSV_PAGES = 40  # of which one file has the rows


async def show(visit: Visit) -> Response:
    """`?what=`, `?actor=`, `?scope=`, `?since=`, `?until=` (days, both in it), `?before=`. States, and what
    the platform did of itself, are there if they are asked for."""
    given = visit.http.query_params
    chosen = {name: given.get(name, "") for name in ("what", "actor", "scope", "since", "until")}
    cursor = await visit.cursor()
    changes, more = await _page(visit, given.get("before", ""))
    return page(
        "activity.html",
        visit,
        cursor=cursor,
        chosen=chosen,
        whats=WHATS,
        scopes=SCOPES,
        first=not given.get("before"),
        changes=[_shown(visit, one) for one in changes],
        more=more,
    )


async def as_csv(visit: Visit) -> Response:
    """What the page and those behind it have, up to a bound, which the last row then says."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("at", "actor", "what", "resource", "from", "to", "reason", "request"))
    names = ("at", "actor", "what", "resourceId", "from", "to", "reason", "requestId")
    more: str | None = visit.http.query_params.get("before", "")
    for _ in range(CSV_PAGES):
        changes, more = await _page(visit, more or "")
        writer.writerows([_cell(str(one.get(name) or "")) for name in names] for one in changes)
        if more is None:
            break
    if more is not None:
        writer.writerow((f"There is more: begin again with before={more}",))
    headers = {**HEADERS, "Content-Disposition": 'attachment; filename="activity.csv"'}
    return Response(text.getvalue(), headers=headers, media_type="text/csv; charset=utf-8")


def _cell(text: str) -> str:
    """No spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


async def _page(visit: Visit, before: str) -> tuple[list[Document], str | None]:
    """Changes that the URL asks for, before a cursor, and before which the next page begins."""
    given = visit.http.query_params
    query = {"order": "newest", "$top": str(PAGE), "what": given.get("what") or ",".join(_PEOPLE)}
    query |= {"before": before} if before else {}
    query |= {"since": given["since"]} if given.get("since") else {}
    query |= {"until": _day_after(given["until"])} if given.get("until") else {}
    if actor := given.get("actor"):
        query["actor"] = actor
    elif not given.get("what"):
        query["notActor"] = PLATFORM
    found = await visit.api.get(f"{_scope(visit, given.get('scope', ''))}/changes", query)
    link = found.get("nextLink")
    return found["value"], parse_qs(urlsplit(str(link)).query)["before"][0] if link else None


def _day_after(day: str) -> str:
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):
        raise Refused(400, "InvalidDate", f"until: {day[:40]!r} is no day such as 2030-01-31.") from None


def _scope(visit: Visit, scope: str) -> str:
    group = str(visit.workspace.parent)
    return {"group": group, "all": f"/subscriptions/{visit.workspace.subscription}"}.get(scope, str(visit.workspace))


def _shown(visit: Visit, change: Document) -> dict[str, Any]:
    """`page` where it has one; ids are in lower case, as the feed has them."""
    key = str(change["resourceId"])
    inner = key.removeprefix(visit.workspace.key).strip("/").split("/") if key.startswith(visit.workspace.key) else []
    kind = str(change["type"]).rpartition("/workspaces/")[2] or str(change["type"]).rpartition("/")[2]
    return {
        "at": change["at"],
        "actor": change.get("actor") or "",
        "what": WHATS.get(change["what"], change["what"]),
        "name": "/".join(inner[1:]).replace("/versions/", ":") if len(inner) > 1 else key.rpartition("/")[2],
        "kind": _KINDS.get(kind) or kind.removesuffix("/versions").removesuffix("s"),
        "page": _page_of(visit, key, inner) if len(inner) > 1 and change["what"] != "deleted" else "",
        "states": f"{change.get('from') or ''} → {change['to']}"
        if change["what"] == "state" and change.get("to")
        else "",
        "reason": "" if (why := change.get("reason") or "") in _SAID else _REASONS.get(why, why),
    }


def _page_of(visit: Visit, key: str, inner: list[str]) -> str:
    if place := _PAGES.get(inner[0]):
        return visit.link(f"{place}{quote(inner[1])}")
    return named(visit, key)[1]


ROUTES = (get("/activity", show), get("/activity.csv", as_csv))
