"""One request of a browser: who asks, about which workspace, and what is proof that our own page sent a form."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request as HttpRequest
from starlette.types import ASGIApp

from smalt.arm.ids import NotAnId, ResourceId, workspace_id
from smalt.arm.ports import Principal
from smalt.auth.sessions import Sessions
from smalt.auth.shared_links import Shared
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, Settings
from smalt.store.document import Document, part
from smalt.studio.metrics import Logged
from smalt.studio.platform_api import PlatformApi, Refused

ROOT = "/studio"
HOME = workspace_id(SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)
SHARE = "share"  # the parameter of a URL with which a guest comes
_FORM_MOST = 1 << 20
_SAID_MOST = 200  # characters of what is there now


@dataclass(frozen=True)
class Visit:
    http: HttpRequest
    principal: Principal
    workspace: ResourceId
    api: PlatformApi
    token: str
    logged: Logged
    settings: Settings
    sessions: Sessions
    shared: Shared | None = None  # what the link shows with which a guest came
    fields: dict[str, str] = field(default_factory=dict[str, str])  # of the form that was sent

    @classmethod
    def read(
        cls, http: HttpRequest, settings: Settings, sessions: Sessions, app: ASGIApp, logged: Logged
    ) -> Visit | None:
        """None without a session. Raises Refused(400) where the URL names no workspace."""
        principal = sessions.read(http.method, http.scope["headers"])
        if principal is None:
            return None
        workspace = workspace_of(http)
        cookie = SimpleCookie(http.headers.get("cookie", ""))[sessions.cookie_name].value
        api = PlatformApi(app, http.scope)
        return cls(http, principal, workspace, api, form_token(cookie), logged, settings, sessions)

    @classmethod
    def of_guest(
        cls, http: HttpRequest, settings: Settings, sessions: Sessions, app: ASGIApp, logged: Logged, shared: Shared
    ) -> Visit:
        """He has no forms: his token is none."""
        api = PlatformApi(app, http.scope, shared.guest)
        return cls(http, shared.guest, workspace_of(http), api, "", logged, settings, sessions, shared)

    @property
    def guest(self) -> bool:
        return self.shared is not None

    def shows(self, page: str) -> bool:
        """Whether the page (below `/studio`, as in a URL) is that which the guest's link shows, or a part of it."""
        own = shared_page(self.shared) if self.shared else ""
        return not self.shared or page == own or page.startswith(f"{own}/")

    def link(self, page: str, /, **parameters: str | None) -> str:
        """The URL of a page of this workspace, such as `link("/jobs", status="Running")`."""
        told = {name: value for name, value in parameters.items() if value}
        if self.workspace.key != HOME.key:
            told["wsid"] = str(self.workspace)
        if self.shared and self.shows(page):
            told["share"] = self.http.query_params[SHARE]
        return f"{ROOT}{page}{'?' if told else ''}{urlencode(told)}"

    def here(self, /, **changed: str | None) -> str:
        """This page's URL, with parameters changed, or left out where they are None."""
        kept = {**self.http.query_params, **changed}
        kept.pop("wsid", None)
        return self.link(quote(self.http.scope["path"].removeprefix(ROOT)), **kept)

    def parameters(self) -> dict[str, str]:
        """Those of this page's URL, without its workspace: `link(other, **parameters())` is of the same."""
        return {name: value for name, value in self.http.query_params.items() if name != "wsid"}

    @property
    def carried(self) -> dict[str, str]:
        """What a form that is a GET carries on of the URL, beside what it asks."""
        return {name: self.http.query_params[name] for name in ("wsid", SHARE) if self.http.query_params.get(name)}

    @property
    def feed(self) -> str:
        """The address of the feed of changes that this page hears; a guest's is of the one resource that he sees."""
        if not self.shared:
            return f"{self.workspace}/changes"
        return self.link(f"{shared_page(self.shared)}/changes") if len(self.shared.resources) == 1 else ""

    async def cursor(self) -> str:
        """Up to where the feed of changes is now: taken before what is shown is read, so that nothing is missed."""
        if not self.feed:
            return ""
        of = self.shared.resources[0] if self.shared else self.workspace
        return str((await self.api.get(f"{of}/changes", {"after": "now"}))["cursor"])

    async def read_form(self) -> None:
        """To `fields`; of a name that is there twice the last. Raises Refused(403) where the form is not
        one that this session was given."""
        body = bytearray()
        async for piece in self.http.stream():
            body += piece
            if len(body) > _FORM_MOST:
                raise Refused(413, "FormTooLarge", "No form of the Studio is that large.")
        given = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        if not hmac.compare_digest(given.pop("token", "").encode(), self.token.encode()):
            raise Refused(403, "WrongForm", "This form is of another session: go back, reload the page, and try again.")
        self.fields.update(given)

    async def change(self, path: str, body: Document) -> None:
        """PATCH what the form was made from, whose `etag` it has. Raises Refused, with 412 where it is another now."""
        try:
            await self.api.patch(path, body, if_match=self.fields.get("etag") or "*")
        except Refused as error:
            if error.status != 412:
                raise
            now = await self.api.get(path)
            raise Refused(412, error.code, _changed(now, body)) from None


def _changed(now: Document, body: Document) -> str:
    """Who changed it, and what is there of that which `body` was to change."""
    made = part(now, "systemData")
    by = f"{made['lastModifiedBy']}, {made['lastModifiedAt'][:19]}Z"
    there = "; ".join(
        f"{name} {json.dumps(value, ensure_ascii=False)[:_SAID_MOST]}" for name, value in _others(now, body)
    )
    has = f" Now it has {there}." if there else ""
    return (
        f"Somebody changed it since this page was loaded ({by}), and nothing of yours is lost.{has}"
        " Load it again, and compare."
    )


def _others(now: Document, body: Document) -> Iterator[tuple[str, Any]]:
    for name, wanted in body.items():
        if name == "properties" and isinstance(wanted, dict):
            yield from _others(part(now, name), wanted)  # pyright: ignore[reportUnknownArgumentType]
        elif now.get(name) != wanted:
            yield name, now.get(name)


def workspace_of(http: HttpRequest) -> ResourceId:
    """Raises Refused(400) where the URL names no workspace."""
    named = http.query_params.get("wsid") or ""
    try:
        return ResourceId.parse(named).workspace if named else HOME
    except NotAnId:
        raise Refused(400, "InvalidWorkspace", "The link's wsid is not the id of a workspace.") from None


def shared_page(shared: Shared) -> str:
    """Below `/studio`, as in a URL."""
    first = ResourceId.parse(shared.resources[0])
    pages = {
        "job": f"/jobs/{quote(first.name)}",
        "jobs": "/jobs/compare",
        "model": f"/models/{quote(first.parent.name)}/{quote(first.name)}",
        "endpoint": f"/endpoints/{quote(first.name)}",
    }
    return pages[shared.page]


def form_token(cookie: str) -> str:
    """Nobody who cannot read the session's cookie, which is HttpOnly, can make it."""
    return hashlib.sha256(f"smalt studio form:{cookie}".encode()).hexdigest()
