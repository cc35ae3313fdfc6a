"""Inputs from the web, over a real HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from smalt.agent.failures import SetupError
from smalt.agent.fetch import fetch


class Echo(BaseHTTPRequestHandler):
    """Answers with the path as it came; `/long/…` says a length that is none."""

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(404 if self.path.startswith("/missing") else 200)
        self.send_header("Content-Length", "many" if self.path.startswith("/long") else str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "name", "sent"),
    [
        ("/a/b.csv", "b.csv", "/a/b.csv"),
        ("/дані.csv", "дані.csv", "/%D0%B4%D0%B0%D0%BD%D1%96.csv"),
        ("/my data.csv?who=ä b&sig=a%2Fb+c", "my data.csv", "/my%20data.csv?who=%C3%A4%20b&sig=a%2Fb+c"),
        ("/a%20b.csv#part", "a b.csv", "/a%20b.csv"),
        ("/", "data", "/"),
    ],
)
def test_what_people_write_is_fetched(address: str, tmp_path: Path, path: str, name: str, sent: str) -> None:
    target = fetch(address + path, tmp_path / "in", "d")
    assert (target.name, target.read_text()) == (name, sent)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "file:///etc/passwd",
        "http://",
        "http://[x/y",
        "http://x:port/y",
        "http://" + "ä" * 80 + ".invalid/",
    ],
)
def test_an_address_that_is_none_is_the_users_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(SetupError, match="Input 'd'"):
        fetch(url, tmp_path / "in", "d")


@pytest.mark.parametrize("path", ["/missing", "/long"])
def test_an_answer_that_does_not_help_is_told_without_its_secrets(address: str, tmp_path: Path, path: str) -> None:
    with pytest.raises(SetupError, match="Input 'd'") as caught:
        fetch(f"{address}{path}?sig=secret", tmp_path / "in", "d")
    assert path in str(caught.value)
    assert "secret" not in str(caught.value)
