"""Ending every task of a root as a machine that goes down does, without the server: `smalt down --all`.

Agents are asked first (SIGTERM) and say how it ended. What is left after the grace is killed, and found by its marks.
Every task that had been started is `LOST` then, for the next server to find.
"""

from __future__ import annotations

import contextlib
import signal
import time

from smalt.agent import wire
from smalt.agent.processes import kill_and_wait, send
from smalt.agent.whole_file import write_whole
from smalt.agent.wire import StopRequest
from smalt.engines.local.engine import LocalEngine
from smalt.engines.local.folders import Folders, read_state
from smalt.engines.local.survey import RunningTask, running_tasks
from smalt.settings import Settings

GRACE_S = 3.0  # from SIGTERM to SIGKILL for what users run
SETTLE_S = 2.0  # for agents, to put away what was made
POLL_S = 0.02


def end_tasks(settings: Settings, grace_s: float = GRACE_S, settle_s: float = SETTLE_S) -> list[RunningTask]:
    """What still runs afterwards: nothing, but for what hangs in the kernel. No server may run on this root."""
    tasks = running_tasks(settings)
    for task in tasks:
        _ask(task, grace_s)
    deadline = time.monotonic() + grace_s + settle_s
    folders = Folders(settings.tasks)
    while any(folders.attended(task.folder) for task in tasks) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    left = running_tasks(settings)
    kill_and_wait(pid for task in left for pid in task.pids)
    engine = LocalEngine(settings, nursery=False)
    for task in left:
        engine.observe(task.name)  # the agent is gone: it ends what is left, and writes that the task is lost
    return running_tasks(settings) if left else []


def _ask(task: RunningTask, grace_s: float) -> None:
    """SIGTERM says why; the request after it, how long the agent may wait."""
    state = read_state(task.folder)
    if state is None or not state.agent_pid or state.agent_pid not in task.pids:
        return
    send(state.agent_pid, signal.SIGTERM)
    with contextlib.suppress(OSError):  # a full disk: what does not end is killed after the grace
        write_whole(task.folder / wire.STOP_FILE, StopRequest(grace_s).to_json())
    send(state.agent_pid, signal.SIGUSR1)
