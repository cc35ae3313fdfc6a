"""A rule that watches an endpoint, from a form; seen as lines for `az`, SDK code and REST before it is sent. Changed,
disabled and deleted on its own page."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.arm.ids import NotAnId, ResourceId
from smalt.store.document import Document, part
from smalt.studio.documents import alert_form
from smalt.studio.documents.alert_form import KEPT, WATCHES
from smalt.studio.documents.written import Faulty
from smalt.studio.pages.alerts import rules_of
from smalt.studio.pages.endpoint import alert
from smalt.studio.pages.rehearsed import as_refused, segment
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

CHOICE = 100  # endpoints and schedules that a form offers; others are typed
_ENDS = {"webhook": "webhookReceivers", "schedule": "automationRunbookReceivers"}


async def new(visit: Visit) -> Response:
    """`?endpoint=NAME`: what it watches."""
    given = {"endpoint": visit.http.query_params.get("endpoint", ""), "watch": "latency", "window": "PT5M"}
    return await _form(visit, "new_alert.html", {**given, "every": "PT1M", "severity": "2"})


async def show(visit: Visit) -> Response:
    cursor, document = await visit.cursor(), await visit.api.get(_path(visit))
    more = {"cursor": cursor, "feed": str(visit.workspace.parent), "alert": alert(document)}
    return await _form(visit, "alert.html", _given(visit, document), etag=document.get("etag") or "", **more)


async def preview(visit: Visit) -> Response:
    document, here = _document(visit), visit.workspace
    (own, _), body = await _own_group(visit, document), alert_form.group(document, here)
    actions = [{"actionGroupId": _group(visit, one)} for one in (*document["groups"], *([own] if own else []))]
    rule = {"location": "global", "properties": alert_form.properties(document, here, actions)}
    group = None if body is None else {"location": "Global", "properties": body}
    requests = [alert_form.rest(_group(visit, own), group)] if group is not None else []
    requests.append(alert_form.rest(f"{rules_of(visit)}/{document['name']}", rule))
    return page(
        "alert_preview.html",
        visit,
        az=alert_form.az(document, here, own, actions),
        code=alert_form.sdk_code(document["name"], visit.settings.url, here, rule, own, group),
        rest="\n".join(requests),
    )


async def submit(visit: Visit) -> Response:
    document = _document(visit)
    path = f"{rules_of(visit)}/{segment('name', document['name'])}"
    async with _Group(visit, document) as own:
        actions = [{"actionGroupId": _group(visit, one)} for one in (*document["groups"], *own)]
        rule = {"location": "global", "properties": alert_form.properties(document, visit.workspace, actions)}
        await visit.api.put(path, rule, headers={"if-none-match": "*"})
    return _to(visit, document["name"])


async def change(visit: Visit) -> Response:
    """With the `etag` of what was shown. What a rule adds for a receiver stays, as do groups that the form has not."""
    name = str(visit.http.path_params["name"])
    visit.fields["name"] = name
    document = _document(visit, kept=True)
    there = part(await visit.api.get(_path(visit)), "properties")
    known = {str(one["actionGroupId"]).lower(): one for one in there.get("actions") or ()}
    offered = {_group(visit, one).lower() for one in await _groups(visit)}
    async with _Group(visit, document) as own:
        wanted = [_group(visit, one) for one in (*document["groups"], *own)]
        actions = [known.get(one.lower(), {"actionGroupId": one}) for one in wanted]
        actions += [one for key, one in known.items() if key not in offered]
        await visit.change(_path(visit), {"properties": alert_form.properties(document, visit.workspace, actions)})
    return _to(visit, name)


async def enable(visit: Visit) -> Response:
    return await _switch(visit, True)


async def disable(visit: Visit) -> Response:
    return await _switch(visit, False)


async def delete(visit: Visit) -> Response:
    await visit.api.delete(_path(visit))
    return RedirectResponse(visit.link("/alerts"), 303, HEADERS)


async def _switch(visit: Visit, on: bool) -> Response:
    await visit.change(_path(visit), {"properties": {"enabled": on}})
    return _to(visit, str(visit.http.path_params["name"]))


class _Group:
    """The action group that the form asks for; what was made for a rule that is refused then goes again."""

    def __init__(self, visit: Visit, document: Document) -> None:
        self._visit, self._document, self._made = visit, document, ""

    async def __aenter__(self) -> list[str]:
        """Its name; none where none is asked for."""
        body = alert_form.group(self._document, self._visit.workspace)
        if body is None:
            return []
        name, there = await _own_group(self._visit, self._document)
        if not there:
            resource = {"location": "Global", "properties": body}
            await self._visit.api.put(_group(self._visit, name), resource, headers={"if-none-match": "*"})
            self._made = name
        return [name]

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._made:
            await self._visit.api.delete(_group(self._visit, self._made))


async def _own_group(visit: Visit, document: Document) -> tuple[str, bool]:
    """The action group of its own, called as the rule or with a number; and whether it is there and says the same."""
    body = alert_form.group(document, visit.workspace)
    if body is None:
        return "", False
    name, number = segment("name", document["name"]), 1
    while (there := await _there(visit, name)) is not None and not _same(there, body):
        number += 1
        name = f"{document['name']}-{number}"
    return name, there is not None


async def _there(visit: Visit, name: str) -> Document | None:
    try:
        return part(await visit.api.get(_group(visit, name)), "properties")
    except Refused as error:
        if error.status != 404:
            raise
        return None


def _same(there: Document, body: Document) -> bool:
    def told(properties: Document) -> list[list[str]]:
        return [
            [str(one.get("serviceUri") or one.get("webhookResourceId")).lower() for one in properties.get(name) or ()]
            for name in _ENDS.values()
        ]

    return there.get("enabled") is not False and told(there) == told(body)


async def _groups(visit: Visit) -> dict[str, Document]:
    """Action groups by name."""
    path = f"{visit.workspace.parent}/providers/Microsoft.Insights/actionGroups"
    found = await visit.api.get(path, {"count": str(CHOICE)})
    return {one["name"]: part(one, "properties") for one in found["value"]}


async def _form(visit: Visit, template: str, given: Document, **more: Any) -> Response:
    endpoints, schedules, groups = await asyncio.gather(
        visit.api.get(f"{visit.workspace}/onlineEndpoints", {"count": str(CHOICE)}),
        visit.api.get(f"{visit.workspace}/schedules", {"count": str(CHOICE), "listViewType": "All"}),
        _groups(visit),
    )
    blank: Document = {"name": "", "deployment": "", "description": "", "threshold": "", "groups": ()}
    return page(
        template,
        visit,
        given={**blank, **given},
        endpoints=[one["name"] for one in endpoints["value"]],
        schedules=[one["name"] for one in schedules["value"]],
        groups=[
            (name, _told(one), _group(visit, name).lower() in given.get("groups", ())) for name, one in groups.items()
        ],
        hosts=visit.settings.webhook_hosts,
        watches=WATCHES,
        windows=_with(alert_form.WINDOWS, str(given["window"])),
        frequencies=_with(alert_form.FREQUENCIES, str(given["every"])),
        severities=alert_form.SEVERITIES,
        **more,
    )


def _with(known: dict[str, str], chosen: str) -> dict[str, str]:
    """Also what a rule has that was made elsewhere."""
    return known if chosen in known else {chosen: chosen, **known}


def _told(group: Document) -> str:
    """Whom a group tells, without addresses: a webhook's may hold a secret."""
    hooks = [one["name"] for one in group.get("webhookReceivers") or ()]
    runs = [str(one["webhookResourceId"]).rpartition("/")[2] for one in group.get("automationRunbookReceivers") or ()]
    said = [f"webhook {one}" for one in hooks] + [f"runs the schedule {one}" for one in runs]
    return ", ".join(said) or "nobody"


def _given(visit: Visit, document: Document) -> Document:
    """A rule as the form has it."""
    properties = document["properties"]
    scopes, criteria = properties["scopes"], properties["criteria"]
    watch = next((name for name, one in WATCHES.items() if one.is_of(criteria)), KEPT)
    endpoint, deployment = _watched(visit, scopes)
    if not endpoint:
        watch = KEPT
    return {
        "name": document["name"],
        "watch": watch,
        "endpoint": endpoint,
        "deployment": deployment,
        "threshold": "" if watch == KEPT else f"{criteria['allOf'][0]['threshold']:.15g}",
        "window": properties["windowSize"],
        "every": properties["evaluationFrequency"],
        "severity": str(properties.get("severity", 3)),
        "description": properties.get("description") or "",
        "groups": [str(one["actionGroupId"]).lower() for one in properties.get("actions") or ()],
    }


def _watched(visit: Visit, scopes: list[str]) -> tuple[str, str]:
    """Endpoint and deployment, of one scope in this workspace; two empty texts for anything else."""
    try:
        found = ResourceId.parse(scopes[0])
        here = len(scopes) == 1 and found.workspace.key == visit.workspace.key
    except NotAnId:
        return "", ""
    (kind, name), *below = found.path[1:] or (("", ""),)
    if not here or kind.lower() != "onlineendpoints":
        return "", ""
    return name, below[0][1] if below else ""


def _document(visit: Visit, kept: bool = False) -> Document:
    try:
        return alert_form.document(visit.fields, kept)
    except Faulty as error:
        raise as_refused(error) from None


def _group(visit: Visit, name: str) -> str:
    return f"{visit.workspace.parent}/providers/Microsoft.Insights/actionGroups/{segment('name', name)}"


def _path(visit: Visit) -> str:
    return f"{rules_of(visit)}/{visit.http.path_params['name']}"


def _to(visit: Visit, name: str) -> Response:
    return RedirectResponse(visit.link(f"/alerts/{quote(name)}"), 303, HEADERS)


ROUTES = (
    get("/alerts-new", new),
    post("/alerts-new/preview", preview),
    post("/alerts-new", submit),
    get("/alerts/{name}", show),
    post("/alerts/{name}", change),
    post("/alerts/{name}/enable", enable),
    post("/alerts/{name}/disable", disable),
    post("/alerts/{name}/delete", delete),
)
