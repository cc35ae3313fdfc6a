"""The Studio on a platform with fakes: a workspace, and a browser that has a session."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from starlette.types import Receive, Scope, Send

from fakes.examples import CURATED
from fakes.platform import WORKSPACE, Harness
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.arm.router import ArmApp
from smalt.auth.login_links import LoginLinks
from smalt.auth.sessions import Sessions
from smalt.studio.app import StudioApp
from smalt.tracking.dataplane.history import HistoryApp

HERE = {"wsid": WORKSPACE}


class Measured:
    """Three lines of one run."""

    def __init__(self) -> None:
        self.asked = list[str]()

    def run(self, workspace: str, name: str) -> Any:
        return None

    def latest_metrics(self, workspace: str, name: str) -> Any:
        self.asked.append(name)
        return [("loss", 0.5, 2), ("<i>", None, 1)]

    def metric_points(self, workspace: str, name: str, metric: str, most: int) -> Any:
        self.asked.append(name)
        return [(1.0, 1000, 0), (None, 2000, 1), (0.5, 3000, 2)]


class StudioSite:
    """A workspace, and a browser that has a session."""

    def __init__(self, root: Path) -> None:
        self.harness = Harness(root)
        settings = self.harness.settings
        self.sessions = Sessions(settings, self.harness.database)
        self.allowed = True
        self.arm = ArmApp(self.harness.platform, self.harness.crud, self._who, self._authorize)
        self.history = HistoryApp(self.harness.platform, self._who, self._authorize)
        self.measured = Measured()
        self.studio = StudioApp(settings, self.sessions, self.measured, lambda: self)
        code = parse_qs(urlsplit(LoginLinks(settings).mint("/studio")).query)["code"][0]
        self.cookie = str(self.sessions.redeem(code)).partition(";")[0]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        part = self.history if HistoryApp.handles(scope["path"]) else self.arm
        await part(scope, receive, send)

    def _who(self, scope: Scope) -> Principal:
        found = self.sessions.read(scope["method"], scope["headers"])
        if found is None:
            raise ArmError(401, "AuthenticationFailed", "nobody")
        return found

    def _authorize(self, *_: Any) -> None:
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
