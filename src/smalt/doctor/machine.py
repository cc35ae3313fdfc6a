"""What is examined: a root, the variables of this shell, and the machine's own folders."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from smalt.doctor.finding import NotTried
from smalt.settings import Settings

ANSWER_S = 2.0  # what a program or a server may take to answer
_MANAGERS = {
    "apt-get": "apt-get install", "dnf": "dnf install", "zypper": "zypper install", "pacman": "pacman -S",
    "apk": "apk add",
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """`base` is where /proc, /sys, /dev and /etc are: tests give another folder."""

    settings: Settings
    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    base: Path = Path("/")

    @property
    def proc(self) -> Path:
        return self.base / "proc"

    @property
    def ground(self) -> Path:
        """The root, or the nearest folder above it that exists and that this user may see."""
        root = self.settings.root
        return next((one for one in (root, *root.parents) if os.path.isdir(one)), Path("/"))  # noqa: PTH112

    @contextmanager
    def scratch(self, beside: Path | None = None) -> Iterator[Path]:
        """A new folder in `beside` (the ground), gone afterwards. Raises NotTried where nothing can be written."""
        place = beside or self.ground
        try:
            folder = tempfile.TemporaryDirectory(prefix=".smalt-doctor-", dir=place, ignore_cleanup_errors=True)
        except OSError as error:
            raise NotTried(f"{place} cannot be written ({error.strerror})") from error
        with folder as path:
            yield Path(path)

    def read(self, path: str) -> str:
        """The text of a file below `base`, without white space around it; empty where it cannot be read."""
        try:
            return (self.base / path).read_text(errors="replace").strip()
        except OSError:
            return ""

    def which(self, program: str) -> str | None:
        return shutil.which(program, path=self.variables.get("PATH", os.defpath))

    def ask(self, command: Sequence[str], timeout_s: float = ANSWER_S) -> tuple[bool, str]:
        """Whether a program ended well in time, and the first line of what it said (of why not)."""
        none, piped = subprocess.DEVNULL, subprocess.PIPE
        try:
            child = subprocess.Popen(
                command, env=dict(self.variables), stdin=none, stdout=piped, stderr=piped, start_new_session=True
            )
        except OSError as error:
            return False, error.strerror or str(error)
        with child:
            try:
                output, errors = child.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)  # with what it started, if it is a script
                return False, f"no answer within {timeout_s:g} s"
        said = (output if child.returncode == 0 else errors or output).decode(errors="replace")
        lines = [one.strip() for one in said.splitlines() if one.strip()]
        return child.returncode == 0, lines[0] if lines else f"exit code {child.returncode}"

    def install(self, package: str) -> str:
        """The command of this machine's package manager."""
        manager = next((words for name, words in _MANAGERS.items() if self.which(name)), "apt-get install")
        return as_root(f"{manager} {package}")

    def smalt(self, words: str, root: Path | None = None) -> str:
        """A command on this root, or on another."""
        return f"smalt {words} --root {shlex.quote(str(root or self.settings.root))}"


def as_root(command: str) -> str:
    return command if os.geteuid() == 0 else f"sudo {command}"
