"""A terminal in the browser: a shell behind the walls of a job that runs or is held, at an origin of its own.

    /                                  the page, and /terminal.js, /xterm.js, …: what it is made of
    /shell?rows=R&columns=C            a WebSocket: its messages are frames of `agent/door_session.py`, without length

Who comes was looked at by the gate before (`services.py`): whoever may write the job. The shell ends with the page,
with the job, when nobody has typed and nothing was said for an hour, and where the browser answers no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import socket
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, urlsplit

from smalt.agent.visit import Visit
from smalt.web.websocket import GOING_AWAY, NORMAL, TOO_BIG, UNSUPPORTED, Broken, WebSocket

SHELL = "/shell"
_PAGE = Path(__file__).parent / "terminal_page"
_OWN = {"/terminal.js": "text/javascript", "/terminal.css": "text/css"}
_VENDORED = {"/xterm.js": "text/javascript", "/xterm.css": "text/css", "/xterm-fit.js": "text/javascript"}
# xterm.js makes its colours and sizes as style elements; nothing else may be loaded, shown in a frame, or asked
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TERM = "xterm-256color"
_TYPED = b"dwe"  # letters of frames that a visitor sends
_SIZES = (24, 80)


@dataclass(frozen=True)
class Patience:
    """Seconds: how long a shell is left alone; between questions whether the browser is there; for its answer."""

    idle: float = 3600.0
    ask: float = 20.0
    answer: float = 60.0


class TerminalPage:
    """`vendored`: the folder of what comes from npm's registry."""

    def __init__(self, vendored: Path) -> None:
        self._vendored = vendored

    def file(self, path: str, job: str, node: int, back: str) -> tuple[bytes, dict[str, str]] | None:
        """What lies there, and its headers; None where nothing does. `back`: the job's page. Reads a file."""
        if path == "/":
            text = Template((_PAGE / "index.html").read_text())
            said = {name: html.escape(value) for name, value in (("job", job), ("node", str(node)), ("back", back))}
            body, type_ = text.substitute(said).encode(), "text/html"
        elif type_ := _OWN.get(path, ""):
            body = (_PAGE / path[1:]).read_bytes()
        elif type_ := _VENDORED.get(path, ""):
            body = (self._vendored / path[1:]).read_bytes()
        else:
            return None
        headers = {"Content-Type": f"{type_}; charset=utf-8", "Content-Security-Policy": _POLICY}
        return body, headers | {"Referrer-Policy": "no-referrer"}


def visit_of(path: str) -> Visit:
    """A shell in a terminal of the size that the query names."""
    query = parse_qs(urlsplit(path).query)
    rows, columns = (_size(query, name, else_) for name, else_ in zip(("rows", "columns"), _SIZES, strict=True))
    return Visit([], True, rows, columns, _TERM)


def _size(query: dict[str, list[str]], name: str, else_: int) -> int:
    text = (query.get(name) or [""])[0]
    return min(int(text), 1000) or else_ if text.isascii() and text.isdigit() and len(text) < 5 else else_


async def attend(web: WebSocket, line: socket.socket, patience: Patience | None = None) -> None:
    """Frames both ways until one end has gone. `line` leads to the visit; it is closed. Raises OSError."""
    line.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=line)
    shell = _Shell(web, reader, writer, patience or Patience())
    works = [asyncio.ensure_future(one) for one in (shell.says(), shell.hears(), shell.waits())]
    try:
        await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        code, reason = next(one.result() for one in works if one.done())
    finally:
        for one in works:
            one.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        writer.close()
    with contextlib.suppress(OSError):
        await web.close(code, reason)


class _Shell:
    """Each of these ends with what the browser is told at the end: a code and words."""

    def __init__(
        self, web: WebSocket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: Patience
    ) -> None:
        self._web, self._reader, self._writer, self._patience = web, reader, writer, patience
        self._used_at = asyncio.get_running_loop().time()

    async def says(self) -> tuple[int, str]:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(5)
                body = await self._reader.readexactly(int.from_bytes(head[1:], "big"))
                self._used()
                await self._web.send(head[:1] + body)
                if head[:1] == b"x":
                    return NORMAL, f"The shell has ended with exit code {body.decode(errors='replace')}."
        return GOING_AWAY, "The job has ended, or does not let anybody in now."

    async def hears(self) -> tuple[int, str]:
        try:
            while (message := await self._web.receive()) is not None:
                if not message or message[:1] not in _TYPED:
                    return UNSUPPORTED, "That is no frame of a terminal."
                self._used()
                with contextlib.suppress(OSError):  # the shell takes no more: what it says ends soon
                    self._writer.write(message[:1] + (len(message) - 1).to_bytes(4, "big") + message[1:])
                    await self._writer.drain()
        except Broken as error:
            return error.code, "Too much at once." if error.code == TOO_BIG else "That is no message of a WebSocket."
        except OSError:
            pass
        return NORMAL, ""

    async def waits(self) -> tuple[int, str]:
        clock, patience = asyncio.get_running_loop().time, self._patience
        while True:
            await asyncio.sleep(min(patience.ask, patience.idle))
            if clock() - self._used_at >= patience.idle:
                return GOING_AWAY, f"Closed: nothing was typed or said for {patience.idle / 60:.0f} minutes."
            if clock() - self._web.heard_at >= patience.answer:
                return GOING_AWAY, "The browser does not answer."
            await self._web.ping()

    def _used(self) -> None:
        self._used_at = asyncio.get_running_loop().time()
