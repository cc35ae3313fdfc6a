"""Server-sent events over HTTP: they resume, end with their reader and with the server, and are bounded."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from fakes.platform import OWNER, WORKSPACE, Harness
from live.patience import PATIENCE_S
from smalt.arm.errors import forbidden
from smalt.arm.event_stream import StreamPace, Streams
from smalt.arm.router import ArmApp
from smalt.server_socket import EndingServer, PeerProtocol
from smalt.store import changes, feed
from smalt.store.changes import What

DATA = {"properties": {"dataUri": "azureml://datastores/workspaceblobstore/paths/x/", "dataType": "uri_folder"}}
STREAM = {"Accept": "text/event-stream"}
VERSIONS = "kind=workspaces/data/versions"


@dataclass
class Site:
    """A server in a thread, on a port, with the streams that it has open."""

    harness: Harness
    pace: StreamPace
    allowed: bool = True

    def __post_init__(self) -> None:
        self.heard: list[float] = []
        self.streams = Streams(self.harness.platform.hub, self.pace, self.heard.append)
        self.app = ArmApp(self.harness.platform, self.harness.crud, lambda scope: OWNER, self._authorize, self.streams)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        config = uvicorn.Config(
            self.app,
            loop="uvloop",
            http=PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=5,
        )
        self._server = EndingServer(config, self.harness.platform.hub.close)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    def _authorize(self, *_: object) -> None:
        if not self.allowed:
            raise forbidden("no more")

    def stop(self) -> float:
        """How long it took."""
        began = time.monotonic()
        self._server.should_exit = True
        self._thread.join()
        return time.monotonic() - began

    def put(self, name: str) -> None:
        assert self.harness.put(f"{WORKSPACE}/data/{name}/versions/1", DATA).status_code == 201

    def get(self, query: str = "", **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{WORKSPACE}/changes?{query}", headers=headers)

    @contextlib.contextmanager
    def stream(self, query: str = "", **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
        with (
            httpx.Client(timeout=PATIENCE_S) as client,
            client.stream("GET", f"{self.url}{WORKSPACE}/changes?{query}", headers={**STREAM, **headers}) as answer,
        ):
            assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
            yield self.events(answer)

    @staticmethod
    def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
        """Each event with `id`; a block without data as {"id": …}."""
        block: dict[str, Any] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(":")
            if line:
                block[name] = value.strip()
            elif block:
                yield {
                    **json.loads(block.get("data", "{}")),
                    **{key: block[key] for key in ("id", "retry") if key in block},
                }
                block = {}

    def until(self, holds: Callable[[], bool]) -> None:
        """What follows a connection's end follows in the server's event loop."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)


def site_of(harness: Harness, **pace: Any) -> Site:
    return Site(harness, StreamPace(**pace))


@pytest.fixture
def site(harness: Harness) -> Iterator[Site]:
    one = site_of(harness)
    yield one
    one.stop()


def test_what_comes_is_sent_at_once_and_a_reader_resumes(harness: Harness) -> None:
    site = site_of(harness, heartbeat_s=600.0)  # what comes before that was sent as it came
    with site.stream(f"after=now&{VERSIONS}") as events:
        assert next(events) == {"retry": "1000"}
        site.put("a")
        first = next(events)
        assert first["resourceId"].endswith("/data/a/versions/1")
        assert first["id"] == first["cursor"] and first["actor"] == OWNER.name
        site.until(lambda: site.heard)
        (at,) = site.heard
        assert site.harness.clock.now - 1 < at <= site.harness.clock.now, "how long it waited can be told"
    site.put("b")
    with site.stream(f"after=now&{VERSIONS}", **{"Last-Event-ID": first["id"]}) as events:
        site.put("c")
        names = [next(events).get("resourceId", "").rpartition("/data/")[2] for _ in range(3)]
    assert names == ["", "b/versions/1", "c/versions/1"]


def test_all_of_it_in_order_over_many_disconnects(site: Site) -> None:
    """A writer, and a reader that is cut off after each few events."""
    count = 60
    writer = threading.Thread(target=lambda: [site.put(f"d{number}") for number in range(count)])
    seen: list[str] = []
    last = site.get("after=now").json()["cursor"]
    writer.start()
    while len(seen) < count:
        with site.stream(VERSIONS, **{"Last-Event-ID": last}) as events:
            for event in events:
                if "resourceId" in event:
                    seen.append(event["resourceId"].split("/")[-3])
                    last = event["id"]
                    if len(seen) % 7 == 6 or len(seen) == count:
                        break
    writer.join()
    assert seen == [f"d{number}" for number in range(count)]
    site.until(lambda: site.streams.number == 0)


def test_a_reader_that_leaves_frees_everything(site: Site) -> None:
    hub = site.harness.platform.hub
    for _ in range(20):
        with site.stream("after=now") as events:
            next(events)
    site.until(lambda: site.streams.number == 0 and not hub._watching)


def test_streams_are_bounded(harness: Harness) -> None:
    site = site_of(harness, most=3, most_of_one=2)
    with site.stream("after=now") as one, site.stream("after=now") as two:
        next(one), next(two)
        refused = site.get("after=now", **STREAM)
        assert refused.status_code == 429 and "retry-after" in refused.headers
        assert refused.json()["error"]["code"] == "TooManyStreams"
        assert site.get().status_code == 200, "a page takes no stream"
        site.streams._open["another"] += 1
        site.streams._pace = StreamPace(most=3, most_of_one=9)
        full = site.get("after=now", **STREAM)
        assert full.status_code == 503 and full.json()["error"]["code"] == "ServerBusy"
        del site.streams._open["another"]
    site.until(lambda: site.streams.number == 0)
    site.stop()


def test_streams_end_with_the_server(harness: Harness) -> None:
    site = site_of(harness)
    with site.stream("after=now") as events:
        next(events)
        assert site.stop() < 4, "nobody waits for the reader"
        assert list(events) == [], "and it has come to its end, not broken off"


def test_while_nothing_comes_the_reader_hears_that_it_lives(harness: Harness) -> None:
    site = site_of(harness, heartbeat_s=0.05)
    with site.stream(f"after=now&{VERSIONS}") as events:
        next(events)
        quiet = next(events)
        assert set(quiet) == {"id"}, "where to go on, though nothing was shown"
        harness.put(f"{WORKSPACE}/environments/e/versions/1", {"properties": {"image": "x"}})
        site.put("a")
        assert any("resourceId" in event for event in (next(events) for _ in range(50)))
    site.stop()


def test_who_may_read_no_longer_is_sent_nothing_more_of_a_busy_feed(harness: Harness) -> None:
    site, done = site_of(harness, heartbeat_s=0.1), threading.Event()

    def write() -> None:
        while not done.is_set():
            with harness.database.write() as connection:
                changes.record(connection, WORKSPACE.lower(), "a", "b", "", 1.0, what=What.STATE, kind="workspaces")

    writer = threading.Thread(target=write)
    writer.start()
    with site.stream("after=now") as events:
        next(events), next(events)
        site.allowed = False
        assert all("id" in event for event in events), "it ends, though there is more"
    done.set()
    writer.join()
    site.stop()


def test_who_may_read_no_longer_is_sent_nothing_more(harness: Harness) -> None:
    site = site_of(harness, heartbeat_s=0.05)
    with site.stream("after=now") as events:
        next(events)
        site.allowed = False
        assert all(set(event) == {"id"} for event in events), "it ends"
    site.until(lambda: site.streams.number == 0)
    site.stop()


def test_a_reader_that_takes_nothing_is_given_up_and_keeps_nothing(harness: Harness) -> None:
    """More than a connection takes up unread: the stream stops reading the feed, and after a while it ends."""
    site = site_of(harness, stalled_s=0.3)
    with harness.database.write() as connection:
        for _ in range(4000):
            changes.record(connection, WORKSPACE.lower(), "a", "b", "x" * 5000, 1.0, what=What.STATE, kind="workspaces")
    read: list[feed.Page] = []
    stalled = site.app._feed
    original = stalled._read
    stalled._read = lambda *asked: read.append(page := original(*asked)) or page  # type: ignore[func-returns-value]
    ended: list[str] = []
    close = site.streams._close
    site.streams._close = lambda reader: ended.append(reader) or close(reader)  # type: ignore[func-returns-value]
    idle = socket.socket()
    idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    idle.connect(site.address)
    idle.sendall(f"GET {WORKSPACE}/changes HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode())
    site.until(lambda: ended)
    assert site.streams.number == 0
    assert sum(len(page.changes) for page in read) < 3000, "what was not taken was not read"
    idle.close()
    site.stop()


@pytest.mark.parametrize("cursor", ["yesterday", "MX5-fjk5OTk5"])
def test_a_wrong_cursor_is_refused_before_the_stream_begins(site: Site, cursor: str) -> None:
    for headers, query, named in (
        (STREAM, f"after={cursor}", "after"),
        ({**STREAM, "Last-Event-ID": cursor}, "", "Last-Event-ID"),
    ):
        answer = site.get(query, **headers)
        assert answer.status_code == 400 and answer.json()["error"]["target"] == named


def test_a_restart_resumes(harness: Harness, tmp_path: Path) -> None:
    site = site_of(harness)
    with site.stream(f"after=now&{VERSIONS}") as events:
        next(events)
        site.put("a")
        last = next(events)["id"]
    site.stop()
    again = Harness(tmp_path, framed=False)
    again.clock.now = harness.clock.now + 1
    other = site_of(again)
    other.put("b")
    with other.stream(VERSIONS, **{"Last-Event-ID": last}) as events:
        assert [next(events).get("resourceId", "/").split("/")[-3:] for _ in range(2)][1] == ["b", "versions", "1"]
    other.stop()
    again.close()
