"""uv as a child that never outlives us: its output goes to the log as it comes, and is kept to be read for causes."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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

    uv gets SIGKILL when this process dies: its writes end with us.
    """

    def __init__(self, binary: str, cache: str, variables: Mapping[str, str], held: int | None = None) -> None:
        self._command = [binary, "--cache-dir", cache, "--no-progress", "--color", "never"]
        self._variables = {**variables, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
        self._held = () if held is None else (held,)
        self._die_with_parent = _death_signal()

    def run(self, arguments: Sequence[str], stdin: str = "", live: bool = False) -> Ran:
        """Run to the end; with `live`, what it says is in the log at once."""
        with subprocess.Popen(
            [*self._command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL if live else subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._variables,
            pass_fds=self._held,
            preexec_fn=self._die_with_parent,
            text=True,
            errors="replace",
        ) as child:
            try:
                if live:
                    return Ran(*_echo(child, stdin))
                answer, output = child.communicate(stdin)
                return Ran(child.returncode, output, answer)
            except BaseException:
                child.terminate()
                raise


def _echo(child: subprocess.Popen[str], stdin: str) -> tuple[int, str]:
    assert child.stdin is not None and child.stderr is not None
    child.stdin.write(stdin)
    child.stdin.close()
    lines: list[str] = []
    for line in child.stderr:
        lines.append(line)
        say("  " + line.rstrip("\n"))
    return child.wait(), "".join(lines)


def _death_signal() -> Callable[[], None] | None:
    """For the child, between fork and exec: SIGKILL when the parent is gone. The parent may be gone already."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return die_with_parent
