"""Starting Smalt's own interpreter as an agent: fast, and detached from this process in every respect."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from pathlib import Path

from smalt.agent.start import python

_BURY_TIMEOUT_S = 30
_NURSERY_TIMEOUT_S = 10


def spawn_agent(folder: Path, hints: Path, lock: int) -> None:
    """Start the agent of the task in `folder`; it inherits the task's lock. Returns when it is no longer our child."""
    with (folder / "agent.log").open("ab") as errors:
        subprocess.run(
            [
                "/bin/sh",
                "-c",
                '"$@" &',
                "sh",
                *python("launcher"),
                str(folder),
                "--hints",
                str(hints),
                "--lock",
                str(lock),
            ],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            pass_fds=(lock,),
            start_new_session=True,
            cwd="/",
            check=True,
        )


def bury(folder: Path, hints: Path) -> None:
    """End what a vanished agent left behind and make its task LOST. Waits for the agent where one is still ending."""
    subprocess.run(
        [*python("launcher"), str(folder), "--hints", str(hints), "--bury"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        timeout=_BURY_TIMEOUT_S,
        check=True,
    )


class Nursery:
    """The process that forks agents (`smalt.agent.nursery`): started when first needed, again when it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._lock = threading.Lock()
        self._closed = False

    def start_agent(self, folder: Path, hints: Path, lock: int) -> None:
        """As `spawn_agent`, in a fraction of the time. Raises OSError; whether an agent exists then, its lock tells."""
        request = json.dumps({"folder": str(folder), "hints": str(hints)}).encode()
        with self._lock, (folder / "agent.log").open("ab") as errors:
            try:
                channel = self._channel or self._start()
                socket.send_fds(channel, [request], [lock, errors.fileno()])
                if channel.recv(16) != b"ok":
                    raise ConnectionResetError("the nursery ended")
            except OSError:
                self._end()
                raise

    def warm_up(self) -> None:
        """Start it now; it is ready a moment later. Where it cannot be started, the first task says so."""
        with self._lock, contextlib.suppress(OSError):
            if self._channel is None and not self._closed:
                self._start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._end()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*python("nursery"), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        ours.settimeout(_NURSERY_TIMEOUT_S)
        self._channel = ours
        return ours

    def _end(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            self._process = None
