"""One visit behind a task's walls: a process with a terminal or with pipes, and frames between it and its visitor.

A frame is a letter, four bytes of length (big-endian) and so many bytes:

    visitor → here   d what is typed     w rows and columns, as JSON     e the end of what is typed
    here → visitor   o what is said      r the same, of standard error   x the exit code, in digits: the last one
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import termios
from collections.abc import Callable, Iterator
from typing import NoReturn

from smalt.agent import linux
from smalt.agent.processes import Command, Join, prefer_for_oom, send
from smalt.agent.visit import Visit

_PIECE = 64 << 10
_MOST = 1 << 20  # of a frame
_HANGUP_S = 2.0
_CONNECT_S = 3.0  # what listens on the same machine, and takes none: it hangs
_UNLOCK, _PEER = 0x40045431, 0x5441  # TIOCSPTLCK, TIOCGPTPEER
_END_OF_TYPING = b"\x04"


class Gone(Exception):
    """The visitor hung up, or says what is no frame."""


def attend(connection: socket.socket, visit: Visit, more: bytes, command: Command, join: Join) -> None:
    """To the end of the process, or until the visitor goes: then it is hung up on."""
    try:
        give_up = join()
        inside = _terminal(visit) if visit.terminal else _pipes()
    except OSError as error:
        refuse(connection, f"the walls cannot be entered: {error.strerror or error}")
        return
    pid = os.fork()
    if pid == 0:
        connection.close()
        _run(visit, command, give_up, inside)
    for one in inside.theirs:
        os.close(one)
    _Relay(connection, more, inside, pid).run()


def hand_out(connection: socket.socket, host: str, port: int, join: Join) -> None:
    """A connection to a port of loopback in the task's network, as a descriptor. Raises OSError."""
    join()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as made:
        made.settimeout(_CONNECT_S)
        made.connect((host, port))  # without a look-up: no module can be imported behind the walls
        made.setblocking(True)
        socket.send_fds(connection, [b"1"], [made.fileno()])


def refuse(connection: socket.socket, why: str) -> None:
    """In place of a visit. Raises OSError."""
    _say(connection, b"r", f"smalt: {why}\n".encode())
    _say(connection, b"x", b"126")


class Inside:
    """The ends of the process's streams: `theirs` (0, 1, 2) and ours; a terminal is one for all three."""

    def __init__(self, theirs: tuple[int, ...], typed: int, said: dict[int, bytes]) -> None:
        self.theirs, self.typed, self.said = theirs, typed, said

    @property
    def terminal(self) -> bool:
        return len(self.theirs) == 1


def _terminal(visit: Visit) -> Inside:
    """Of the walls' own, so that it has a name there."""
    try:
        master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _UNLOCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _PEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    _resize(master, visit.rows, visit.columns)
    return Inside((slave,), master, {master: b"o"})


def _pipes() -> Inside:
    (typed_out, typed), (said, said_in), (errors, errors_in) = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
    return Inside((typed_out, said_in, errors_in), typed, {said: b"o", errors: b"r"})


def _resize(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _run(visit: Visit, command: Command, give_up: Callable[[], None] | None, inside: Inside) -> NoReturn:
    """In the forked child: become what was asked for, as the command's user."""
    argv = visit.argv or ["bash"]
    try:
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if inside.terminal:
            (slave,) = inside.theirs
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        prefer_for_oom()
        os.umask(0o022)  # noqa: TID251
        for number, stream in zip(range(3), inside.theirs * (3 if inside.terminal else 1), strict=True):
            os.dup2(stream, number)
        for which, bounds in command.rlimits.items():
            resource.setrlimit(which, bounds)
        if give_up:
            give_up()
        os.chdir(command.folder)
        os.execvpe(argv[0], argv, {**command.environment, **({"TERM": visit.term} if visit.term else {})})
    except BaseException as error:  # whatever it is, it must not run the agent's code
        text = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        with contextlib.suppress(OSError):
            os.write(2, f"smalt: '{argv[0]}' could not be started: {text}.\n".encode())
    os._exit(127)


class _Relay:
    def __init__(self, connection: socket.socket, more: bytes, inside: Inside, pid: int) -> None:
        self._connection, self._waiting, self._inside, self._pid = connection, more, inside, pid
        self._process = os.pidfd_open(pid)
        self._typed = b""  # what the process has not taken yet
        self._over = False  # nothing more is typed
        for one in (inside.typed, *inside.said):
            os.set_blocking(one, False)

    def run(self) -> None:
        try:
            self._relay()
        except (Gone, OSError):
            self._hang_up()

    def _relay(self) -> None:
        said = dict(self._inside.said)
        self._take(self._frames(b""))
        while True:
            watched = select.poll()
            watched.register(self._process, select.POLLIN)
            takes = len(self._typed) < _MOST
            watched.register(self._connection, select.POLLIN if takes else 0)  # that it hangs up is told all the same
            if self._typed:
                watched.register(self._inside.typed, select.POLLOUT)
            for one in said:
                watched.register(
                    one, select.POLLIN | (select.POLLOUT if one == self._inside.typed and self._typed else 0)
                )
            ready = {one for one, _ in watched.poll()}
            for one in ready & said.keys():
                if not self._pass_on(one, said[one]):
                    del said[one]
            if self._connection.fileno() in ready:
                data = self._connection.recv(_PIECE) if takes else b""
                if not data:
                    raise Gone
                self._take(self._frames(data))
            self._type()
            if self._process in ready:
                for one, letter in said.items():
                    while self._pass_on(one, letter, ended=True):
                        pass
                _, status = os.waitpid(self._pid, 0)
                code = os.waitstatus_to_exitcode(status)
                _say(self._connection, b"x", str(128 - code if code < 0 else code).encode())
                return

    def _pass_on(self, stream: int, letter: bytes, ended: bool = False) -> bool:
        """A piece of what is said; False at its end. `ended`: so is nothing there, the process is gone."""
        try:
            data = os.read(stream, _PIECE)
        except BlockingIOError:
            return not ended
        except OSError as error:
            if error.errno == errno.EIO:  # nobody has the terminal any more
                return False
            raise
        if data:
            _say(self._connection, letter, data)
        return bool(data)

    def _frames(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._waiting += data
        while len(self._waiting) >= 5:
            length = int.from_bytes(self._waiting[1:5], "big")
            if length > _MOST:
                raise Gone
            if len(self._waiting) < 5 + length:
                return
            letter, body = self._waiting[:1], self._waiting[5 : 5 + length]
            self._waiting = self._waiting[5 + length :]
            yield letter, body

    def _take(self, frames: Iterator[tuple[bytes, bytes]]) -> None:
        for letter, body in frames:
            if letter == b"d":
                self._typed += body
            elif letter == b"e":
                self._over = True
                self._typed += _END_OF_TYPING if self._inside.terminal else b""
            elif letter == b"w" and self._inside.terminal:
                try:
                    rows, columns = json.loads(body)
                    _resize(self._inside.typed, int(rows), int(columns))
                except (ValueError, TypeError, struct.error):
                    raise Gone from None
        self._type()

    def _type(self) -> None:
        if self._inside.typed < 0:
            self._typed = b""
            return
        try:
            while self._typed:
                self._typed = self._typed[os.write(self._inside.typed, self._typed) :]
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            self._typed, self._over = b"", True
        if self._over and not self._inside.terminal:
            os.close(self._inside.typed)
            self._inside.typed = -1

    def _hang_up(self) -> None:
        """As a terminal's line that is cut; what does not end by that is killed."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGHUP)
        for one in {*self._inside.said, self._inside.typed} - {-1}:
            os.close(one)
        if not linux.readable(self._process, _HANGUP_S):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            send(self._pid, signal.SIGKILL)


def _say(connection: socket.socket, letter: bytes, body: bytes) -> None:
    connection.sendall(letter + len(body).to_bytes(4, "big") + body)
