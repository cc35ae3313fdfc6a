"""A task's log: what comes out of its pipe, as a file that does not fill the disk.

A command that opens /dev/stderr again opens what its stderr is: a file would be emptied by it, so it is a pipe, as on
Azure. The agent takes out of it what the command said; where the agent is killed, its warden takes what is left. What
fits is moved by one call of the kernel (splice(2)): whenever the agent dies, it is in the pipe or in the file. Of what
was said the beginning and the end are kept, and what lay between is named. The end is in memory that the warden sees.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import struct
import termios
import time
from collections.abc import Callable, Iterable

from smalt.agent.journal import tail
from smalt.agent.log_end import LogEnd

_PIPE_BYTES = 1 << 20
_CHUNK = 256 << 10
_AT_ONCE = 16  # chunks, then the agent looks at its other duties
_PAUSE_S = 0.01  # a command that writes line by line is not answered line by line
_LOOK_EVERY_S = 2.0


def open_pipe() -> tuple[int, int]:
    """Where it is read, without waiting, and where the command writes, whoever it is: nobody else comes to it."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    os.fchmod(writing, 0o666)
    enlarge(writing)
    return reading, writing


def enlarge(pipe: int) -> None:
    """To what a log's pipe holds."""
    with contextlib.suppress(OSError):  # a user may have so much in pipes, and no more
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def rescue(pipe: int, opener: Callable[[], int], most: int, end: LogEnd) -> None:
    """What is still in a pipe whose reader is gone, and that nobody writes to any more, is appended to the log.

    So is the end of a log that was over its bound.

    Raises OSError where it cannot be opened.
    """
    (unread,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    if unread or end.dropped:
        log = BoundedLog(pipe, opener, most, end)
        log.open()
        log.finish()


class BoundedLog:
    """What comes out of `pipe` is appended to the file that `opener` opens: `most` bytes of it, at last its `end`."""

    def __init__(self, pipe: int, opener: Callable[[], int], most: int, end: LogEnd) -> None:
        self._pipe = pipe
        self._opener = opener
        self._offset = 0  # where it begins in the file
        self._file = -1
        self._most = most
        self._end = end
        self._room = 0 if end.dropped else most
        self._lost, self._why = 0, ""
        self._selector: selectors.BaseSelector | None = None
        self._ended = self._waiting = False
        self.due = time.monotonic() + _LOOK_EVERY_S

    def open(self) -> None:
        """Raises OSError."""
        self._file = self._opener()
        self._offset = os.fstat(self._file).st_size
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags & ~os.O_APPEND)  # splice(2) refuses it

    def attend(self, selector: selectors.BaseSelector) -> None:
        """From now on something to read wakes `selector`."""
        self._selector = selector
        self._wait()

    def tick(self) -> None:
        """Take what is there, if it is time."""
        if time.monotonic() >= self.due:
            self._look()

    def finish(self, remarks: Callable[[str], Iterable[str]] | None = None) -> str:
        """The last look, once nobody writes any more. Returns the last lines.

        Then the newest lines come back, the last line says what is missing, and `remarks` what there is to say of them.
        """
        self._stop_waiting()
        self._take()  # all: it is more than the pipe holds
        if dropped := self._end.dropped:
            newest = self._end.newest()
            missing = dropped - len(newest)
            last = (
                f"[smalt] {missing} bytes are missing above: a log holds {self._most} bytes, and its last lines. A file"
                " has no such bound: what is to be kept whole belongs into one (a job's below outputs/).\n"
            )
            self._write(b"[smalt] ...\n" + newest + b"\n" * (not newest.endswith(b"\n")) + last.encode())
            self._end.clear()
        if self._lost:
            self._write(f"\n[smalt] {self._lost} bytes are missing above: {self._why}.\n".encode())
        last_lines = tail(self._file, self._offset)  # of this file, whatever has its name by now
        for remark in remarks(last_lines) if remarks else ():
            self._write(f"\n[smalt] {remark}\n".encode())
        os.close(self._file)
        return last_lines

    def _look(self) -> None:
        """After something was read it is looked again in a moment, and only then waited."""
        self._stop_waiting()
        if self._take():
            self.due = time.monotonic() + _PAUSE_S
        else:
            self.due = time.monotonic() + _LOOK_EVERY_S
            self._wait()

    def _wait(self) -> None:
        if self._selector is not None and not self._ended:
            self._selector.register(self._pipe, selectors.EVENT_READ, self._look)
            self._waiting = True

    def _stop_waiting(self) -> None:
        if self._waiting and self._selector is not None:
            self._selector.unregister(self._pipe)
            self._waiting = False

    def _take(self) -> bool:
        """Whether anything was there."""
        for count in range(_AT_ONCE):
            try:
                taken = self._move() or self._read()
            except BlockingIOError:
                return count > 0
            if not taken:
                self._ended = True
                return False
        return True

    def _move(self) -> int:
        """How many bytes went from the pipe to the file: none where the log, the disk or its file system takes none."""
        if not self._room:
            return 0
        try:
            os.lseek(self._file, 0, os.SEEK_END)
            moved = os.splice(self._pipe, self._file, min(self._room, _CHUNK), flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            raise
        except OSError:
            return 0
        self._room -= moved
        return moved

    def _read(self) -> int:
        """How many bytes came out of the pipe: none at its end."""
        data = os.read(self._pipe, _CHUNK)
        self._keep(data)
        return len(data)

    def _keep(self, data: bytes) -> None:
        fits, beyond = data[: self._room], data[self._room :]
        self._room -= len(fits)
        self._write(fits)
        if not beyond:
            return
        if not self._end.dropped:
            note = (
                f"\n[smalt] This log holds {self._most} bytes, its bound. What comes now is dropped;"
                " the last lines follow at the end.\n"
            )
            self._write(note.encode())
        self._end.add(beyond)

    def _write(self, data: bytes) -> None:
        """What the disk does not take is missing; the command is not held up for the sake of its log."""
        rest = memoryview(data)
        try:
            os.lseek(self._file, 0, os.SEEK_END)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._lost += len(rest)
            self._why = error.strerror or str(error)
