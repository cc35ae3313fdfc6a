"""`smalt down`: stop the platform; what runs on the nodes goes on unless it is cancelled first."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from smalt.cli.port_holder import dismiss
from smalt.cli.root import CliError, read_settings, resolve, wait_for_holder
from smalt.cli.supervisor import GRACE_S

PATIENCE_S = 2 * GRACE_S + 5  # two rounds of programs, each with its grace


def run(root: Path | None, canceled: bool = False) -> int:
    settings = read_settings(resolve(root))
    pid = wait_for_holder(settings.root)
    if pid is None:
        dismiss(settings.run)  # where the supervisor was killed
        print(f"Smalt is not running on {settings.root}.")
        return 0
    stop(pid)
    dismiss(settings.run)
    print("Smalt has stopped." + ("" if canceled else " Jobs that still run go on; the next up adopts them."))
    return 0


def stop(pid: int, patience_s: float = PATIENCE_S) -> None:
    """SIGTERM to the supervisor; after `patience_s` SIGKILL, with which all its programs die. Returns when it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        if not select.select([pidfd], [], [], patience_s)[0]:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [], 5)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise CliError(f"process {pid} belongs to another user.") from error
    finally:
        os.close(pidfd)
