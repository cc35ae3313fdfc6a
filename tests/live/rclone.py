"""rclone's S3 server on this machine, over a folder. It answers ranges with 200, which clients refuse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live.ports import await_port, free_port
from live.s3 import BUCKET, S3, SECRET


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
            await_port(port, process, "rclone")
            yield S3(f"http://{address}")
        finally:
            process.terminate()
