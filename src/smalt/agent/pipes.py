"""What a task's processes write to, and where its agent reads it: a pipe for each log, and one for the foreman."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from smalt.agent import mpi
from smalt.agent.log_bound import open_pipe
from smalt.agent.log_end import LogEnd
from smalt.agent.wire import TaskSpec

USER_FOLDER = "user"  # of a task: what its command may see of it
Pipe = tuple[int, int]  # where it is read, without waiting, and where it is written


class Pipes(NamedTuple):
    """`logs`: in the order of `TaskSpec.logs`, as their `ends`. `report`: of the foreman, where there are ranks.

    `fifos`: those of ranks that are no children of the foreman, kept open, or they would end before they begin.
    """

    logs: list[Pipe]
    ends: list[LogEnd]
    report: Pipe | None = None
    fifos: tuple[Pipe, ...] = ()

    def close_writing(self) -> None:
        """So that a pipe ends when its last writer has."""
        for pipe in (*self.logs, self.report):
            if pipe and pipe not in self.fifos:
                os.close(pipe[1])


def open_pipes(spec: TaskSpec) -> Pipes:
    """In the task's folder, which is the working directory."""
    ends = [LogEnd() for _ in spec.logs]
    if spec.mpi:
        fifos = mpi.fifos(Path(USER_FOLDER, mpi.FOLDER), spec.mpi.processes)
        return Pipes([*fifos[:-1], open_pipe()], ends, fifos[-1], tuple(fifos))
    return Pipes([open_pipe() for _ in spec.logs], ends, _report_pipe() if spec.ranks else None)


def _report_pipe() -> Pipe:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    return reading, writing
