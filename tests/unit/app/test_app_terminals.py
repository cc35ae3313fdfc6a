"""A terminal in the browser: its page, its socket, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from fakes.platform import Harness
from smalt.arm.services import TERMINAL, Place
from smalt.web.terminals import Patience, attend
from smalt.web.websocket import WebSocket

from .test_app_services import PAGE, Site

UPGRADE = {
    "Authorization": "Bearer good",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
PROOF = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of that key, as RFC 6455 has it


@pytest.fixture
def site(harness: Harness) -> Iterator[Site]:
    made = Site(harness)
    made.host = f"terminal-{TERMINAL}-{made.task.removeprefix('job-')}.services.localhost:7443"
    yield made
    made.close()


def masked(body: bytes, kind: int = 2, last: bool = True) -> bytes:
    """A frame as a browser sends it."""
    mask, size = os.urandom(4), len(body)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
    head = bytes([(0x80 if last else 0) | kind]) + length + mask
    return head + bytes(one ^ mask[at % 4] for at, one in enumerate(body))


class Browser:
    """The other end of a socket that was upgraded."""

    def __init__(self, line: socket.socket) -> None:
        self.line, self._said = line, b""
        line.settimeout(20)

    def opened(self) -> str:
        while b"\r\n\r\n" not in self._said:
            self._more()
        head, _, self._said = self._said.partition(b"\r\n\r\n")
        return head.decode()

    def frame(self) -> tuple[int, bytes]:
        while len(self._said) < 2 or len(self._said) < 2 + self._said[1]:
            self._more()
        kind, size = self._said[0] & 0xF, self._said[1]
        assert size < 126, "these tests send little"
        body, self._said = self._said[2 : 2 + size], self._said[2 + size :]
        return kind, body

    def closed(self) -> tuple[int, str]:
        """The code and the words, whatever comes before."""
        while True:
            kind, body = self.frame()
            if kind == 8:
                return int.from_bytes(body[:2], "big"), body[2:].decode()

    def _more(self) -> None:
        data = self.line.recv(65536)
        assert data, "it hung up"
        self._said += data


def shell(site: Site, path: str = "/shell?rows=30&columns=100") -> tuple[Browser, socket.socket, Any]:
    browser = Browser(site.send(path, **UPGRADE))
    head = browser.opened()
    assert head.startswith("HTTP/1.1 101 ") and f"Sec-WebSocket-Accept: {PROOF}" in head
    task, visit, line = site.harness.engine.visits[-1]
    assert task == site.task
    line.settimeout(20)
    return browser, line, visit


def test_its_page_is_of_no_other_origin_and_asks_none(site: Site) -> None:
    status, headers, body = site.ask("/", Authorization="Bearer good", **PAGE)
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Terminal: train-1" in body and "https://localhost:7443/studio/jobs/train-1?wsid=" in body
    assert (
        "default-src 'none'" in headers["Content-Security-Policy"]
        and "script-src 'self'" in headers["Content-Security-Policy"]
    )
    assert "https://" not in body.replace("https://localhost:7443/studio", "")
    for one in ("/terminal.js", "/terminal.css", "/xterm.js", "/xterm.css", "/xterm-fit.js"):
        assert site.ask(one, Authorization="Bearer good")[0] == 200
    for one in ("/index.html", "/../terminals.py", "/shell"):
        assert site.ask(one, Authorization="Bearer good")[0] == 404
    assert site.feed() == [], "nobody has been in yet"


def test_a_shell_of_its_size_both_ways_and_in_the_feed(site: Site) -> None:
    browser, line, visit = shell(site)
    assert (visit.terminal, visit.rows, visit.columns, visit.term) == (True, 30, 100, "xterm-256color")
    browser.line.sendall(masked(b"dls\r"))
    assert line.recv(100) == b"d\0\0\0\3ls\r"
    browser.line.sendall(masked(b"dec", last=False) + masked(b"", kind=9) + masked(b"ho", kind=0))
    assert line.recv(100) == b"d\0\0\0\4echo"
    browser.line.sendall(masked(b"w[40, 120]"))
    assert json.loads(line.recv(100)[5:]) == [40, 120]
    line.sendall(b"o\0\0\0\2hir\0\0\0\2no")
    assert browser.frame() == (10, b""), "the ping's answer"
    assert [browser.frame(), browser.frame()] == [(2, b"ohi"), (2, b"rno")]
    assert site.feed() == ["terminal of node 0"]
    line.sendall(b"x\0\0\0\0013")
    assert browser.closed() == (1000, "The shell has ended with exit code 3.")


def test_the_shell_ends_with_its_page(site: Site) -> None:
    browser, line, _ = shell(site)
    browser.line.close()
    assert line.recv(100) == b""


def test_the_page_is_told_when_the_job_ends(site: Site) -> None:
    browser, line, _ = shell(site)
    line.close()
    code, why = browser.closed()
    assert code == 1001 and "The job has ended" in why


def test_what_no_browser_sends_ends_it(site: Site) -> None:
    for sent, code in (
        (b"\x82\x02no", 1002),  # not masked
        (masked(b"?what"), 1003),
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big"), 1009),
        (masked(b"d", kind=0), 1002),  # goes on with nothing
        (b"\xc2\x80", 1002),  # of an extension
    ):
        browser, line, _ = shell(site)
        browser.line.sendall(sent)
        assert browser.closed()[0] == code and line.recv(100) == b""


def test_a_page_of_another_origin_opens_no_shell(site: Site) -> None:
    place = Place(site.task, TERMINAL)
    link = site.doors.link(site.principal, place)
    cookie = site.ask(link.partition(":7443")[2])[1]["Set-Cookie"].partition(";")[0]
    headers = {name: value for name, value in UPGRADE.items() if name != "Authorization"}
    for origin, status in ((f"https://{site.host}", 101), ("https://localhost:7443", 403), ("", 403)):
        more = {"Origin": origin} if origin else {}
        with site.send("/shell", Cookie=cookie, **headers, **more) as line:
            assert line.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())


def test_who_may_not_write_the_job_or_comes_too_late(site: Site) -> None:
    site.refused = "not for you"
    with site.send("/shell", **UPGRADE) as line:
        assert line.recv(65536).startswith(b"HTTP/1.1 403 ")
    site.refused = ""
    site.harness.engine.finish(site.task)
    site.harness.settle()
    assert site.ask("/", Authorization="Bearer good", **PAGE)[0] in (404, 409)
    assert not site.harness.engine.visits


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


@pytest.mark.parametrize(
    ("patience", "words"),
    [(Patience(idle=0.05, ask=0.02, answer=9), "nothing was typed"), (Patience(9, 0.02, 0.05), "does not answer")],
)
def test_nobody_holds_a_shell_that_nobody_uses(patience: Patience, words: str) -> None:
    async def work() -> None:
        page, gate = socket.socketpair()
        line, process = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=gate)
        with page, process:
            await attend(WebSocket(reader, writer), line, patience)
            writer.close()
            assert words in await asyncio.to_thread(lambda: Browser(page).closed()[1])
            process.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                assert process.recv(10) == b""

    run(work())
