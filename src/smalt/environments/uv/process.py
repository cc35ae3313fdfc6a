"""uv as a child that never outlives us: its output goes to the log as it comes, and is kept to be read for causes."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_SECRET = re.compile(r"(\w+://)[^/@\s:]+(?::[^/@\s]*)?@")


@dataclass(frozen=True)
class Ran:
    """`output` is what uv wrote to stderr, `answer` what it wrote to stdout."""

    code: int
    output: str
    answer: str = ""


def say(text: str = "") -> None:
    """One line for the build log, without the credentials of addresses."""
    sys.stdout.write(without_secrets(text) + "\n")
    sys.stdout.flush()


def without_secrets(text: str) -> str:
    return _SECRET.sub(r"\1***@", text)


class Uv:
    """Runs uv with one cache and one set of variables; `held` is a descriptor that stays locked until uv has ended.

    `--project /`: a pyproject.toml in or above the working folder is somebody's project,
    whose constraints are not for us.

    uv gets SIGKILL when this process dies: its writes end with us. It compiles nothing: that would run what it
    installs.

    `entering` are the words of a command that runs uv behind walls: there it sees no temporary files but those below
    `scratch`.
    """

    def __init__(
        self,
        binary: str,
        cache: str,
        variables: Mapping[str, str],
        held: int | None = None,
        scratch: Path | None = None,
        entering: Sequence[str] = (),
    ) -> None:
        self.scratch = scratch
        self._command = [*entering, binary, "--project", "/", "--cache-dir", cache, "--no-progress", "--color", "never"]
        self._variables = {
            **variables,
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "UV_COMPILE_BYTECODE": "0",
        }
        self._held = () if held is None else (held,)
        self._in_child = _before_exec()

    def run(self, arguments: Sequence[str], stdin: str = "", live: bool = False) -> Ran:
        """Run to the end; with `live`, what it says is in the log at once."""
        with _undisturbed():
            child = subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL if live else subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._variables,
                pass_fds=self._held,
                preexec_fn=self._in_child,
                text=True,
                errors="replace",
            )
        with child:
            try:
                if live:
                    return Ran(*_echo(child, stdin))
                answer, output = child.communicate(stdin)
                return Ran(child.returncode, output, answer)
            except BaseException:
                child.terminate()
                raise


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without SIGTERM while a child is made.

    An exception raised in one of fork's hooks is lost, and so the signal would be.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _echo(child: subprocess.Popen[str], stdin: str) -> tuple[int, str]:
    assert child.stdin is not None and child.stderr is not None
    child.stdin.write(stdin)
    child.stdin.close()
    lines: list[str] = []
    for line in child.stderr:
        lines.append(line)
        say("  " + line.rstrip("\n"))
    return child.wait(), "".join(lines)


def _before_exec() -> Callable[[], None]:
    """For the child, between fork and exec: SIGTERM as it was, SIGKILL when the parent is gone (it may be already)."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    parent = os.getpid()

    def before_exec() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)

    return before_exec
