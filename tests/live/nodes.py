"""A node service as another process, with a root of its own: a second machine, as far as one machine can be two."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from live import downloads
from live.clients import clean_environment
from live.patience import PATIENCE_S
from live.platform import Platform, eventually
from live.processes import working_on


class Node:
    """`root` is the node's own. Made by `smalt node add`; not started by that."""

    def __init__(self, platform: Platform, root: Path, name: str, compute: str, more: Sequence[str] = ()) -> None:
        self.platform, self.root, self.name, self.more = platform, root, name, more
        self.file = root.with_suffix(".json")
        made = platform.smalt("node", "add", name, "--compute", compute, "--token-file", str(self.file))
        assert made.returncode == 0, made.stderr
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        downloads.share(self.root)
        command = [
            sys.executable,
            "-m",
            "smalt.cli",
            "node",
            "run",
            "--token-file",
            str(self.file),
            "--root",
            str(self.root),
        ]
        with self.root.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.more], env=clean_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(lambda: self.listed()["state"] == "Connected", f"{self.name} connected: {self.log()}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """The service's exit code. What it runs goes on."""
        assert self._process is not None
        os.kill(self._process.pid, number)
        return self._process.wait(PATIENCE_S)

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(PATIENCE_S)

    def listed(self) -> dict[str, Any]:
        found = self.platform.smalt("node", "list", "--json")
        return next(one for one in json.loads(found.stdout) if one["name"] == self.name)

    def log(self) -> str:
        path = self.root.with_suffix(".log")
        return path.read_text()[-4000:] if path.exists() else ""


@contextlib.contextmanager
def started(platform: Platform, folder: Path, name: str, cluster: str, address: str) -> Iterator[Node]:
    """It sees none of the platform's files."""
    one = Node(platform, folder / name, name, cluster, ["--address", address])
    one.start()
    try:
        yield one
    finally:
        with contextlib.suppress(ProcessLookupError):
            one.end(signal.SIGKILL)
        platform.smalt("node", "remove", one.name)
        ended_at_once(one.root)


def ended_at_once(root: Path) -> None:
    """As when the machine dies: the service, and all that runs there."""
    for pid in working_on(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
