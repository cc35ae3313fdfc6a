"""What the platform's programs start with is made while they start: they wait for it before they look at it.

`smalt up` holds `making.lock` (flock) in the run folder from before it starts them until keys, certificates and Envoy's
documents are there. A program that is started again finds it free, and so do all of them where `up` was killed.
Standard library only, like `smalt.cli.port_holder`, which waits in the same way and can import nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = "making.lock"


@contextmanager
def making(run: Path) -> Iterator[None]:
    """While the files are made. The folder `run` is there."""
    descriptor = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def wait_until_made(run: Path) -> None:
    """Returns once nobody makes them any more; at once where nobody does. Writes nothing: the disk may be full."""
    with suppress(FileNotFoundError), (run / LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
