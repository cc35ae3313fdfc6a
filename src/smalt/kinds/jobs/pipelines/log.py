"""A pipeline's log, which `jobs.stream` follows: a line for each step that is submitted or has ended."""

from __future__ import annotations

from datetime import UTC, datetime

from smalt.arm.platform import Platform
from smalt.kinds.jobs import launch
from smalt.store.resources import Row

NAME = "logs/azureml/executionlogs.txt"


class Log:
    """The lines of one pass.

    `at` is the length that earlier passes left: a pass that is done again writes over its own lines.
    """

    def __init__(self, platform: Platform, row: Row, at: int) -> None:
        self._platform, self._row, self._at = platform, row, at
        self._lines: list[str] = []
        self._now = f"{datetime.fromtimestamp(platform.clock(), UTC):%Y-%m-%d %H:%M:%SZ}"

    def say(self, line: str) -> None:
        self._lines.append(f"[{self._now}] {line}\n")

    def written(self) -> int:
        """The log's length now."""
        if not self._lines:
            return self._at
        data = "".join(self._lines).encode()
        with self._platform.database.read() as connection:
            artifacts = launch.artifacts_of(connection, self._row)
        self._platform.blobs.write(artifacts.below(NAME), data, self._at)
        return self._at + len(data)
