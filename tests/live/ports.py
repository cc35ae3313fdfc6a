"""TCP ports for servers that tests start: free, and given to nobody else, whoever runs tests beside us."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from live.patience import PATIENCE_S

_RANGE = range(10_000, 20_000)  # below what jobs are given (`sched/ports.py`), and the kernel to who names no port
_held: list[int] = []  # locks on our ports' files, until this process ends


def free_port() -> int:
    """A port that nobody listens on. It is this process's until that ends, also while nothing listens."""
    folder = Path(tempfile.gettempdir()) / f"smalt-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for port in random.sample(_RANGE, len(_RANGE)):
        descriptor = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("0.0.0.0", port))
        except OSError:
            os.close(descriptor)
            continue
        _held.append(descriptor)
        return port
    raise OSError("no port is free")


def await_port(port: int, process: subprocess.Popen[bytes], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Until that process, which is `what`, listens there. Raises AssertionError, also where it ends."""
    end = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not start")
