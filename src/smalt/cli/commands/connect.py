"""`smalt connect`: a shell, or a command, behind the walls of a job that runs; one HTTP request that goes both ways."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import h11

from smalt.agent.visit import Visit
from smalt.cli.api import Api, opened
from smalt.cli.root import CliError

_PIECE = 64 << 10


def run(root: Path | None, job: str, workspace: str, node: int, words: Sequence[str]) -> int:
    """`words`: what is run there. The exit code is that of what ran."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    size = shutil.get_terminal_size()
    visit = Visit(list(words), terminal, size.lines, size.columns, os.environ.get("TERM", "") if terminal else "")
    with opened(root, workspace) as api, _raw(terminal):
        return asyncio.run(_Line(api, f"/connect/v1{api.workspace}/jobs/{job}/nodes/{node}", visit).run())


@contextlib.contextmanager
def _raw(terminal: bool) -> Iterator[None]:
    """Keys go as they are typed, Ctrl-C too."""
    if not terminal:
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


class _Line:
    """`run` returns the exit code. Raises CliError."""

    def __init__(self, api: Api, path: str, visit: Visit) -> None:
        self._api, self._path, self._visit = api, path, visit
        self._http = h11.Connection(h11.CLIENT)
        self._said = b""
        self._code: int | None = None

    async def run(self) -> int:
        url = urlsplit(self._api.settings.url)
        host, port = url.hostname or "localhost", url.port or 443
        try:
            self._reader, self._writer = await asyncio.open_connection(
                host, port, ssl=self._api.context, server_hostname=host
            )
            self._begin(url.netloc)
            await self._listen()
        except OSError as error:
            raise CliError(f"the platform does not answer: {error}") from error
        finally:
            with contextlib.suppress(AttributeError):
                self._writer.close()
        if self._code is None:
            raise CliError("the line was cut: the job has ended, or the platform.")
        return self._code

    def _begin(self, host: str) -> None:
        headers = {"Host": host, **self._api.headers, "Transfer-Encoding": "chunked"}
        self._send(h11.Request(method="POST", target=self._path, headers=list(headers.items())))
        first = json.dumps(vars(self._visit)).encode() + b"\n"
        self._send(h11.Data(data=first))

    async def _listen(self) -> None:
        status = 0
        try:
            while self._code is None:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    data = await self._reader.read(_PIECE)
                    self._http.receive_data(data)
                    if not data:
                        return
                elif isinstance(event, h11.Response):
                    status = event.status_code
                    if status == 200:
                        self._type()
                elif isinstance(event, h11.Data):
                    self._said += event.data
                    if status == 200:
                        self._show()
                elif isinstance(event, h11.EndOfMessage):
                    break
        except h11.RemoteProtocolError:
            return
        if status != 200:
            raise CliError(_refusal(status, self._said))

    def _type(self) -> None:
        """From now on what is typed goes there."""
        loop = asyncio.get_running_loop()
        if self._visit.terminal:
            loop.add_signal_handler(signal.SIGWINCH, self._resized)
        try:
            loop.add_reader(0, self._typed)
        except (PermissionError, OSError):  # a file: it can always be read
            while data := os.read(0, _PIECE):
                self._frame(b"d", data)
            self._frame(b"e", b"")

    def _typed(self) -> None:
        data = os.read(0, _PIECE)
        if data:
            self._frame(b"d", data)
        else:
            asyncio.get_running_loop().remove_reader(0)
            self._frame(b"e", b"")

    def _resized(self) -> None:
        size = os.get_terminal_size(1)
        self._frame(b"w", json.dumps([size.lines, size.columns]).encode())

    def _frame(self, letter: bytes, body: bytes) -> None:
        self._send(h11.Data(data=letter + len(body).to_bytes(4, "big") + body))

    def _send(self, event: h11.Request | h11.Data) -> None:
        self._writer.write(self._http.send(event) or b"")

    def _show(self) -> None:
        while len(self._said) >= 5:
            letter, length = self._said[:1], int.from_bytes(self._said[1:5], "big")
            if len(self._said) < 5 + length:
                return
            body, self._said = self._said[5 : 5 + length], self._said[5 + length :]
            if letter == b"x":
                self._code = int(body)
                return
            to = sys.stderr.buffer if letter == b"r" else sys.stdout.buffer
            to.write(body)
            to.flush()


def _refusal(status: int, body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the platform answered {status}"
