"""Where events go: appended to a file, a line each, or sent to a URL, a request each."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from smalt.store.document import Document

KEY = "OPENLINEAGE_API_KEY"  # the variable that opens a URL, as OpenLineage's own clients call it
ROUTE = "/api/v1/lineage"  # where nothing else is said
TIMEOUT_S = 10.0
_TAIL_BYTES = 4 << 20
_REFUSED = (400, 413, 422)  # this event, and not the next


class NotTold(Exception):
    """It could not be told now, and is to be tried again."""


class Refused(Exception):
    """What is there takes no such event: to try again is of no use."""


class Target(Protocol):
    def tell(self, events: Sequence[Document]) -> None:
        """All of them, in order, before it returns. Raises NotTold; Refused, for one event alone."""
        ...


class FileTarget:
    """A line of JSON for each event. After a start or a failure it looks which of them its end has already."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._there: set[str] | None = None

    def tell(self, events: Sequence[Document]) -> None:
        try:
            self._append(events)
        except OSError as error:
            self._there = None
            raise NotTold(f"{self._path}: {error.strerror or error}") from error

    def _append(self, events: Sequence[Document]) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0):
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(0, "it is no plain file")
            if self._there is None:
                self._there = _repaired(descriptor)
            lines = [_line(one) for one in events if identity(one) not in self._there]
            data = "".join(lines).encode()
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)


def identity(event: Document) -> str:
    """Equal for an event that is told again."""
    made = [one["name"] for one in event.get("outputs", ())] if event["eventType"] == "OTHER" else []
    return json.dumps([event["run"]["runId"], event["eventType"], event["eventTime"], made])


def _line(event: Document) -> str:
    return json.dumps(event, separators=(",", ":")) + "\n"


def _repaired(descriptor: int) -> set[str]:
    """What the file's end has; a line that was not written to its end is cut off."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - _TAIL_BYTES)
    data = os.pread(descriptor, size - begin, begin)
    whole = data.rfind(b"\n") + 1
    if whole < len(data) and (whole or not begin):
        os.ftruncate(descriptor, begin + whole)
    found: set[str] = set()
    for line in data[:whole].splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found.add(identity(json.loads(line)))
    return found


class UrlTarget:
    """A POST for each event, as OpenLineage's own clients send them. Redirects are not followed."""

    def __init__(self, url: str, key: str) -> None:
        path = urlsplit(url).path
        self._url = url if path.strip("/") else url.rstrip("/") + ROUTE
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=TIMEOUT_S, headers=headers)

    def tell(self, events: Sequence[Document]) -> None:
        for event in events:
            try:
                answer = self._client.post(self._url, json=event)
            except httpx.HTTPError as error:
                raise NotTold(f"{self._url}: {str(error) or type(error).__name__}") from error
            if answer.status_code in _REFUSED:
                raise Refused(f"{self._url} answered {answer.status_code}: {answer.text[:300]}")
            if not answer.is_success:
                raise NotTold(f"{self._url} answered {answer.status_code} {answer.reason_phrase}")


def target(setting: str, key: str = "") -> Target:
    return UrlTarget(setting, key) if "://" in setting else FileTarget(Path(setting))
