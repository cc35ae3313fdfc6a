"""What a job did, told by a file that it appends to: the proof of exactly once."""

from __future__ import annotations

import shlex
from pathlib import Path

from live.platform import Platform, eventually


class Marks:
    """A job's command around `folder/ran`, in a folder that it sees: it appends a line, waits for `folder/go`, and appends another."""

    def __init__(self, folder: Path) -> None:
        self.ran, self.go = folder / "ran", folder / "go"

    @property
    def command(self) -> str:
        ran, go = shlex.quote(str(self.ran)), shlex.quote(str(self.go))
        return f"echo began >> {ran}; while [ ! -e {go} ]; do sleep 0.02; done; echo ended >> {ran}; echo said; echo x > outputs/x"

    @property
    def lines(self) -> list[str]:
        return self.ran.read_text().split() if self.ran.exists() else []

    def wait_until_running(self, platform: Platform, name: str) -> None:
        eventually(lambda: self.lines, f"the command of {name}")
        platform.wait_for(name, "Running")

    def release(self) -> None:
        self.go.touch()

    def assert_once(self, platform: Platform, name: str) -> None:
        """The job completes; its command ran from beginning to end exactly once."""
        self.release()
        platform.wait_for(name, "Completed")
        assert self.lines == ["began", "ended"], self.lines
        assert "said" in platform.job_log(name)
