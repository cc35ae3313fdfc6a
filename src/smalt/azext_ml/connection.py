"""One server, one workspace and one login: the REST requests of the commands, without any SDK."""

from __future__ import annotations

import base64
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any
from urllib.parse import quote, urlencode

from .errors import MLError

API = "2024-04-01"
PROVIDER = "Microsoft.MachineLearningServices"
PIECE = 4 << 20
_TIMEOUT_S = 120.0
_BUSY = (429, 503)
_TRIES = 4
_ENDED = ("succeeded", "failed", "canceled")


@dataclass(frozen=True)
class Answer:
    """`body` is the JSON, or None without one; `headers` in lower case."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Connection:
    """`token` gives a bearer token for a resource, by its URL; `credential` what the SDK takes, with `get_token`."""

    url: str
    subscription: str
    token: Callable[[str], str]
    credential: Callable[[], Any]
    group: str = ""
    workspace: str = ""
    registry: str = ""  # in place of a workspace
    notify: Callable[[str], None] = field(default=lambda text: None)  # a line on standard error

    def within(self, group: str, workspace: str) -> Connection:
        return replace(self, group=group, workspace=workspace)

    def in_registry(self, name: str) -> Connection:
        """The registry of this name, wherever it is. Raises MLError where there is none."""
        found = self.get(f"/registrymanagement/v1.0/registries/{quote(name, safe='')}/discovery")
        return replace(
            self,
            subscription=found["subscriptionId"],
            group=found["resourceGroup"],
            workspace="",
            registry=found["registryName"],
        )

    @property
    def group_path(self) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{quote(self.group)}"

    @property
    def workspace_path(self) -> str:
        return f"{self.group_path}/providers/{PROVIDER}/workspaces/{quote(self.workspace)}"

    @property
    def home_path(self) -> str:
        """Of the workspace; of a registry, where its assets have the ids that users know."""
        if not self.registry:
            return self.workspace_path
        return f"/mferp/managementfrontend{self.group_path}/providers/{PROVIDER}/registries/{quote(self.registry)}"

    @cached_property
    def _token(self) -> str:
        """Asked for once, and again where the server knows it no more."""
        return self.token(self.url)

    @cached_property
    def tenant(self) -> str:
        """The tenant of who is logged in, '' where the token does not say."""
        with_padding = self._token.split(".")[1] + "==" if self._token.count(".") == 2 else "e30="
        return str(json.loads(base64.urlsafe_b64decode(with_padding)).get("tid") or "")

    def get(self, path: str, **query: Any) -> Any:
        """The JSON below the workspace or registry, or of a path from the root that begins with a slash."""
        return self.send("GET", path, query=query).body

    def pages(self, path: str, **query: Any) -> Iterator[Any]:
        """The members of a list, page by page as they are asked for."""
        answer = self.get(path, **query)
        while True:
            yield from answer.get("value") or ()
            if not (link := answer.get("nextLink")):
                return
            answer = self._request("GET", self._own(link)).body

    def send(
        self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None, if_match: str = ""
    ) -> Answer:
        """`if_match`: the ETag that it has to have. Raises MLError where the server refuses, or is not there."""
        asked = {"api-version": API, **{name: value for name, value in (query or {}).items() if value is not None}}
        below = path if path.startswith("/") else f"{self.home_path}/{path}" if path else self.home_path
        return self._request(method, f"{self.url}{below}?{urlencode(asked)}", body, if_match)

    def act(self, method: str, path: str, body: Any = None, wait: bool = True, if_match: str = "") -> Any:
        """A change that may take time; waited for unless told. The answer's JSON, or that at the operation's end."""
        answer = self.send(method, path, body, if_match=if_match)
        poll = answer.headers.get("azure-asyncoperation")
        if not wait or not (poll or (answer.status == 202 and "location" in answer.headers)):
            return answer.body
        if poll:
            self._until_ended(poll)
            location = answer.headers.get("location")
            return self._request("GET", self._own(location)).body if location and method == "POST" else answer.body
        return self._until_there(answer.headers["location"])

    def bytes_from(self, url: str, start: int) -> bytes:
        """Up to `PIECE` bytes of a blob from there on, by an address with its own permission; b"" at its end."""
        headers = {"x-ms-version": "2021-08-06", "Range": f"bytes={start}-{start + PIECE - 1}"}
        try:
            with self._open(urllib.request.Request(self._own(url), headers=headers)) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code in (404, 416):  # not written yet, or no more than before
                return b""
            raise MLError.answered(error.code, _parsed(error.read())) from None

    def score(self, url: str, secret: str, body: bytes, headers: Mapping[str, str]) -> str:
        """What an endpoint answers, whose keys and tokens are its own."""
        own = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", **headers}
        try:
            with self._open(urllib.request.Request(self._own(url), body, own, method="POST")) as answer:
                return answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            raise MLError.answered(error.code, _parsed(error.read())) from None

    def _until_ended(self, url: str) -> None:
        while True:
            answer = self._request("GET", self._own(url))
            status = str((answer.body or {}).get("status", "Succeeded"))
            if status.lower() in _ENDED:
                break
            _pause(answer)
        if status.lower() != "succeeded":
            raise MLError.answered(answer.status, answer.body if answer.body.get("error") else f"it ended as {status}")

    def _until_there(self, url: str) -> Any:
        while (answer := self._request("GET", self._own(url))).status == 202:
            _pause(answer)
        return answer.body

    def _own(self, url: str) -> str:
        """A token is for this server alone, wherever an answer may lead."""
        if not url.startswith(f"{self.url}/"):
            raise MLError(f"The server at {self.url} leads to another one: {url}")
        return url

    def _request(self, method: str, url: str, body: Any = None, if_match: str = "") -> Answer:
        headers = {"Accept": "application/json", "User-Agent": "azsdk-python-smalt-ml"}
        if if_match:
            headers["If-Match"] = if_match
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        for left in reversed(range(_TRIES)):
            headers["Authorization"] = f"Bearer {self._token}"
            try:
                with self._open(urllib.request.Request(url, data, headers, method=method)) as answer:
                    return Answer(answer.status, _parsed(answer.read()), _lower(answer.headers))
            except urllib.error.HTTPError as error:
                refused = Answer(error.code, _parsed(error.read()), _lower(error.headers))
                if error.code == 401 and left == _TRIES - 1:
                    self.__dict__.pop("_token")  # it may have ended meanwhile
                elif error.code in _BUSY and left:
                    _pause(refused)
                else:
                    raise MLError.answered(error.code, refused.body) from None
        raise AssertionError("the last try answers or raises")

    def _open(self, request: urllib.request.Request) -> Any:
        try:
            return opener().open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError:
            raise
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise MLError(f"{self.url} cannot be reached: {reason}") from None


@cache
def opener() -> urllib.request.OpenerDirector:
    """Trusts what the official clients trust: the file that REQUESTS_CA_BUNDLE names, else the system's."""
    authority = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None
    context = ssl.create_default_context(cafile=authority)
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode("utf-8", "replace")


def _pause(answer: Answer) -> None:
    """As long as the server says; it holds what it can answer soon, so that this is mostly nothing."""
    milliseconds, seconds = answer.headers.get("x-ms-retry-after-ms", ""), answer.headers.get("retry-after", "")
    wanted = float(milliseconds) / 1000 if milliseconds.isdigit() else float(seconds) if seconds.isdigit() else 1.0
    time.sleep(min(wanted, 20.0))
