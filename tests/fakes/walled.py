"""A platform's root as a real one is, and tasks of it run straight by their agent: for tests of walls, whoever runs them."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fakes.refs import FINDER, ref
from live.patience import PATIENCE_S
from smalt.agent.launcher import attend
from smalt.agent.wire import Address, InputSpec, Outcome, OutputSpec, Phase, StopRequest, TaskSpec, TaskState, WallsSpec

USER = 61_999
PLAIN = 61_998
PYTHON = next((one for one in ("/usr/bin/python3", "/usr/local/bin/python3") if Path(one).exists()), "")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root becomes the other users")
_not_root = pytest.mark.skipif(os.geteuid() == 0, reason="is root")
OWN_USER = pytest.param((None, USER), id="root, own user", marks=needs_root)
WITHOUT_RIGHTS = pytest.param((None, 0), id="root without rights", marks=needs_root)
PLAIN_USER = pytest.param((PLAIN, 0), id="plain user", marks=needs_root)
OWN_NETWORK = pytest.param((None, USER, "network"), id="root, own user, own network", marks=needs_root)
PLAIN_OWN_NETWORK = pytest.param((PLAIN, 0, "network"), id="plain user, own network", marks=needs_root)
LANDLOCK = pytest.param((None, 0, "files"), id="Landlock alone", marks=needs_root)
PLAIN_LANDLOCK = pytest.param((PLAIN, 0, "files"), id="plain user, Landlock alone", marks=needs_root)
WHO_TESTS = pytest.param((None, 0), id="who runs the tests", marks=_not_root)


class Walled:
    """One platform's root, and tasks run straight by their agent, whoever that is."""

    def __init__(self, root: Path, agent: int | None, user: int, level: str = "walls") -> None:
        self.root = root
        self._agent = agent
        self.level = level
        self.plain = agent is not None
        self.user = user
        self.shown: list[str] = []
        self._count = 0
        self.port = 0
        for name in ("secrets", "run", "tasks", "blobs", "tls"):
            (root / name).mkdir(mode=0o700)
        (root.parent / "beside").mkdir()  # as where Smalt itself may lie: not below the root, and in /tmp
        (root / "secrets" / "signing.pem").write_text("KEY")
        (root / "smalt.db").write_text("ROWS")
        (root / "tls" / "bundle.pem").write_text("BUNDLE")
        (root / "tls" / "bundle.pem").chmod(0o600)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(root / "run" / "server.sock"))
        self.listener.listen()

    def begin(self, command: str, **values: Any) -> tuple[Path, int]:
        """The task's folder, and the process id of its agent, a child of this one."""
        self._count += 1
        folder = self.root / "tasks" / f"t{self._count}"
        folder.mkdir()
        walls = WallsSpec(
            level=self.level,
            port=self.port,
            user=self.user,
            home=str(self.root / "homes" / "w"),
            hostname="node-0",
            hosts=["node-0", "node-1"],
            readable=[str(self.root / "tls" / "bundle.pem"), str(self.root.parent / "beside")],
            shown=self.shown,
            hidden=[str(self.root)],
        )
        spec = TaskSpec(name=folder.name, owner="/o", command=command, walls=walls, workspace="w")
        spec = replace(spec, **values)
        (folder / "task.json").write_text(spec.to_json())
        (folder / "places.json").write_text(
            FINDER.places(spec, Address(f"unix:{self.root}/run/{folder.name}/sock")).to_json()
        )
        if self._agent is not None:
            subprocess.run(["chown", "-R", f"{self._agent}:{self._agent}", self.root], check=True)
        pid = os.fork()
        if pid == 0:
            try:
                self._become_agent(folder)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        return folder, pid

    def _become_agent(self, folder: Path) -> None:
        os.environ.update(HOME="/tmp", LANG="C.UTF-8")
        os.environ["SECRET_OF_THE_SERVER"] = "s3cret"
        if self._agent is not None:
            os.setgroups([])
            os.setresgid(self._agent, self._agent, self._agent)
            os.setresuid(self._agent, self._agent, self._agent)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as of a process that did not change its user
        attend(folder, "", -1)
        os._exit(0)

    def state(self, folder: Path) -> TaskState | None:
        path = folder / "state.json"
        return TaskState.from_json(path.read_text()) if path.exists() else None

    def until(self, folder: Path, meets: Callable[[TaskState], bool]) -> TaskState:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            state = self.state(folder)
            if state is not None and meets(state):
                return state
            assert time.monotonic() < deadline, f"still {state}"
            time.sleep(0.005)

    def run(self, command: str, **values: Any) -> tuple[TaskState, str]:
        folder, pid = self.begin(command, **values)
        os.waitpid(pid, 0)
        state, log = self.state(folder), folder / "log"
        assert state is not None and state.phase is Phase.EXITED
        return state, log.read_text() if log.exists() else state.error


@contextmanager
def walled_root(agent: int | None, user: int, level: str = "walls") -> Iterator[Walled]:
    """In a folder of its own: pytest's are closed to other users."""
    with TemporaryDirectory(prefix="smalt-walls-") as place:
        Path(place).chmod(0o711)
        root = Path(place) / "root"
        root.mkdir(mode=0o700)
        made = Walled(root, agent, user, level)
        try:
            yield made
        finally:
            made.listener.close()


def end_agents(walled: Walled) -> None:
    """Of a test that failed, and left tasks that run."""
    for folder in (walled.root / "tasks").iterdir():
        state = walled.state(folder)
        if state is not None and state.phase is not Phase.EXITED:
            os.kill(state.agent_pid, signal.SIGKILL)


def succeeds(result: tuple[TaskState, str]) -> str:
    state, log = result
    assert state.outcome is Outcome.EXITED and state.exit_code == 0, f"{state.error}\n{log}"
    return log


def stop(walled: Walled, folder: Path, grace_s: float) -> None:
    fresh = folder / ".stop.new"  # as the engine writes it: at once and whole
    fresh.write_text(StopRequest(grace_s).to_json())
    fresh.chmod(0o644)
    fresh.replace(folder / "stop.json")
    state = walled.state(folder)
    assert state is not None
    os.kill(state.agent_pid, 10)


def traps_sigterm(walled: Walled) -> None:
    """A command that traps SIGTERM writes its checkpoint."""
    place = walled.root / "blobs" / "out"
    folder, pid = walled.begin(
        "trap 'echo saved > ${{outputs.o}}/checkpoint; exit 0' TERM; echo up > ${{outputs.o}}/up;"
        " while :; do sleep 0.02; done",
        outputs=[OutputSpec(name="o", target=ref(place))],
    )
    walled.until(folder, lambda state: (place / "up").exists())
    stop(walled, folder, 15)
    os.waitpid(pid, 0)
    state = walled.state(folder)
    assert state is not None and state.outcome is Outcome.STOPPED and (place / "checkpoint").exists()


ATTACKS = {
    "secrets": "cat {root}/secrets/signing.pem",
    "list the root": 'test -n "$(ls -A {root} | grep -v -e tasks -e homes -e tls -e blobs)"',
    "database": "cat {root}/smalt.db",
    "task.json": "cat {root}/tasks/*/task.json",
    "private keys of the machine": "cat /etc/shadow /etc/ssh/ssh_host_* /etc/ssl/private/*",
    "server's socket": "test -e {root}/run/server.sock",
    "write the machine": "touch /usr/x || touch /etc/x || touch /x || touch /opt/x",
    "input": "echo x > {root}/blobs/in/a || touch {root}/tasks/*/user/inputs/i/x",
    "processes": "test $(ps -e --no-headers | wc -l) -gt 6",
    "environment of the agent": "cat /proc/1/environ | grep -a s3cret",
    "memory of the agent": "dd if=/proc/1/mem of=/dev/null bs=1 count=1 || ls /proc/1/root/ || readlink /proc/1/fd/*",
    "raw disks": "ls /dev/vda /dev/sda /dev/nvme0n1 /dev/mem /dev/kmsg",
    "mount": "mount -t tmpfs none /tmp || mount -o remount,rw /usr",
    "leave its control group": "echo $$ > /sys/fs/cgroup/memory/cgroup.procs || echo $$ > /sys/fs/cgroup/cgroup.procs",
    "kernel settings": "echo 1 > /proc/sys/kernel/printk || echo h > /proc/sysrq-trigger",
    "capabilities": "grep -E 'Cap(Eff|Prm|Bnd|Amb):' /proc/self/status | grep -v -w 0000000000000000",
    "set-user-id programs": "grep -q 'NoNewPrivs:.*0' /proc/self/status",
    "another host's name": "hostname evil",
}


def refused(walled: Walled, names: Iterable[str] = tuple(ATTACKS)) -> None:
    """These attacks, one after the other in one task, each in a shell of its own."""
    folder, tried = walled.root / "blobs" / "in", {name: ATTACKS[name] for name in names}
    folder.mkdir()
    (folder / "a").write_text("as it was")
    tries = [f'( {attack} ) && echo "BROKEN OUT: {name}" || echo "refused: {name}"' for name, attack in tried.items()]
    state, log = walled.run(
        "\n".join(tries).replace("{root}", str(walled.root)),
        inputs=[InputSpec(name="i", type="uri_folder", source=ref(folder))],
    )
    assert state.outcome is Outcome.EXITED and "BROKEN OUT" not in log, log
    said = log.splitlines()
    assert [name for name in tried if f"refused: {name}" not in said] == [], log
    assert (folder / "a").read_text() == "as it was"
    assert (walled.root / "smalt.db").read_text() == "ROWS"
