"""Asking a server where it listens whether it is well, without a thread and without waiting.

A `Prober` lives in the agent's selector: it says when it next has something to do (`due`), does it (`tick`), and calls
`told` when its verdict changes. A server that is still starting is asked often, so that readiness is seen at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
from collections.abc import Callable
from pathlib import Path

from smalt.agent.wire import Address, Probe

_FIRST_PAUSE_S = 0.02
_LONGEST_EAGER_PAUSE_S = 0.25


class Prober:
    """One probe. `eager` ones start at once, from verdict False; the others after `initial_delay_s`, from True."""

    def __init__(
        self,
        probe: Probe,
        address: Address,
        selector: selectors.BaseSelector,
        told: Callable[[bool, str], None],
        eager: bool,
    ) -> None:
        self._probe = probe
        self._address = address
        self._selector = selector
        self._told = told
        self.verdict = not eager
        self._eager = eager
        self._pause_s = _FIRST_PAUSE_S
        self._row = 0  # results in a row that speak against the verdict
        self._closed = False
        self._channel: socket.socket | None = None
        self._answer = b""
        self._answered = False  # what still comes is read and dropped: hanging up on a server fills its log with errors
        now = time.monotonic()
        self._started = now
        self.due = now if eager else now + probe.initial_delay_s

    def tick(self) -> None:
        """Start what is due: the next question, or giving up on the last."""
        if self._closed or time.monotonic() < self.due:
            return
        if self._channel is not None and not self._answered:
            self._finish(False, f"no answer within {self._probe.timeout_s:g} s")
            return
        self._hang_up()
        self._started = time.monotonic()
        try:
            channel = _connecting(self._address)
        except OSError as error:
            self._finish(False, _why(error))
            return
        self._channel = channel
        self._answer, self._answered = b"", False
        self.due = self._started + self._probe.timeout_s
        self._selector.register(channel, selectors.EVENT_WRITE, self._ask)

    def close(self) -> None:
        """For good."""
        self._closed = True
        self._hang_up()

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._selector.unregister(self._channel)
            self._channel.close()
            self._channel = None

    def _ask(self) -> None:
        """It is connected, or could not be."""
        if self._channel is None:
            return  # closed by what another event of the same round brought about
        try:
            self._channel.send(
                f"GET {self._probe.path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: smalt-probe\r\n"
                "Accept: */*\r\nConnection: close\r\n\r\n".encode()
            )
        except OSError as error:
            self._finish(False, _why(error))
            return
        self._selector.modify(self._channel, selectors.EVENT_READ, self._receive)

    def _receive(self) -> None:
        if self._channel is None:
            return
        try:
            data = self._channel.recv(4096)
        except BlockingIOError:
            return
        except OSError as error:
            if self._answered:
                self._hang_up()
            else:
                self._finish(False, _why(error))
            return
        if self._answered:
            if not data:
                self._hang_up()
            return
        self._answer += data
        if data and b"\r\n" not in self._answer and len(self._answer) < 4096:
            return
        words = self._answer.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            self._finish(False, "the answer is not HTTP")
            return
        self._answered = True
        self._finish(200 <= int(words[1]) < 400, f"it answered {int(words[1])}")

    def _finish(self, well: bool, detail: str) -> None:
        if not self._answered:
            self._hang_up()
        if self._eager and not self.verdict and not well:
            pause = self._pause_s
            self._pause_s = min(pause * 1.3, _LONGEST_EAGER_PAUSE_S, max(self._probe.period_s, _FIRST_PAUSE_S))
            self.due = time.monotonic() + pause
        else:
            self.due = max(self._started + self._probe.period_s, time.monotonic())
        self._row = 0 if well is self.verdict else self._row + 1
        threshold = self._probe.success_threshold if well else self._probe.failure_threshold
        if self._row >= max(1, threshold):
            self.verdict, self._row, self._pause_s = well, 0, _FIRST_PAUSE_S
            self._told(well, detail)


def _connecting(address: Address) -> socket.socket:
    """A socket that can be written to as soon as it is connected. Raises OSError where that is known to fail."""
    family = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in address.host else socket.AF_INET
    channel = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if address.path:
            _connect(channel, address.path)
        else:
            with contextlib.suppress(BlockingIOError):  # it goes on by itself
                channel.connect((address.host, address.port))
    except OSError:
        channel.close()
        raise
    return channel


def _connect(channel: socket.socket, path: str) -> None:
    """A path longer than the 107 bytes an address holds is reached through its folder's descriptor."""
    if len(os.fsencode(path)) <= 107:
        channel.connect(path)
        return
    folder = os.open(Path(path).parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        channel.connect(f"/proc/self/fd/{folder}/{Path(path).name}")
    finally:
        os.close(folder)


def _why(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "nothing listens yet"
    if error.errno == errno.EAGAIN:
        return "too many connections wait for it"
    return error.strerror or str(error)
