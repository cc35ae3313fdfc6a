"""The Studio on a platform with fakes: a workspace, and a browser that has a session."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from starlette.types import Receive, Scope, Send

from fakes.examples import CURATED
from fakes.platform import WORKSPACE, Harness
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ports import Principal
from smalt.arm.router import ArmApp
from smalt.auth.authentication import GUEST
from smalt.auth.login_links import LoginLinks
from smalt.auth.service_access import ServiceAccess
from smalt.auth.sessions import Sessions
from smalt.auth.shared_links import SharedLinks
from smalt.principals import Workspaces
from smalt.studio.app import StudioApp
from smalt.tracking.dataplane.history import HistoryApp
from smalt.web.services import ServiceDoors
from smalt.web.ssh_door import SshDoor
from smalt.web.visits import VisitApp

HERE = {"wsid": WORKSPACE}


@dataclass
class Logged:
    """What a run of `Measured` has logged."""

    started: float | None = 1_800_000_000.0
    ended: float | None = 1_800_000_090.0
    metrics: dict[str, float | None] = field(default_factory=dict[str, float | None])
    params: dict[str, str] = field(default_factory=dict[str, str])
    least: float = 0.0
    most: float = 1.0
    points: int = 3


class Measured:
    """Three lines of one run; of many what a test has put into `logged`, and found what is in `like`."""

    def __init__(self) -> None:
        self.asked = list[str]()
        self.latest: list[tuple[str, float | None, int]] = [("loss", 0.5, 2), ("<i>", None, 1)]
        self.logged: dict[str, Logged] = {}
        self.like: dict[str, list[str]] = {}

    def found(
        self, workspace: str, like: str, order: str, archived: bool | None, experiment: str, most: int, offset: int
    ) -> list[str]:
        if like not in self.like:
            raise invalid(f"The filter {like!r} is not one.", "filter")
        names = self.like[like]
        return (names[::-1] if order.endswith(" DESC") else names)[offset : offset + most]

    def values(self, workspace: str, names: Sequence[str], keys: Sequence[str] | None = None) -> dict[str, Logged]:
        return {name: self.logged[name] for name in names if name in self.logged}

    def ranges(self, workspace: str, names: Sequence[str], metrics: Sequence[str]) -> dict[tuple[str, str], Logged]:
        found = self.values(workspace, names).items()
        return {(name, metric): one for name, one in found for metric in metrics if metric in one.metrics}

    def keys(self, workspace: str, names: Sequence[str], most: int) -> tuple[list[str], list[str]]:
        found = self.values(workspace, names).values()
        metrics, params = {key for one in found for key in one.metrics}, {key for one in found for key in one.params}
        differ = [key for key in sorted(params) if len({one.params.get(key) for one in found}) > 1]
        return sorted(metrics)[:most], differ[:most]

    def lines(
        self, workspace: str, names: Sequence[str], metric: str, most: int
    ) -> dict[str, list[tuple[int, float, float]]]:
        return {name: [(0, 1.0, 0.5), (5, 2.0, 0.25)] for name in self.values(workspace, names)}

    def run(self, workspace: str, name: str) -> Any:
        return None

    def latest_metrics(self, workspace: str, name: str, after: str = "", most: int = 100) -> Any:
        self.asked.append(name)
        return [one for one in self.latest if one[0] > after][:most]

    def metric_points(self, workspace: str, name: str, metric: str, most: int) -> Any:
        self.asked.append(name)
        return [(1.0, 1000, 0), (None, 2000, 1), (0.5, 3000, 2)]


class StudioSite:
    """A workspace, and a browser that has a session."""

    def __init__(self, root: Path, **settings_of: Any) -> None:
        self.harness = Harness(root, **settings_of)
        settings = self.harness.settings
        self.sessions = Sessions(settings, self.harness.database)
        self.allowed = True
        self.arm = ArmApp(self.harness.platform, self.harness.crud, self._who, self._authorize)
        self.history = HistoryApp(self.harness.platform, self._who, self._authorize)
        doors = ServiceDoors(
            self.harness.platform, ServiceAccess(settings, self.harness.database, self.harness.clock), self._authorize
        )
        ssh = SshDoor(self.harness.engine, settings.secrets, lambda work: work.close())
        self.visits = VisitApp(self.harness.platform, self._who, self._authorize, doors, ssh)
        self.measured = Measured()
        platform = self.harness.platform
        self.links = SharedLinks(platform.database, platform.secrets, platform.audit, platform.clock)
        self.workspaces = Workspaces(platform.database, platform.grants, clock=platform.clock)
        self.studio = StudioApp(settings, self.sessions, self.measured, lambda: self, self.links)
        code = parse_qs(urlsplit(LoginLinks(settings).mint("/studio")).query)["code"][0]
        self.cookie = str(self.sessions.redeem(code)).partition(";")[0]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = ((HistoryApp, self.history), (VisitApp, self.visits))
        part = next((app for kind, app in parts if kind.handles(scope["path"])), self.arm)
        await part(scope, receive, send)

    def _who(self, scope: Scope) -> Principal:
        if guest := scope.get(GUEST):
            return guest
        found = self.sessions.read(scope["method"], scope["headers"])
        if found is None:
            raise ArmError(401, "AuthenticationFailed", "nobody")
        return found

    def _authorize(self, principal: Principal, *asked: Any) -> None:
        if principal.kind == "guest":
            self.workspaces.authorize(principal, *asked)
        if not self.allowed:
            raise ArmError(403, "AuthorizationFailed", "not for you")

    def submit(self, name: str, **more: Any) -> None:
        job = {"jobType": "Command", "command": "python t.py", "environmentId": CURATED, **more}
        answer = self.harness.put(f"{WORKSPACE}/jobs/{name}", {"properties": job})
        assert answer.status_code == 201, answer.text

    def open(self, path: str, query: Mapping[str, str] = HERE, **headers: str) -> httpx.Response:
        return self.ask("GET", path, query, headers={"cookie": self.cookie, **headers})

    def send_form(
        self, path: str, token: str, fields: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        own = {"cookie": self.cookie, "origin": self.harness.settings.url, "sec-fetch-site": "same-origin"}
        data = {**(fields or {}), "token": token}
        return self.ask("POST", path, HERE, headers={**own, **(headers or {})}, data=data)

    def ask(self, method: str, path: str, query: Mapping[str, str], **more: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.studio)
            async with httpx.AsyncClient(transport=transport, base_url=self.harness.settings.url) as client:
                return await client.request(method, path, params=query or None, **more)

        return asyncio.run(call())


def form_token(page: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', page)
    assert found, page
    return found[1]
