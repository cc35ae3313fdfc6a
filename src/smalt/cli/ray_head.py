"""The Ray head that `smalt up --ray local` keeps: a program of the supervisor, which starts the head or adopts it.

The head outlives this process, and the platform, as jobs on its nodes do. `ray/up.lock` is held (flock) by the head for
as long as it lives and has its process id. Whatever way it ends, Ray's other processes end with it, or are found by
the folder in which all of them stand, and what ran on its nodes is ended: no later head knows them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from smalt.agent import linux
from smalt.agent.processes import kill_and_wait
from smalt.agent.whole_file import write_whole
from smalt.cli.root import Lock, holder, prepare_private, take_lock, wait_for_holder
from smalt.cli.tasks import ray_roots
from smalt.config import read_settings
from smalt.engines.local.shutdown import end_tasks
from smalt.engines.local.survey import RunningTask, running_tasks
from smalt.settings import Settings

NAME = "ray"
_ADDRESS = "127.0.0.2"  # Ray puts one of the machine's others in the place of 127.0.0.1
_STORE_BYTES = 128 << 20  # nothing of Smalt is in Ray's object store
_KILLED_S = 10.0


def command(settings: Settings) -> list[str]:
    """The supervisor's program."""
    return [sys.executable, "-P", "-m", "smalt.cli.ray_head", str(settings.root)]


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What Ray and its workers get: nothing that opens the database, and this Python as `python`."""
    kept = {name: value for name, value in variables.items() if not name.startswith(("PG", "RAY_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), variables.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "RAY_AUTH_MODE": "token", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def runs(settings: Settings) -> bool:
    return settings.ray_head.is_dir() and holder(settings.ray_head) is not None


def busy(settings: Settings) -> bool:
    """Whether jobs run on its nodes here."""
    return runs(settings) and any(running_tasks(one) for one in ray_roots(settings))


def keep(settings: Settings) -> None:
    """Until the head ends. Where none lives, what an earlier one left is ended first."""
    settings.ray_head.mkdir(mode=0o700, exist_ok=True)
    lock = take_lock(settings.ray_head)
    if lock is not None:
        with contextlib.closing(lock):
            _clear(settings)
            _start(settings, lock)
    pid = wait_for_holder(settings.ray_head)
    print(f"Ray's head is process {pid}{'' if lock else ', adopted'}", flush=True)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            linux.readable(pidfd, None)
            os.close(pidfd)


def end(settings: Settings) -> list[RunningTask]:
    """The head, its nodes and what runs on them, at once; what does not end. No server may run on this root."""
    if not settings.ray_head.is_dir():
        return []
    pid = wait_for_holder(settings.ray_head)
    if pid is not None:
        kill_and_wait([pid], _KILLED_S)
    lock = take_lock(settings.ray_head)
    if lock is None:
        return []  # another began meanwhile
    with contextlib.closing(lock):
        return _clear(settings)


def _clear(settings: Settings) -> list[RunningTask]:
    """What is left of a head that has ended, its nodes' environments too: the next one's have other folders."""
    settings.ray_head_file.unlink(missing_ok=True)
    kill_and_wait(_standing_in(_stand(settings)), _KILLED_S)
    left = [task for one in ray_roots(settings) for task in end_tasks(one)]
    if not left:
        shutil.rmtree(settings.ray_nodes, ignore_errors=True)
    shutil.rmtree(settings.ray_session, ignore_errors=True)
    return left


def _stand(settings: Settings) -> Path:
    """The working folder of all of Ray's processes, and of nobody else."""
    return settings.ray_session / "here"


def _standing_in(folder: Path) -> list[int]:
    found: list[int] = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if one.cwd().removesuffix(" (deleted)") == str(folder):
                found.append(one.pid)
    return found


def _start(settings: Settings, lock: Lock) -> None:
    """The lock passes to the head, which is no child of the supervisor's."""
    prepare_private(settings.ray_session.parent)
    _stand(settings).mkdir(mode=0o700, parents=True, exist_ok=True)
    port, token = _free_port(), secrets.token_hex(32)
    write_whole(settings.ray_head / "token", token, sync=True)
    write_whole(settings.ray_head_file, json.dumps({"url": f"http://127.0.0.1:{port}", "token": token}), sync=True)
    os.set_inheritable(lock.descriptor, True)
    subprocess.Popen(
        [sys.executable, "-P", "-m", "smalt.cli.ray_head", str(settings.root), str(lock.descriptor), str(port)],
        stdin=subprocess.DEVNULL,
        pass_fds=(lock.descriptor,),
        start_new_session=True,
        cwd=_stand(settings),
        env={**os.environ, "RAY_AUTH_TOKEN_PATH": str(settings.ray_head / "token")},
    )


def _become(settings: Settings, lock: Lock, port: int) -> None:
    """The head itself, which holds the lock from now on."""
    lock.claim()
    os.execv(
        sys.executable,
        [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            "--disable-usage-stats",
            "--node-ip-address",
            _ADDRESS,
            "--port",
            "0",
            "--ray-client-server-port",
            str(_free_port()),
            "--dashboard-host",
            "127.0.0.1",
            "--dashboard-port",
            str(port),
            "--dashboard-agent-listen-port",
            "0",
            "--include-log-monitor",
            "false",
            "--object-store-memory",
            str(_STORE_BYTES),
            "--temp-dir",
            str(settings.ray_session),
        ],
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(root: Path, *head: str) -> None:
    settings = read_settings(root)
    if head:
        _become(settings, Lock(int(head[0])), int(head[1]))
    keep(settings)
    sys.exit("Ray's head has ended")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
