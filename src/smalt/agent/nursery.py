"""A process that has everything imported and forks agents: the interpreter's start is paid once, not for each task.

It belongs to one server, reads requests from a socket, and ends when the server closes it or dies. The agents are not
its children: they are forked twice, so nothing that happens to it or to the server reaches them.

A request is JSON, `{"folder", "hints"}`, with two descriptors: the task's lock, and a file for the agent's own stderr.
The answer, `ok`, comes when the agent exists.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path

from smalt.agent import linux, wire
from smalt.agent.launcher import attend
from smalt.agent.namespaces import keep_owners_map


def main() -> None:
    """`sys.argv[1]` is the socket's descriptor."""
    linux.set_process_name("smalt-nursery")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir("/")
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        while True:
            data, descriptors, _, _ = socket.recv_fds(channel, 65536, 2)
            if not data:
                return
            request = json.loads(data)
            with contextlib.suppress(OSError):  # then the agent tries, and says so
                keep_owners_map(_user(Path(request["folder"])))
            pid = os.fork()
            if pid == 0:
                channel.close()
                _detach(request, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            os.waitpid(pid, 0)
            channel.send(b"ok")


def _user(folder: Path) -> int:
    """As whom the task runs behind its walls, by number; 0: as this process, or in the open."""
    try:
        walls = json.loads((folder / wire.TASK_FILE).read_text()).get("walls")
    except (OSError, ValueError):
        return 0  # its agent says so
    return walls["user"] if walls else 0


def _detach(request: dict[str, str], lock: int, errors: int) -> None:
    """In the child: fork the agent, and leave it alone."""
    try:
        os.setsid()
        if os.fork() == 0:
            os.dup2(errors, 1)
            os.dup2(errors, 2)
            os.close(errors)
            attend(Path(request["folder"]), request["hints"], lock)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(0)
