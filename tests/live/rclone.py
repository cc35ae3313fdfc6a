"""rclone's S3 server on this machine, over a folder. It answers ranges with 200, which clients refuse."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live.ports import free_port
from live.s3 import BUCKET, S3, SECRET

_WAIT_S = 60.0


@contextmanager
def rclone_server(folder: Path) -> Iterator[S3]:
    """`folder` holds the buckets; one is there."""
    (folder / BUCKET).mkdir(parents=True)
    port = free_port()
    address, key = f"127.0.0.1:{port}", f"test-access,{SECRET}"
    command = [str(Path(sys.executable).with_name("rclone")), "serve", "s3", "--addr", address, "--auth-key", key]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, str(folder)], stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            _await(port, process)
            yield S3(f"http://{address}")
        finally:
            process.terminate()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _WAIT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("rclone serves nothing")
