"""Traces of scoring requests, sent by a real Envoy to whoever listens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from gateway_site import Site, endpoint, standing, wait

from live.ports import free_port

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def heard() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """The address of a receiver, and what came: path and body."""
    found: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b""
            while size := int(self.rfile.readline(), 16):  # Envoy sends it in chunks
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            found.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", free_port()), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", found
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def site(heard: tuple[str, list[tuple[str, bytes]]]) -> Iterator[Site]:
    with standing(otlp=heard[0]) as made:
        yield made


def test_a_scoring_request_is_a_span_of_the_trace_of_its_client(
    site: Site, heard: tuple[str, list[tuple[str, bytes]]]
) -> None:
    site.server()
    blue = site.replica("traced")[0]
    site.put(endpoint("traced", {"blue": 100}, {"blue": [blue]}))
    client = site.client()
    assert client.ask("GET", "/anything").status == 200
    answer = client.score("traced", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    assert answer.json["headers"]["traceparent"].split("-")[1] == TRACE
    wait(lambda: bool(heard[1]))
    path, body = heard[1][0]
    assert path == "/v1/traces" and b"traced/blue" in body and bytes.fromhex(TRACE) in body
    assert b"/anything" not in body and b"first-key" not in body
