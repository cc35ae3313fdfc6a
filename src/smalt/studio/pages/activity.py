"""Who did what, the newest first: of the workspace, its group (alerts, storage) or all (sign-ins)."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.responses import Response

from smalt.store.document import Document
from smalt.studio.rendering import page
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
_PAGES = {"jobs": "/jobs/", "onlineendpoints": "/endpoints/", "batchendpoints": "/batch-endpoints/"}


async def show(visit: Visit) -> Response:
    """`?what=`, `?actor=`, `?scope=`, `?before=`; states, the platform's own work, if they are asked for."""
    given = visit.http.query_params
    chosen = {name: given.get(name, "") for name in ("what", "actor", "scope")}
    cursor = await visit.cursor()
    query = {"order": "newest", "$top": str(PAGE), "what": chosen["what"] or ",".join(_PEOPLE)}
    query |= {name: value for name in ("actor", "before") if (value := given.get(name))}
    found = await visit.api.get(f"{_scope(visit, chosen['scope'])}/changes", query)
    link = found.get("nextLink")
    return page(
        "activity.html", visit, cursor=cursor, chosen=chosen, whats=WHATS, scopes=SCOPES, first=not given.get("before"),
        changes=[_shown(visit, one) for one in found["value"]],
        more=parse_qs(urlsplit(str(link)).query)["before"][0] if link else None,
    )  # fmt: skip


def _scope(visit: Visit, scope: str) -> str:
    group = str(visit.workspace).partition("/providers/")[0]
    return {"group": group, "all": f"/subscriptions/{visit.workspace.subscription}"}.get(scope, str(visit.workspace))


def _shown(visit: Visit, change: Document) -> dict[str, Any]:
    """`page` where it has one; ids are in lower case, as the feed has them."""
    key = str(change["resourceId"])
    inner = key.removeprefix(visit.workspace.key).strip("/").split("/") if key.startswith(visit.workspace.key) else []
    place = _PAGES.get(inner[0]) if len(inner) > 1 else None
    return {
        "at": change["at"],
        "actor": change.get("actor") or "",
        "what": WHATS.get(change["what"], change["what"]),
        "name": "/".join(inner[1:]).replace("/versions/", ":") if len(inner) > 1 else key.rpartition("/")[2],
        "kind": str(change["type"]).rpartition("/workspaces/")[2] or str(change["type"]).rpartition("/")[2],
        "page": visit.link(f"{place}{inner[1]}") if place and change["what"] != "deleted" else "",
        "states": f"{change.get('from') or ''} → {change['to']}"
        if change["what"] == "state" and change.get("to")
        else "",
        "reason": "" if change.get("reason") in _SAID else change.get("reason") or "",
    }


ROUTES = (get("/activity", show),)
