"""The way to a task's agent for who wants behind its walls."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from smalt.agent.visit import DOOR_KEY_FILE, DOOR_SOCKET, MOST_ASKED, Visit
from smalt.arm.errors import ArmError, invalid

_WAIT_S = 5.0
_REACH_S = 20.0  # on a machine that has far too much to do
_NOTHING = "true"  # what an agent runs that knows no ports, of a job that began under an older version


def knock(folder: Path, visit: Visit) -> socket.socket:
    """A line on which the visit has been asked for. Raises ArmError(400, 409)."""
    if len(visit.line("")) > MOST_ASKED - 100:
        raise invalid(f"The command is too long: a visit begins with at most {MOST_ASKED >> 10} KiB.", "argv")
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.settimeout(_WAIT_S)
    try:
        key = (folder / DOOR_KEY_FILE).read_text()
        opened = os.open(folder, os.O_PATH | os.O_CLOEXEC)  # the path alone may be too long for a socket's address
        try:
            line.connect(f"/proc/self/fd/{opened}/{DOOR_SOCKET}")
        finally:
            os.close(opened)
        line.sendall(visit.line(key))
    except OSError as error:
        line.close()
        message = "Nobody can connect to it now: its command has not begun, or has ended."
        raise ArmError(409, "JobNotConnectable", message) from error
    return line


def reach(folder: Path, port: int) -> socket.socket:
    """A connection to what the task listens with at a port of loopback. Raises ArmError(409, 503)."""
    with knock(folder, Visit([_NOTHING], port=port)) as line:
        line.settimeout(_REACH_S)
        try:
            _, passed, _, _ = socket.recv_fds(line, 1, 1)
        except TimeoutError as error:
            message = f"The job's agent made no connection within {_REACH_S:g} s."
            raise ArmError(503, "ServiceUnavailable", message, headers={"Retry-After": "1"}) from error
        except OSError:
            passed = []
    if not passed:
        raise ArmError(409, "ServiceNotReachable", f"Nothing of this job takes connections at port {port} now.")
    return socket.socket(fileno=passed[0])
