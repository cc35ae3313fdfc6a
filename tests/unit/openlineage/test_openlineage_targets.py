"""Where events go: a file that has each once, and a URL that is asked again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from smalt.openlineage.targets import FileTarget, NotTold, Refused, UrlTarget


def event(number: int) -> dict[str, Any]:
    run = {"runId": f"00000000-0000-0000-0000-{number:012}"}
    return {"eventType": "START", "eventTime": "2026-11-26T00:00:00.000000Z", "run": run, "job": {"name": "ü"}}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_has_a_line_for_each_event_and_is_the_owners(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    FileTarget(path).tell([event(1), event(2)])
    assert lines(path) == [event(1), event(2)] and path.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_server_wrote_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    FileTarget(path).tell([event(1), event(2)])
    with path.open("a") as file:
        file.write(json.dumps(event(3))[:30])  # killed in the middle of a line
    again = FileTarget(path)
    again.tell([event(2), event(3)])
    again.tell([event(4)])
    assert lines(path) == [event(number) for number in (1, 2, 3, 4)]


def test_a_file_that_was_moved_away_begins_anew(tmp_path: Path) -> None:
    path, target = tmp_path / "events.ndjson", FileTarget(tmp_path / "events.ndjson")
    target.tell([event(1)])
    path.rename(tmp_path / "events.1")
    target.tell([event(2)])
    assert lines(path) == [event(2)]


def test_what_cannot_be_written_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(NotTold, match=r"no plain file|directory"):
        FileTarget(tmp_path).tell([event(1)])
    with pytest.raises(NotTold, match="No such file"):
        FileTarget(tmp_path / "none" / "x").tell([event(1)])
    with pytest.raises(NotTold, match="no plain file"):
        FileTarget(Path("/dev/null")).tell([event(1)])


class Answering(ThreadingHTTPServer):
    """`answers`: the statuses of the next answers; then 201."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.asked: list[tuple[str, str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = cast(Answering, self.server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append((self.path, self.headers.get("Authorization", ""), body))
        self.send_response(server.answers.pop(0) if server.answers else 201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def answering() -> Iterator[Answering]:
    server = Answering()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_gets_a_request_for_each_event(answering: Answering) -> None:
    base = f"http://127.0.0.1:{answering.server_port}"
    UrlTarget(base, "k").tell([event(1), event(2)])
    UrlTarget(f"{base}/hook/x", "").tell([event(3)])
    assert [(path, key) for path, key, _ in answering.asked] == [
        ("/api/v1/lineage", "Bearer k"),
        ("/api/v1/lineage", "Bearer k"),
        ("/hook/x", ""),
    ]
    assert [body for _, _, body in answering.asked] == [event(1), event(2), event(3)]


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, NotTold), (401, NotTold), (404, NotTold), (429, NotTold), (302, NotTold), (422, Refused)],
)
def test_an_answer_that_is_no_success(answering: Answering, status: int, error: type[Exception]) -> None:
    answering.answers = [status]
    with pytest.raises(error, match=str(status)):
        UrlTarget(f"http://127.0.0.1:{answering.server_port}", "").tell([event(1)])


def test_nobody_there() -> None:
    with pytest.raises(NotTold, match=r"127\.0\.0\.1:1"):
        UrlTarget("http://127.0.0.1:1", "").tell([event(1)])
