"""A proxy before an HTTP service that fails as it is told: 503s, bodies that are cut off, answers that get lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx

from live.patience import ANSWER_S, PATIENCE_S

BUSY, CUT, LOST, REFUSED = "503", "the body is cut off", "done, and no answer", "403"
_NOT_BACK = {"transfer-encoding", "connection", "content-length", "content-encoding"}


class Faults:
    """`next` says what happens to the coming requests, one after the other; `always` to all behind those."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.next: list[str] = []
        self.always = ""
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self) -> None:
        self._server.serve_forever(0.05)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, request: str) -> str:
        with self._lock:
            self.requests.append(request)
            return self.next.pop(0) if self.next else self.always

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        faults = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                fault = faults.take(f"{self.command} {urlsplit(self.path).path}")
                if fault in (BUSY, REFUSED):
                    self._answer(int(fault), {}, b"<Error><Code>SlowDown</Code><Message>s3cret</Message></Error>")
                    return
                with httpx.Client(timeout=ANSWER_S) as client:
                    headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                    got = client.request(self.command, faults.service + self.path, headers=headers, content=body)
                self.close_connection = fault in (CUT, LOST)
                if fault != LOST:
                    kept = {name: value for name, value in got.headers.items() if name.lower() not in _NOT_BACK}
                    length = got.headers.get("content-length") if self.command == "HEAD" else None
                    self._answer(got.status_code, kept, got.content, fault == CUT, length)

            def _answer(
                self, status: int, headers: dict[str, str], body: bytes, cut: bool = False, length: str | None = None
            ) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", length or str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body[: len(body) // 2] if cut else body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

            def log_message(self, *_: object) -> None: ...

        return Handler


@contextmanager
def faults_before(service: str) -> Iterator[Faults]:
    made = Faults(service)
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(PATIENCE_S)
