"""SSH into a job: the server's end of it. Each session is a visit behind the job's walls (`agent/door_session.py`).

There is no daemon in the job, and no port: what a client says comes through the platform's own (`web/visits.py`), from
somebody who may connect to the job. Then SSH asks for one of the keys that the job was submitted with. Ports that are
forwarded (`ssh -L`) are those at which the job itself listens; nothing is forwarded the other way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import asyncssh

from smalt.agent.visit import Visit
from smalt.arm.errors import ArmError
from smalt.auth.secret_files import keep_secret
from smalt.web.relay import relay

_MOST_WAITING = 1 << 20
_SFTP = "PATH=$PATH:/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh; exec sftp-server"
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
_LOGIN_S = 30.0
_ALIVE_S = 60.0  # between questions whether the client is still there
Open = Callable[[Visit], Awaitable[socket.socket]]
Reach = Callable[[int], AbstractAsyncContextManager[socket.socket]]
_log = logging.getLogger("smalt.ssh")


def host_key(folder: Path) -> asyncssh.SSHKey:
    """The platform's own, made at first need. Reads a file."""
    return keep_secret(
        folder / "ssh_host.key",
        lambda: asyncssh.generate_private_key("ssh-ed25519").export_private_key(),
        asyncssh.import_private_key,
    )


async def serve(line: socket.socket, key: asyncssh.SSHKey, allowed: Sequence[str], open_: Open, reach: Reach) -> None:
    """One client at the other end of `line`, until it goes. `allowed`: the public keys that open it.

    `open_` begins a visit, `reach` gives a connection to a port of the job; both raise ArmError.
    """
    known: set[bytes] = set()
    for one in allowed:
        # else it is of a kind that opens nothing here, or of a job from before keys were checked
        with contextlib.suppress(ValueError):
            known.add(asyncssh.import_public_key(one).public_data)
    try:
        connection = await asyncssh.run_server(
            line,
            server_factory=lambda: _Server(known, open_, reach),
            server_host_keys=[key],
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            x11_forwarding=False,
            allow_scp=False,
            login_timeout=_LOGIN_S,
            keepalive_interval=_ALIVE_S,
            compression_algs=None,
        )
        await connection.wait_closed()
    except (OSError, asyncssh.Error, TimeoutError) as error:
        _log.info("a client of SSH was not let in, or has gone: %s", error)
        with contextlib.suppress(OSError):
            line.close()


class _Server(asyncssh.SSHServer):
    def __init__(self, known: set[bytes], open_: Open, reach: Reach) -> None:
        self._known, self._open, self._reach = known, open_, reach

    def begin_auth(self, username: str) -> bool:
        """Whatever name is given: who comes in is the job's own user."""
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return False

    def kbdint_auth_supported(self) -> bool:
        return False

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key.public_data in self._known

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return _Session(self._open)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        if dest_host not in _LOOPBACK or not 1 <= dest_port <= 65535:
            return False

        async def carry(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            try:
                async with self._reach(dest_port) as line:
                    await relay(reader, writer, line, half_closes=True)
            except ArmError as error:
                _log.info("a port of a job could not be forwarded: %s", error.message)
            finally:
                writer.close()

        return carry


class _Session(asyncssh.SSHServerSession[bytes]):
    """A shell, a command or sftp: one visit, whose frames are the session's streams."""

    def __init__(self, open_: Open) -> None:
        self._open = open_
        self._argv: list[str] = []
        self._terminal: tuple[str, int, int] | None = None  # its type, rows and columns
        self._writer: asyncio.StreamWriter | None = None
        self._resized: tuple[int, int] | None = None  # and the process was not told yet
        self._early: list[bytes] = []  # frames from before there is a line: one, and the end
        self._writable = asyncio.Event()
        self._writable.set()
        self._running: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:
            self._running.cancel()
        if self._writer is not None:
            self._writer.close()

    def pty_requested(self, term_type: str, term_size: Any, term_modes: Any) -> bool:
        self._terminal = (term_type, term_size[1], term_size[0])
        return True

    def shell_requested(self) -> bool:
        self._argv = ["bash", "-l"]
        return True

    def exec_requested(self, command: str) -> bool:
        self._argv = ["bash", "-c", command]
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        self._argv = ["bash", "-c", _SFTP]
        return subsystem == "sftp"

    def session_started(self) -> None:
        self._running = asyncio.ensure_future(self._run())

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self._resized = (height, width)
        self._tell_size()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._frame(b"d", data)

    def eof_received(self) -> bool:
        self._frame(b"e", b"")
        return True

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def _run(self) -> None:
        term, rows, columns = self._terminal or ("", 0, 0)
        try:
            line = await self._open(Visit(self._argv, self._terminal is not None, rows or 24, columns or 80, term))
        except ArmError as error:
            self._channel.write_stderr(f"smalt: {error.message}\n".encode())
            self._channel.exit(255)
            return
        line.setblocking(False)
        reader, self._writer = await asyncio.open_unix_connection(sock=line)
        self._tell_size()
        for one in self._early:
            self._writer.write(one)
        self._channel.resume_reading()
        code, said = 255, False
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(5)
                said = True
                body = await reader.readexactly(int.from_bytes(head[1:], "big"))
                if head[:1] == b"x":
                    code = int(body)
                    break
                await self._writable.wait()
                (self._channel.write_stderr if head[:1] == b"r" else self._channel.write)(body)
        if not said:
            self._channel.write_stderr(b"smalt: the job's agent has closed the door: the job ends, or is too busy.\n")
        self._channel.exit(code)

    def _tell_size(self) -> None:
        if self._writer is not None and self._draining is None and self._resized is not None:
            self._frame(b"w", json.dumps(self._resized).encode())
            self._resized = None

    def _frame(self, letter: bytes, body: bytes) -> None:
        frame = letter + len(body).to_bytes(4, "big") + body
        if self._writer is None:
            self._early.append(frame)
            self._channel.pause_reading()  # asyncssh reads on after `session_started`, whatever is said there
            return
        self._writer.write(frame)
        if self._draining is None and self._writer.transport.get_write_buffer_size() > _MOST_WAITING:
            self._channel.pause_reading()
            self._draining = asyncio.ensure_future(self._go_on())

    async def _go_on(self) -> None:
        """Read on once the process has taken what was typed."""
        assert self._writer is not None
        with contextlib.suppress(OSError):
            await self._writer.drain()
            self._draining = None
            self._tell_size()
            self._channel.resume_reading()
