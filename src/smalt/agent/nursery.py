"""A process that has everything imported and forks agents: the interpreter's start is paid once, not for each task.

It belongs to one server, reads requests from a socket, and ends when the server closes it or dies. The agents are not
its children: they are forked twice, so nothing that happens to it or to the server reaches them.

A request is JSON, `{"folder", "hints"}`, with two descriptors: the task's lock, and a file for the agent's own stderr.
The answer, `ok`, comes when the agent exists.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path

from smalt.agent import linux
from smalt.agent.launcher import attend


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
            pid = os.fork()
            if pid == 0:
                channel.close()
                _detach(json.loads(data), *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            os.waitpid(pid, 0)
            channel.send(b"ok")


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
