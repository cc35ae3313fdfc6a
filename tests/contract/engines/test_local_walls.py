"""Tasks behind walls: what a job can do today, tried; as root with and without a user of its own, and as a plain user.

The platform of these tests has secrets, sockets, a database and other tasks under its root as a real one has.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.refs import FINDER, ref
from smalt.agent.launcher import attend
from smalt.agent.wire import (
    Address,
    InputSpec,
    Outcome,
    OutputSpec,
    Phase,
    Probe,
    ServerSpec,
    StopRequest,
    TaskSpec,
    TaskState,
    WallsSpec,
)

USER = 61_999
PLAIN = 61_998
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root becomes the other users")

Run = Callable[..., tuple[TaskState, str]]


class Walled:
    """One platform's root, and tasks run straight by their agent, whoever that is."""

    def __init__(self, root: Path, agent: int | None, user: int, level: str = "walls") -> None:
        self.root = root
        self._agent = agent
        self.level = level
        self.plain = agent is not None
        self.user = user
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
        deadline = time.monotonic() + 20
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


@pytest.fixture(
    params=[
        pytest.param((None, USER), id="root, own user", marks=needs_root),
        pytest.param((None, 0), id="root without rights", marks=needs_root),
        pytest.param((PLAIN, 0), id="plain user", marks=needs_root),
        pytest.param((None, USER, "network"), id="root, own user, own network", marks=needs_root),
        pytest.param((PLAIN, 0, "network"), id="plain user, own network", marks=needs_root),
        pytest.param((None, 0), id="who runs the tests", marks=pytest.mark.skipif(os.geteuid() == 0, reason="is root")),
    ]
)
def walled(request: pytest.FixtureRequest) -> Iterator[Walled]:
    agent, user, *level = request.param
    with tempfile.TemporaryDirectory(prefix="smalt-walls-") as place:  # pytest's own is closed to other users
        Path(place).chmod(0o711)
        root = Path(place) / "root"
        root.mkdir(mode=0o700)
        made = Walled(root, agent, user, *level)
        yield made
        made.listener.close()


def succeeds(result: tuple[TaskState, str]) -> str:
    state, log = result
    assert state.outcome is Outcome.EXITED and state.exit_code == 0, f"{state.error}\n{log}"
    return log


def test_inputs_outputs_and_artifacts_are_where_they_were(walled: Walled) -> None:
    data = walled.root / "blobs" / "data"
    data.mkdir(mode=0o700)
    (data / "a.csv").write_text("1,2\n")
    (data / "a.csv").chmod(0o600)
    other = data / "other.txt"
    other.write_text("not yours\n")
    log = succeeds(
        walled.run(
            "cat ${{inputs.folder}}/a.csv ${{inputs.file}} && ls $(dirname ${{inputs.file}})"
            " && echo out > ${{outputs.folder}}/b.txt && echo one > ${{outputs.file}} && echo art > outputs/c.txt"
            " && echo up > ${{outputs.later}}/d.txt && pwd && touch here ~/kept /tmp/gone",
            inputs=[
                InputSpec(name="folder", type="uri_folder", source=ref(data)),
                InputSpec(name="file", type="uri_file", source=ref(data / "a.csv")),
            ],
            outputs=[
                OutputSpec(name="folder", target=ref(walled.root / "blobs" / "out")),
                OutputSpec(name="file", type="uri_file", target=ref(walled.root / "blobs" / "files" / "one.txt")),
                OutputSpec(name="later", mode="upload", target=ref(walled.root / "blobs" / "later")),
            ],
            artifacts=ref(walled.root / "blobs" / "run"),
        )
    )
    assert log.splitlines()[:3] == ["1,2", "1,2", "a.csv"]
    for name, text in {
        "out/b.txt": "out",
        "files/one.txt": "one",
        "run/outputs/c.txt": "art",
        "later/d.txt": "up",
    }.items():
        written = walled.root / "blobs" / name
        assert written.read_text() == f"{text}\n"
        assert written.stat().st_uid == walled.root.stat().st_uid, "files stay the platform's on disk"
    assert (walled.root / "homes" / "w" / "kept").exists()


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


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_job_could_do_in_the_open_is_refused(walled: Walled, attack: str) -> None:
    refused(walled, attack)


def refused(walled: Walled, attack: str) -> None:
    folder = walled.root / "blobs" / "in"
    folder.mkdir()
    (folder / "a").write_text("as it was")
    state, log = walled.run(
        f"( {ATTACKS[attack]} ) && echo BROKEN OUT".replace("{root}", str(walled.root)),
        inputs=[InputSpec(name="i", type="uri_folder", source=ref(folder))],
    )
    assert state.outcome is Outcome.EXITED and "BROKEN OUT" not in log and state.exit_code != 0, log
    assert (folder / "a").read_text() == "as it was"
    assert (walled.root / "smalt.db").read_text() == "ROWS"


def test_the_same_attacks_succeed_in_the_open(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    root = tmp_path / "root"
    root.mkdir()
    made = Walled(root, None, 0)
    attacks = [ATTACKS[name] for name in ("secrets", "database", "task.json", "server's socket", "processes")]
    for attack in attacks:
        succeeds(made.run(attack.replace("{root}", str(root)), walls=None))
    made.listener.close()


def test_who_and_where_it_is(walled: Walled) -> None:
    log = succeeds(
        walled.run(f"id -un; hostname; getent hosts node-1; echo $HOME $TMPDIR; cat {walled.root}/tls/bundle.pem")
    )
    name, host, peer, places, bundle = log.splitlines()
    assert (name, host, peer.split()) == ("smalt", "node-0", ["127.0.0.1", "node-1"])
    assert places == f"{walled.root}/homes/w /tmp" and bundle == "BUNDLE"


def test_its_files_and_processes_go_with_it(walled: Walled) -> None:
    mark = f"{time.time_ns() % 10**9}"
    folder, pid = walled.begin(f"setsid sleep {mark} & setsid sleep {mark} & disown -a; exit 3")
    os.waitpid(pid, 0)
    state = walled.state(folder)
    assert state is not None and state.exit_code == 3
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], stdout=subprocess.DEVNULL).returncode == 1


def stop(walled: Walled, folder: Path, grace_s: float) -> None:
    request = folder / "stop.json"
    request.write_text(StopRequest(grace_s).to_json())
    request.chmod(0o644)
    state = walled.state(folder)
    assert state is not None
    os.kill(state.agent_pid, 10)


def test_a_trap_of_sigterm_writes_its_checkpoint(walled: Walled) -> None:
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


def test_sigterm_ends_what_does_not_trap_it_at_once(walled: Walled) -> None:
    folder, pid = walled.begin("exec sleep 600")
    walled.until(folder, lambda state: state.phase is Phase.RUNNING)
    begun = time.monotonic()
    stop(walled, folder, 60)
    os.waitpid(pid, 0)
    state = walled.state(folder)
    assert state is not None and state.outcome is Outcome.STOPPED and state.exit_code == 128 + 15
    assert time.monotonic() - begun < 10


def test_a_stop_waits_for_what_the_main_process_left(walled: Walled) -> None:
    place = walled.root / "blobs" / "out"
    folder, pid = walled.begin(
        "(trap 'sleep 0.3; echo done > ${{outputs.o}}/last; exit' TERM; touch ${{outputs.o}}/up; while :; do sleep 0.02; done) &"
        " wait",
        outputs=[OutputSpec(name="o", target=ref(place))],
    )
    walled.until(folder, lambda state: (place / "up").exists())
    stop(walled, folder, 15)
    os.waitpid(pid, 0)
    assert (place / "last").exists()


def test_what_ignores_sigterm_is_killed_after_its_grace(walled: Walled) -> None:
    place = walled.root / "blobs" / "out"
    folder, pid = walled.begin(
        "trap '' TERM; touch ${{outputs.o}}/up; while :; do sleep 0.02; done",
        outputs=[OutputSpec(name="o", target=ref(place))],
    )
    walled.until(folder, lambda state: (place / "up").exists())
    stop(walled, folder, 0.2)
    os.waitpid(pid, 0)
    state = walled.state(folder)
    assert state is not None and state.exit_code == 128 + 9


def test_a_killed_agent_takes_everything_with_it(walled: Walled) -> None:
    mark = f"{time.time_ns() % 10**9}"
    folder, pid = walled.begin(f"setsid sleep {mark} & sleep {mark}")
    state = walled.until(folder, lambda state: state.phase is Phase.RUNNING)
    os.kill(state.agent_pid, 9)
    os.waitpid(pid, 0)  # the warden
    state = walled.state(folder)
    assert state is not None and state.outcome is Outcome.LOST
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], stdout=subprocess.DEVNULL).returncode == 1


SERVE = """
import os, socket
s = socket.socket(socket.AF_UNIX); s.bind(os.environ["SMALT_LISTEN"].removeprefix("unix:")); s.listen()
while True:
    c, _ = s.accept(); c.recv(4096); c.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\ninside"); c.close()
"""


def test_a_server_inside_is_probed_and_reached_from_outside(walled: Walled) -> None:
    folder, pid = walled.begin("", argv=["/usr/bin/python3", "-c", SERVE], ready=Probe(path="/ready"))
    state = walled.until(folder, lambda state: state.ready or state.phase is Phase.EXITED)
    assert state.ready, state.error
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.path.relpath(state.address.path))
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.recv(200).endswith(b"inside")
    stop(walled, folder, 0)
    os.waitpid(pid, 0)


def test_a_served_model_is_the_stores_and_cannot_be_changed(walled: Walled) -> None:
    model = walled.root / "blobs" / "model"
    model.mkdir()
    (model / "MLmodel").write_text("flavors: {}")
    server = ServerSpec(model=ref(model), script="score.py")
    folder, pid = walled.begin("", server=server)
    os.waitpid(pid, 0)  # it ends: there is no interpreter of an environment
    assert (model / "MLmodel").read_text() == "flavors: {}"
    assert not (folder / "user" / "model" / "model" / "MLmodel").exists(), "a mount, and no link to the store's file"


def test_shared_memory_is_the_tasks_own(walled: Walled) -> None:
    Path("/dev/shm/smalt-test-outside").write_text("x")
    try:
        log = succeeds(walled.run("ls -A /dev/shm; echo x > /dev/shm/inside; df --output=fstype /dev/shm | tail -1"))
    finally:
        Path("/dev/shm/smalt-test-outside").unlink()
    assert log.split() == ["tmpfs"] and not Path("/dev/shm/inside").exists()


def test_an_environment_and_its_interpreter_are_found_through_every_link(walled: Walled) -> None:
    hidden = walled.root.parent / "closed"
    hidden.mkdir(mode=0o711)
    (hidden / "versions").symlink_to(Path(sys.base_prefix).parent)
    prefix = walled.root / "env"
    python = hidden / "versions" / Path(sys.base_prefix).name / "bin" / f"python3.{sys.version_info.minor}"
    subprocess.run([python, "-m", "venv", "--without-pip", prefix], check=True)
    if walled.plain and not all(above.stat().st_mode & 0o001 for above in Path(sys.base_prefix).parents):
        pytest.skip("a plain user of this machine cannot reach the interpreter of these tests")
    log = succeeds(walled.run("python -c 'import sys, ssl, ctypes; print(sys.prefix)'", environment=str(prefix)))
    assert log.strip().endswith("user/venv")


def answering(port: int) -> None:
    """In a child: a platform that says back what it is told, to its end."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            while data := connection.recv(1 << 16):
                connection.sendall(data)
            connection.close()


ECHO = """
import socket, sys, threading
size = 8_000_000
s = socket.create_connection(("localhost", int(sys.argv[1])))
def send():
    for at in range(0, size, 100_000): s.sendall(bytes([at // 100_000 % 251]) * 100_000)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
back = b"".join(iter(lambda: s.recv(1 << 16), b""))
assert back == b"".join(bytes([at // 100_000 % 251]) * 100_000 for at in range(0, size, 100_000)), len(back)
try: socket.create_connection(("127.0.0.1", int(sys.argv[2])), 2)
except OSError: print("alone")
"""


@pytest.mark.parametrize("agent", [pytest.param(None, marks=needs_root), pytest.param(PLAIN, marks=needs_root)])
def test_a_network_of_its_own_has_the_platform_and_nothing_else(agent: int | None) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="smalt-walls-") as place,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        Path(place).chmod(0o711)
        root = Path(place) / "root"
        root.mkdir(mode=0o700)
        made = Walled(root, agent, 0 if agent else USER, "network")
        made.port = taken.getsockname()[1]
        taken.close()
        platform = os.fork()
        if platform == 0:
            answering(made.port)
        try:
            argv = ["/usr/bin/python3", "-c", ECHO, str(made.port), str(other.getsockname()[1])]
            for _ in range(500):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", made.port)).close()
                    break
                time.sleep(0.01)
            assert succeeds(made.run("", argv=argv)) == "alone\n"
        finally:
            os.kill(platform, 9)
            os.waitpid(platform, 0)
            made.listener.close()


FENCED = [
    "secrets",
    "list the root",
    "database",
    "task.json",
    "private keys of the machine",
    "write the machine",
    "input",
]


@pytest.fixture(
    params=[pytest.param(None, id="root", marks=needs_root), pytest.param(PLAIN, id="plain user", marks=needs_root)]
)
def fenced(request: pytest.FixtureRequest) -> Iterator[Walled]:
    with tempfile.TemporaryDirectory(prefix="smalt-walls-") as place:
        Path(place).chmod(0o711)
        root = Path(place) / "root"
        root.mkdir(mode=0o700)
        made = Walled(root, request.param, 0, "files")
        yield made
        made.listener.close()


@pytest.mark.parametrize("attack", [*FENCED, "set-user-id programs"])
def test_landlock_alone_keeps_files(fenced: Walled, attack: str) -> None:
    refused(fenced, attack)


def test_behind_landlock_a_job_works(fenced: Walled) -> None:
    data = fenced.root / "blobs" / "data"
    data.mkdir(mode=0o700)
    (data / "a.csv").write_text("1,2\n")
    log = succeeds(
        fenced.run(
            "cat ${{inputs.folder}}/a.csv && echo out > ${{outputs.folder}}/b.txt && echo art > outputs/c.txt"
            f" && touch here ~/kept $TMPDIR/gone && cat {fenced.root}/tls/bundle.pem && echo x > /dev/null",
            inputs=[InputSpec(name="folder", type="uri_folder", source=ref(data))],
            outputs=[OutputSpec(name="folder", target=ref(fenced.root / "blobs" / "out"))],
            artifacts=ref(fenced.root / "blobs" / "run"),
        )
    )
    assert log == "1,2\nBUNDLE"
    assert (fenced.root / "blobs" / "out" / "b.txt").exists() and (fenced.root / "blobs/run/outputs/c.txt").exists()


def test_a_trap_of_sigterm_works_behind_landlock_too(fenced: Walled) -> None:
    test_a_trap_of_sigterm_writes_its_checkpoint(fenced)
