"""Traces of scoring requests, sent by a real Envoy to whoever listens."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gateway_site import Site, endpoint, wait

from live.ports import free_port
from smalt.auth.certificates import ensure_certificates
from smalt.auth.tokens import TokenService
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.settings import Settings

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
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    settings = Settings(folder, "localhost", free_port(), otlp=heard[0])
    ensure_certificates(settings)
    tokens = TokenService(settings)
    made = Site(settings, tokens, EnvoyGateway(settings, tokens))
    made.gateway.write_bootstrap()
    try:
        made.start_envoy()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


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
    wait(lambda: bool(heard[1]), 20)
    path, body = heard[1][0]
    assert path == "/v1/traces" and b"traced/blue" in body and bytes.fromhex(TRACE) in body
    assert b"/anything" not in body and b"first-key" not in body
