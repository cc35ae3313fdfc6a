"""The door into a task's walls: whoever the server sends gets a process there, as the command's own user.

The agent listens at a unix socket in the task's folder, which the task does not see. Who connects shows the key that
lies beside it (0600: where there are no namespaces, a process may reach a socket whose path it knows, but no file),
and says what to run, in one line of JSON (`Visit`). Then frames go both ways (`door_session.py`). A child of the agent
does that, and ends with its visitor, with the command, or with the agent. Who asks for a port gets a connection to what
the task listens with there, made in its own network.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import selectors
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from smalt.agent import linux
from smalt.agent.door_session import attend, hand_out, refuse
from smalt.agent.folder import TaskFolder
from smalt.agent.processes import Command, Join, forget_signals, forked
from smalt.agent.visit import DOOR_KEY_FILE, DOOR_SOCKET, MOST_ASKED, Visit

_MOST_VISITORS = 8  # with a process of their own
_MOST_CALLERS = 128  # at once, those who ask for a port among them: each is gone in a moment


class Door:
    """Lives in the agent's selector. `join`, in a child, moves it behind the walls; what it gives ends its rights.

    `address` is where the task itself listens at a port, '' where it does not. Raises OSError where it cannot listen.
    """

    def __init__(
        self,
        folder: TaskFolder,
        command: Command,
        join: Join,
        selector: selectors.BaseSelector,
        address: Callable[[int], str],
    ) -> None:
        self._command, self._join, self._selector, self._address = command, join, selector, address
        self._key = secrets.token_hex(16)
        self._said: dict[socket.socket, bytes] = {}
        self._visits: set[int] = set()
        folder.write(DOOR_KEY_FILE, self._key)
        Path(DOOR_SOCKET).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        os.fchmod(self._listener.fileno(), 0o600)  # which the file has from its first moment on
        self._listener.bind(DOOR_SOCKET)  # relative: the folder may have another name by now
        self._listener.listen(_MOST_CALLERS)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        self._selector.unregister(self._listener)
        self._listener.close()
        for one in list(self._said):
            self._drop(one)
        with contextlib.suppress(OSError):
            Path(DOOR_SOCKET).unlink()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it hung up already
        if len(self._said) >= _MOST_CALLERS:
            connection.close()
            return
        connection.setblocking(False)
        self._said[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ, partial(self._read, connection))

    def _read(self, connection: socket.socket) -> None:
        if connection not in self._said:
            return  # dropped by what another event of the same round brought about
        try:
            data = connection.recv(MOST_ASKED)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        said = self._said[connection] + data
        line, end, more = said.partition(b"\n")
        if end:
            with contextlib.suppress(OSError):  # no process or descriptor more: the visitor goes, the task stays
                self._let_in(connection, line, more)
        elif data and len(said) < MOST_ASKED:
            self._said[connection] = said
            return
        self._drop(connection)

    def _let_in(self, connection: socket.socket, line: bytes, more: bytes) -> None:
        try:
            key, visit = Visit.read(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            return
        if not hmac.compare_digest(key.encode(), self._key.encode()):
            return
        host = self._address(visit.port) if visit.port else ""
        self._visits = {pid for pid in self._visits if Path(f"/proc/{pid}").exists()}
        if visit.port and not host:
            return
        if not host and len(self._visits) >= _MOST_VISITORS:
            refuse(connection, f"{_MOST_VISITORS} processes of visitors run in this job already: end one")
            return
        pid, _ = forked(self._command.cgroups, lambda door: self._become(connection, visit, host, more, door))
        if not host:
            self._visits.add(pid)

    def _become(self, connection: socket.socket, visit: Visit, host: str, more: bytes, door: int) -> NoReturn:
        code = 1
        try:
            os.setsid()
            linux.hide_memory()  # it is a copy of the agent, and the task may be of the same user
            linux.set_process_name("smalt-door")
            linux.die_with_any_parent()
            forget_signals()
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            connection.setblocking(True)
            if os.read(door, 1):
                if host:
                    hand_out(connection, host, visit.port, self._join)
                else:
                    attend(connection, visit, more, self._command, self._join)
                code = 0
        finally:
            os._exit(code)

    def _drop(self, connection: socket.socket) -> None:
        del self._said[connection]
        self._selector.unregister(connection)
        connection.close()
