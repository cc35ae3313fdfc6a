"""An S3 service on this machine: moto's server in a process of its own, with a bucket."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from live.patience import ANSWER_S, PATIENCE_S
from live.ports import free_port

BUCKET = "blobs"
SECRET = "a-secret-key-of-the-test"
_WAIT_S = PATIENCE_S


@dataclass(frozen=True)
class S3:
    """`variables` are what its users' environment has."""

    endpoint: str

    @property
    def variables(self) -> Mapping[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test-access",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def make(self, bucket: str) -> None:
        httpx.put(f"{self.endpoint}/{bucket}", timeout=ANSWER_S).raise_for_status()


@contextmanager
def s3_server() -> Iterator[S3]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        service = S3(f"http://127.0.0.1:{port}")
        _await(service, process)
        service.make(BUCKET)
        yield service
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _await(service: S3, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _WAIT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            httpx.get(f"{service.endpoint}/moto-api/data.json", timeout=ANSWER_S)
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("moto's server did not start")
