"""A program that is started many times, of which most are copies of one that has imported what each of them would.

Run as a program of its own, `python forked.py PREPARE MODULE` takes orders on its standard input.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any


class Forked:
    """`python -m module …`, again and again, each time a process of its own. `prepare` is code that runs once, before.

    Everything that is the run's is new: its variables, arguments, files and what it does from its first line on.
    One that takes longer than `patience_s` ends all.
    """

    def __init__(
        self,
        python: Path,
        module: str,
        prepare: str,
        variables: Mapping[str, str],
        options: Sequence[str] = (),
        *,
        patience_s: float,
    ) -> None:
        command = [str(python), *options, __file__, prepare, module]
        self._variables, self._patience_s = dict(variables), patience_s
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=self._variables, start_new_session=True, **pipes)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            files = [f"/proc/{os.getpid()}/fd/{one.fileno()}" for one in (out, errors)]
            print(json.dumps({"arguments": arguments, "files": files}), file=_pipe(self._process.stdin), flush=True)
            code = self._line()
            assert code, "what is copied has ended"
            for one in (out, errors):
                one.seek(0)
            return subprocess.CompletedProcess(list(arguments), int(code), out.read(), errors.read())

    def _line(self) -> str:
        """Its next answer. One that does not come, or is not waited for, ends it: it would be the next run's."""
        pipe, poll = _pipe(self._process.stdout), select.poll()
        poll.register(pipe, select.POLLIN)
        try:
            assert poll.poll(self._patience_s * 1000), f"a copy has not ended within {self._patience_s:g} s"
        except BaseException:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise
        return pipe.readline()


def _pipe(one: IO[str] | None) -> Any:
    assert one is not None
    return one


def _serve(prepare: str, module: str) -> None:
    """Comes back in the copies alone, each at its own order."""
    told = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what `prepare` prints is no answer
    exec(prepare, {})
    sys.stdout.flush()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            for number, path in enumerate(order["files"], 1):
                os.dup2(os.open(path, os.O_WRONLY), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.argv = [module, *order["arguments"]]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            return
        os.write(told, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    sys.path[:] = [one for one in sys.path if Path(one) != Path(__file__).parent]
    _serve(*sys.argv[1:])
