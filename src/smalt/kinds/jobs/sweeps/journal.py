"""What a sweep's controller says: `azureml-logs/hyperdrive.txt`, which clients follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from smalt.agent.wire import Ref
from smalt.arm.ports import Blobs

NAME = "azureml-logs/hyperdrive.txt"


@dataclass
class Journal:
    """Lines of one step, written behind the first `at` bytes: what a step wrote that was dropped is written over."""

    at: int
    now: float
    lines: list[str] = field(default_factory=list[str])

    def say(self, who: str, what: str, level: str = "INFO") -> None:
        """`who`: API, GENERATOR, SCHEDULER, ENFORCER or CONTROLLER, as Azure has them."""
        stamp = datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        self.lines.append(f"[{stamp}][{who}][{level}]{what}\n")

    def write(self, blobs: Blobs, artifacts: Ref) -> int:
        """The length of the log now."""
        if not self.lines:
            return self.at
        data = "".join(self.lines).encode()
        blobs.write(artifacts.below(NAME), data, self.at)
        return self.at + len(data)
