"""What one may do with an endpoint: traffic, scale, the way back, keys, deleting, and looking after an alert."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.store.document import Document
from smalt.studio.pages.endpoint import path_of
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS
from smalt.studio.routes import post
from smalt.studio.visit import Visit

SHARES = {"traffic": "traffic.", "mirrorTraffic": "mirror."}  # how the names of their fields begin


async def set_traffic(visit: Visit) -> Response:
    """Fields `traffic.NAME` and `mirror.NAME`, in percent, and the `etag` of what was shown."""
    wanted = {
        name: {
            field.removeprefix(prefix): whole(visit, field)
            for field in visit.fields
            if field.startswith(prefix) and whole(visit, field)
        }
        for name, prefix in SHARES.items()
    }
    await visit.change(path_of(visit), {"properties": wanted})
    return back(visit)


async def set_scale(visit: Visit) -> Response:
    """Of the deployment in the path: `instances`, or `least`, `most` and `target` where `scale` is `auto`."""
    if visit.fields.get("scale") == "auto":
        names = {"minInstances": "least", "maxInstances": "most", "targetUtilizationPercentage": "target"}
        settings = {"scaleType": "TargetUtilization", **{name: whole(visit, field) for name, field in names.items()}}
        body: Document = {"properties": {"scaleSettings": settings}}
    else:
        cleared = dict.fromkeys(("minInstances", "maxInstances", "targetUtilizationPercentage", "pollingInterval"))
        body = {
            "sku": {"capacity": whole(visit, "instances")},
            "properties": {"scaleSettings": {**cleared, "scaleType": "Default"}},
        }
    await visit.change(_deployment(visit), body)
    return back(visit)


async def rollback(visit: Visit) -> Response:
    """Of the `deployment`, where one is named; `undone`: when the change was that the page showed as the last."""
    asked = {name: visit.fields[name] for name in ("deployment", "undone") if visit.fields.get(name)}
    await visit.api.post(f"{path_of(visit)}/rollback", asked)
    return back(visit)


async def regenerate(visit: Visit) -> Response:
    await visit.api.post(f"{path_of(visit)}/regenerateKeys", {"keyType": visit.fields.get("keyType", "")})
    return back(visit, tab="test")


async def delete(visit: Visit) -> Response:
    await visit.api.delete(path_of(visit))
    return RedirectResponse(visit.link("/endpoints"), 303, HEADERS)


async def delete_deployment(visit: Visit) -> Response:
    await visit.api.delete(_deployment(visit))
    return back(visit)


def whole(visit: Visit, field: str) -> int:
    """Raises Refused(400)."""
    given = visit.fields.get(field, "").strip()
    try:
        return int(given or "0")
    except ValueError:
        raise Refused.at(field, "InvalidNumber", f"{field}: {given[:40]!r} is not a whole number.") from None


def back(visit: Visit, **where: str) -> Response:
    return RedirectResponse(visit.link(f"/endpoints/{quote(visit.http.path_params['name'])}", **where), 303, HEADERS)


def _deployment(visit: Visit) -> str:
    return f"{path_of(visit)}/deployments/{visit.http.path_params['deployment']}"


ROUTES = (
    post("/endpoints/{name}/traffic", set_traffic),
    post("/endpoints/{name}/rollback", rollback),
    post("/endpoints/{name}/keys", regenerate),
    post("/endpoints/{name}/delete", delete),
    post("/endpoints/{name}/deployments/{deployment}/scale", set_scale),
    post("/endpoints/{name}/deployments/{deployment}/delete", delete_deployment),
)
