"""Keeps the port open while Envoy, or the supervisor, starts again: connections wait in the socket, none is refused.

    port_holder.py start RUN PORT ADDRESSES VERSION COMMAND…   what the supervisor runs as `envoy`: it becomes COMMAND
    port_holder.py hold RUN PORT ADDRESSES SUPERVISOR          the holder, which the first `start` leaves behind

Envoy takes a listening socket over from one process only: the Envoy before it, in its hot restart. So the holder
answers as that one would. The protocol (Envoy's source/server/hot_restart.proto, hot_restarting_base.cc and
hot_restart_impl.cc): datagrams between unix sockets, each a protobuf message behind its length; and a small shared
memory that the first process makes. `VERSION` is what Envoy names it by; with another one, or where the holder cannot
be had, Envoy binds the port itself.

The holder stays when the supervisor is killed, for `LINGER_S`; the next `up` finds it. `smalt down` dismisses it.
Standard library only: `start` runs with `-I -S` before each Envoy, in about 20 ms.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

VERSION = "11.104"  # of the protocol, and the bytes of the shared memory
LINGER_S = 60.0  # longer than an `up` takes; clients that wait are told then
BACKLOG = 4096
ANSWER_S = 2.0
WITHOUT = "--disable-hot-restart"

PASS_LISTEN_SOCKET, SHUTDOWN_ADMIN, STATS = 1, 2, 3  # requests; the rest wants no answer
NO_SOCKET = (1 << 64) - 1  # -1 as protobuf writes it


def command(run: Path, port: int, addresses: Sequence[str], version: str, envoy: Sequence[str]) -> list[str]:
    """What the supervisor runs for `envoy`, whose arguments are without hot restart."""
    this = [sys.executable, "-I", "-S", __file__, "start", str(run), str(port), ",".join(addresses), version]
    return [*this, *envoy]


def holds(run: Path, port: int, addresses: Sequence[str]) -> bool:
    """Whether a holder of this platform has this port open, on these addresses."""
    return _ask(run, "what") == _names(port, addresses)


def dismiss(run: Path) -> None:
    """The port is free when this returns; without a holder, at once."""
    _ask(run, "end")


def _start(run: Path, port: int, addresses: Sequence[str], version: str, envoy: Sequence[str]) -> None:
    supervisor = os.getppid()
    taken_over: list[str] = []
    if version == VERSION:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            taken_over = _taken_over(run, port, addresses, supervisor)
    _wait_until_made(run)
    arguments = [*envoy[:1], *taken_over, *(one for one in envoy[1:] if not (taken_over and one == WITHOUT))]
    os.execv(arguments[0], arguments)


def _wait_until_made(run: Path) -> None:
    """What Envoy reads: see `smalt.making`."""
    with contextlib.suppress(FileNotFoundError), (run / "making.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)


def _taken_over(run: Path, port: int, addresses: Sequence[str], supervisor: int) -> list[str]:
    """Envoy's arguments to get its sockets from the holder, which is there now. Raises OSError or SubprocessError."""
    if _ask(run, f"watch {supervisor}") != _names(port, addresses):
        dismiss(run)  # that of another port
        hold = [sys.executable, "-I", "-S", __file__, "hold", str(run), str(port), ",".join(addresses), str(supervisor)]
        subprocess.run(hold, check=True, start_new_session=True, stdin=subprocess.DEVNULL, timeout=ANSWER_S)
    base = _base_id(run)
    size = int(VERSION.partition(".")[2])
    # As the first Envoy leaves it. Anew each time: one that was killed while it started left its mark there.
    _memory(base).write_bytes(struct.pack("<QQ", size, int(VERSION.partition(".")[0])).ljust(size, b"\0"))
    _memory(base).chmod(0o600)
    paths = ["--socket-path", str(run / "port"), "--socket-mode", "600"]
    return ["--base-id", str(base), "--restart-epoch", "1", *paths, "--skip-hot-restart-parent-stats"]


def _base_id(run: Path) -> int:
    """Names the shared memory, so it is to be this platform's own on the machine."""
    return int.from_bytes(hashlib.sha256(bytes(run)).digest()[:4], "big") % 100_000_000 + 1


def _memory(base: int) -> Path:
    return Path(f"/dev/shm/envoy_shared_memory_{base * 10}")


def _names(port: int, addresses: Sequence[str]) -> str:
    """As Envoy asks for them."""
    return " ".join(f"tcp://[{one}]:{port}" if ":" in one else f"tcp://{one}:{port}" for one in addresses)


def _ask(run: Path, request: str) -> str | None:
    """The holder's answer; None if there is no holder."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ANSWER_S)
            line.connect(str(run / "port.sock"))
            line.sendall(request.encode())
            line.shutdown(socket.SHUT_WR)
            return line.makefile().read()
    except OSError:
        return None


class _Holder:
    """The sockets, and the three that it listens to: `start` and `down`; Envoy; the supervisor's end."""

    def __init__(self, run: Path, port: int, addresses: Sequence[str], supervisor: int) -> None:
        self._run = run
        self._names = _names(port, addresses)
        names = self._names.split()
        self._sockets = {name: _listening(one, port) for name, one in zip(names, addresses, strict=True)}
        self._envoy = _bound(run / f"port_parent_{_base_id(run) * 10}", socket.SOCK_DGRAM)
        self._control = _bound(run / "port.sock", socket.SOCK_STREAM)
        self._control.listen()
        self._supervisor = -1
        self._until = 0.0
        self._watch(supervisor)

    def serve(self) -> None:
        """Until it is dismissed, or left alone for too long."""
        while (left := self._until - time.monotonic() if self._supervisor < 0 else 3600.0) > 0:
            waiting = select.poll()
            for one in (self._envoy, self._control, *([self._supervisor] if self._supervisor >= 0 else [])):
                waiting.register(one, select.POLLIN)
            ready = {descriptor for descriptor, _ in waiting.poll(left * 1000)}
            if self._envoy.fileno() in ready:
                self._tell_envoy()
            if self._supervisor in ready:
                self._watch(0)
            if self._control.fileno() in ready and not self._obey():
                return

    def close(self) -> None:
        _memory(_base_id(self._run)).unlink(missing_ok=True)
        for one in (*self._sockets.values(), self._envoy):
            one.close()

    def _watch(self, supervisor: int) -> None:
        """Stay while the process lives; 0, or one that is gone: as long as `LINGER_S`."""
        if self._supervisor >= 0:
            os.close(self._supervisor)
        self._supervisor, self._until = -1, time.monotonic() + LINGER_S
        with contextlib.suppress(OSError):
            self._supervisor = os.pidfd_open(supervisor) if supervisor else -1

    def _obey(self) -> bool:
        """False: it is to end. The port is closed before it answers."""
        line, _ = self._control.accept()
        with line, contextlib.suppress(OSError):
            line.settimeout(ANSWER_S)
            what, _, about = line.makefile().read().partition(" ")
            if what == "end":
                self.close()
                return False
            if what == "watch":
                self._watch(int(about))
            line.sendall(self._names.encode())
        return True

    def _tell_envoy(self) -> None:
        message, sender = self._envoy.recvfrom(4096)
        answer, passed = answer_to(message, self._sockets)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", passed))] if passed is not None else []
        if answer:
            with contextlib.suppress(OSError):  # it died meanwhile
                self._envoy.sendmsg([answer], rights, 0, sender)


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))
    made.listen(BACKLOG)
    made.setblocking(False)  # of the socket itself, hence Envoy's too
    return made


def _bound(path: Path, kind: int) -> socket.socket:
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, kind)
    made.bind(str(path))
    path.chmod(0o600)
    return made


def answer_to(message: bytes, sockets: Mapping[str, socket.socket]) -> tuple[bytes, int | None]:
    """What the Envoy before would answer: a message ('' where none is wanted), and the descriptor that goes with it."""
    request = _fields(message[8:]).get(1, b"")
    kind, content = next(iter(_fields(request).items()), (0, b""))
    if kind == PASS_LISTEN_SOCKET:
        found = sockets.get(_fields(content).get(1, b"").decode(errors="replace"))
        number = NO_SOCKET if found is None else found.fileno()
        reply = _field(PASS_LISTEN_SOCKET, b"\x08" + _varint(number))
        return _framed(_field(2, reply)), None if found is None else found.fileno()
    if kind in (SHUTDOWN_ADMIN, STATS):
        return _framed(_field(2, _field(kind, b""))), None
    return b"", None


def _framed(message: bytes) -> bytes:
    return struct.pack(">Q", len(message)) + message


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _fields(message: bytes) -> dict[int, bytes]:
    """Those of a protobuf message that hold text or a message, by number."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        if tag & 7 == 2:
            found[tag >> 3] = message[at : at + value]
            at += value
    return found


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        value |= (message[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 0x80:
            break
    return value, at


def _hold(run: Path, port: int, addresses: Sequence[str], supervisor: int) -> None:
    """Returns in the caller once the port is open, and goes on as a process of its own. Raises OSError."""
    holder = _Holder(run, port, addresses, supervisor)
    if os.fork():
        os._exit(0)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # a `kill` of the group: `down` dismisses
        signal.signal(ignored, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.chdir("/")
    try:
        holder.serve()
    finally:
        holder.close()
        for name in ("port.sock", f"port_parent_{_base_id(run) * 10}"):
            (run / name).unlink(missing_ok=True)


def main(arguments: list[str]) -> None:
    what, run, port, addresses, last, *rest = arguments
    known = Path(run), int(port), addresses.split(",")
    if what == "hold":
        _hold(*known, int(last))
    else:
        _start(*known, last, rest)


if __name__ == "__main__":
    main(sys.argv[1:])
