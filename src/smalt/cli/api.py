"""The platform's own API, asked as the owner of the root: for commands about jobs."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from smalt.arm.ids import workspace_id
from smalt.cli.access import owner_token
from smalt.cli.root import CliError, holder, no_platform, resolve
from smalt.config import read_settings
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION, Settings

API_VERSION = "2024-10-01"
TERMINAL = frozenset({"Completed", "Failed", "Canceled", "NotResponding"})
Document = dict[str, Any]
PIECE = 4 << 20
_QUIET_S = 40.0  # a stream says something each 15 s
_PATIENCE_S, _PAUSE_S = 60.0, 0.5  # with a platform that is started again


class Api:
    """One workspace. Whatever goes wrong is a CliError."""

    def __init__(self, settings: Settings, workspace: str) -> None:
        self.workspace = str(workspace_id(SUBSCRIPTION, RESOURCE_GROUP, workspace))
        self.context = ssl.create_default_context(cafile=str(settings.tls / "ca.pem"))
        self.settings = settings
        self._client = httpx.Client(base_url=settings.url, verify=self.context, timeout=60, trust_env=False)

    def close(self) -> None:
        self._client.close()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {owner_token(self.settings)}"}

    def get(self, path: str, **query: str) -> Document:
        """From the workspace, or, where it begins with a slash, from the top."""
        return self.send("GET", path, **query)

    def send(self, method: str, path: str, body: Any = None, **query: str) -> Document:
        answer = self._asked(method, path, body, **query)
        check(answer)
        return answer.json() if answer.content else {}

    def _asked(self, method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        path = path if path.startswith("/") else f"{self.workspace}/{path}"
        query = {"api-version": API_VERSION, **query}
        try:
            return self._client.request(method, path, params=query, json=body, headers=self.headers)
        except httpx.HTTPError as error:
            raise CliError(f"the platform does not answer: {error or type(error).__name__}") from error

    def has_job(self, name: str) -> bool:
        answer = self._asked("GET", f"jobs/{name}")
        if answer.status_code != 404:
            check(answer)
        return answer.status_code != 404

    def job(self, name: str) -> Document:
        """Its properties."""
        return self.get(f"jobs/{name}")["properties"]

    def files(self, name: str) -> dict[str, str]:
        """The URLs of a job's logs, by their names."""
        return self.get(f"/history/v1.0{self.workspace}/runs/{name}/details")["logFiles"]

    def read(self, url: str, begin: int) -> bytes:
        """What is in a log from this byte on, or the first `PIECE` bytes of that; empty at its end."""
        try:
            answer = self._client.get(url, headers={"Range": f"bytes={begin}-{begin + PIECE - 1}"})
        except httpx.HTTPError as error:
            raise CliError(f"the platform does not answer: {error or type(error).__name__}") from error
        if answer.status_code in (404, 416):
            return b""
        check(answer)
        return answer.content

    def changes(self, path: str, **query: str) -> Iterator[Document | None]:
        """Changes of what is at `path` as they come (docs/changes.md).

        None: from here on they are heard, so that what was read before may be old; also after a line that broke off.
        """
        path, since = f"{self.workspace}/{path}".rstrip("/") + "/changes", time.monotonic()
        while True:
            try:
                for change in self._stream(path, {"after": "now", **query}):
                    since = time.monotonic()
                    yield change
            except httpx.HTTPError as error:
                if time.monotonic() - since > _PATIENCE_S:
                    raise CliError(f"the platform does not answer: {error or type(error).__name__}") from error
            time.sleep(_PAUSE_S)  # it is starting again

    def _stream(self, path: str, query: Mapping[str, str]) -> Iterator[Document | None]:
        headers, timeout = {**self.headers, "Accept": "text/event-stream"}, httpx.Timeout(10, read=_QUIET_S)
        with self._client.stream("GET", path, params=query, headers=headers, timeout=timeout) as answer:
            if answer.status_code >= 500:
                return
            if answer.status_code >= 400:
                answer.read()
            check(answer)
            yield None
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


@contextmanager
def opened(root: Path | None, workspace: str) -> Iterator[Api]:
    """The API of the platform that runs on the root."""
    place = resolve(root)
    if holder(place) is None:
        raise no_platform(place)
    api = Api(read_settings(place), workspace)
    try:
        yield api
    finally:
        api.close()


def check(answer: httpx.Response) -> None:
    """Raises CliError with what the platform said."""
    if answer.status_code < 400:
        return
    try:
        raise CliError(str(answer.json()["error"]["message"]))
    except (ValueError, KeyError, TypeError):
        raise CliError(f"the platform answered {answer.status_code} {answer.reason_phrase}") from None
