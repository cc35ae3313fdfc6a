"""Walls around a task's process: a file system of its own, with only what it needs of the machine and the platform.

The agent and its warden stay outside. What the process gets: namespaces of its own for mounts, processes, IPC and the
host's name, no capabilities and no way to gain any (`no_new_privs`), and, where the agent is root, a user of its own
for each workspace; files that are the platform's on disk seem to be this user's inside (mounts with a user map).

Made of system calls alone, in the forked child before it becomes the command: no helper program has to be there,
signals and exit codes are the command's own, and the cost is a few milliseconds. The command is a child of the agent
and not the first process of its namespace, so that an untrapped SIGTERM ends it as everywhere; the first is
`stand_first`.

What is inside: `/usr` and its like, `/etc` without secrets, an own `/proc`, `/dev` with the harmless devices and the
GPUs given, the interpreter with every link on the way to it, and what was shown (`show`): the task's folder, its
inputs, outputs and environment, at the paths that they have outside. Source of the order of calls: pivot_root(2),
mount_setattr(2), pid_namespaces(7).

With a network of its own (`network`) there is nothing but loopback, and on it the platform's port (`forward.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from smalt.agent import linux
from smalt.agent.beneath import open_below
from smalt.agent.machine import DEVICES, ETC, TOP, gpu_devices, interpreter
from smalt.agent.wire import WallsSpec

_STAGE = "/tmp"  # where the new root grows, in the child's own mount namespace
_NAME = "smalt"
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 1, 64


@dataclass(frozen=True)
class Shown:
    """`source` is seen at `target`. `base`: a folder that the way to `source` may not leave, also by a swapped link."""

    source: str
    target: str
    writable: bool = False
    ours: bool = False  # files of the platform, to be seen as the task's user's
    base: str = ""


class Walls:
    """What is to be seen inside, collected by the agent; `enter` is for the child.

    `shm_bytes`: what `/dev/shm` may hold; 0: half of the machine's memory.
    """

    active, temporary = True, _STAGE
    refused = ""

    def __init__(self, spec: WallsSpec, shm_bytes: int = 0) -> None:
        self._spec = spec
        self._shm = f"mode=1777,size={shm_bytes}" if shm_bytes else "mode=1777"
        self._shown = [Shown(one, one, ours=True) for one in spec.readable]
        self._links: dict[str, str] = {}
        self._owners = -1
        self._hidden: list[str] = []
        self._network = spec.level == "network"
        self._ours, self._theirs = socket.socketpair() if self._network else (None, None)

    def bind_read_only(self, source: Path, target: Path, base: str = "") -> bool:
        """As a `Namespace` does, for an input: the task's user may read it whoever may outside."""
        self._shown.append(Shown(str(source), str(target), ours=True, base=base))
        return True

    def show(self, source: Path, writable: bool = False, base: str = "") -> None:
        """At the same path, as the task's user's own."""
        self._shown.append(Shown(str(source), str(source), writable, ours=True, base=base))

    def show_public(self, source: Path) -> None:
        """At the same path, as it is: of whatever file system, and readable for who may read it outside."""
        self._shown.append(Shown(str(source), str(source)))

    def show_temporary(self, source: Path) -> None:
        """`source` is `/tmp` inside. What is shown at a path below `/tmp` gets its place in there now: later it is the
        task's user's alone to make anything in it.
        """
        inside = f"{_STAGE}/"
        for path, to in self._links.items():
            if path.startswith(inside):
                _make_link(source / path.removeprefix(inside), to)
        for one in self._shown:
            if one.target.startswith(inside):
                _make_place(source / one.target.removeprefix(inside), Path(one.source).is_dir())
        self._shown.append(Shown(str(source), _STAGE, writable=True, ours=True))

    def show_interpreter(self, python: Path) -> None:
        """An interpreter outside of the machine's own folders, with each symbolic link on the way to it."""
        links, home = interpreter(python, self._spec.hidden)
        self._links |= {one: to for one, to in links.items() if not _is_of_machine(one)}
        if home and not _is_of_machine(home):
            self._shown.append(Shown(home, home))

    def raise_up(self) -> int:
        """In the agent, before the command is forked: its children are in a process namespace of their own from now on.

        Returns the first process of it. Raises OSError where the machine refuses.
        """
        if os.geteuid() != 0:
            _become_root_of_nothing()
        if self._spec.user:
            self._owners = owners_map(self._spec.user)
        linux.unshare(linux.CLONE_NEWPID)
        return stand_first()

    def enter(self, folder: str) -> None:
        """In the child: build the file system, move in, and give up everything. Raises OSError."""
        spec = self._spec
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS)
        if self._theirs:
            linux.unshare(linux.CLONE_NEWNET)
            raise_loopback()
            listeners = [socket.create_server(("127.0.0.1", spec.port), backlog=128)]
            socket.send_fds(self._theirs, [b"1"], [one.fileno() for one in listeners])
        linux.make_mounts_private()
        socket.sethostname(spec.hostname)
        sources = [(one, _open(one)) for one in (*self._machine(), *self._shown)]
        devices = [(name, os.open(f"/dev/{name}", os.O_PATH)) for name in self._device_names()]
        linux.mount("tmpfs", _STAGE, linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=4m")
        os.umask(0o022)
        for path, to in self._links.items():
            _make_link(Path(_STAGE + path), to)
        for one, source in sorted(sources, key=lambda pair: pair[0].target.count("/")):
            if source is not None:
                self._place(one, source)
        proc = _make_folders(Path("/proc"))
        linux.mount("proc", str(proc), linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        self._furnish(devices)
        for one in (*self._hidden, _STAGE):
            linux.make_read_only(one)
        linux.change_root(_STAGE)
        if not spec.user:
            _lock_kernel_settings()
        os.chdir(folder)
        linux.give_up_privileges(spec.user or None)

    def doors(self) -> list[socket.socket]:
        """In the agent, once the command runs: what listens inside of its own network, at the platform's port."""
        if not self._ours or not self._theirs:
            return []
        self._theirs.close()
        _, descriptors, _, _ = socket.recv_fds(self._ours, 16, 8)
        self._ours.close()
        return [socket.socket(fileno=one) for one in descriptors]

    def _machine(self) -> list[Shown]:
        found = [Shown(one, one) for one in TOP if not Path(one).is_symlink()]
        self._links |= {one: str(Path(one).readlink()) for one in TOP if Path(one).is_symlink()}
        found += [Shown(f"/etc/{name}", f"/etc/{name}") for name in ETC]
        return [*found, Shown("/sys", "/sys")]

    def _place(self, one: Shown, source: int) -> None:
        target = Path(_STAGE + one.target)
        _make_place(target, stat.S_ISDIR(os.fstat(source).st_mode))
        linux.show(source, str(target), one.writable, self._owners if one.ours else -1)
        os.close(source)
        for hidden in self._spec.hidden:
            inside = hidden != one.target and hidden.startswith(one.target.rstrip("/") + "/")
            if inside and Path(_STAGE + hidden).is_dir():
                linux.mount("tmpfs", _STAGE + hidden, linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=4m")
                self._hidden.append(_STAGE + hidden)

    def _device_names(self) -> list[str]:
        return [*(name for name in DEVICES if Path("/dev", name).exists()), *gpu_devices(self._spec.gpus)]

    def _furnish(self, devices: list[tuple[str, int]]) -> None:
        """`/dev`, the accounts and names of `/etc`, and the usual empty places."""
        dev = _make_folders(Path("/dev"))
        for name, source in devices:
            target = dev / name
            _make_place(target, folder=False)
            linux.show(source, str(target), writable=True, devices=True)
            os.close(source)
        for name, to in {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
            (dev / name).symlink_to(to)
        (dev / "ptmx").symlink_to("pts/ptmx")
        (dev / "pts").mkdir()
        linux.mount(
            "devpts", str(dev / "pts"), linux.MS_NOSUID | linux.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"
        )
        (dev / "shm").mkdir()
        linux.mount("tmpfs", str(dev / "shm"), linux.MS_NOSUID | linux.MS_NODEV, self._shm)
        etc = _make_folders(Path("/etc"))
        user, group = self._spec.user or os.getuid(), self._spec.user or os.getgid()
        root = "root:x:0:0:root:/root:/bin/bash\n" if user else ""
        account = f"{_NAME}:x:{user}:{group}:{_NAME}:{self._spec.home or '/tmp'}:/bin/bash\n"
        (etc / "passwd").write_text(f"{root}{account}nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n")
        roots = "root:x:0:\n" if group else ""
        (etc / "group").write_text(f"{roots}{_NAME}:x:{group}:\nnogroup:x:65534:\n")
        (etc / "hosts").write_text(_hosts(self._spec))
        (etc / "hostname").write_text(f"{self._spec.hostname}\n")
        for name in ("/run", "/var", "/home", "/root"):
            _make_folders(Path(name))
        _make_link(Path(f"{_STAGE}/var/tmp"), "/tmp")
        _make_link(Path(f"{_STAGE}/var/run"), "/run")


def raise_loopback() -> None:
    """127.0.0.1 answers in a new network only then. Source: netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        fcntl.ioctl(line, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP | _IFF_RUNNING))


def stand_first() -> int:
    """Fork the first process of the namespace: it collects orphans, and everything in the namespace dies with it.

    It dies with the agent. After SIGUSR1 it ends as soon as nothing is left but itself.
    """
    alive, mine = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(mine)
        _stand(alive)
    os.close(alive)  # `mine` stays open for as long as the agent lives
    return pid


def _stand(alive: int) -> NoReturn:
    try:
        os.setsid()
        linux.hide_memory()  # it is a copy of the agent, and the task may be of the same user
        linux.set_process_name("smalt-first")
        signal.set_wakeup_fd(-1)
        leaving: list[bool] = []
        signal.signal(signal.SIGUSR1, lambda _number, _frame: leaving.append(True))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGCHLD))
        for one in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(one) != alive:
                with contextlib.suppress(OSError):
                    os.close(int(one))
        linux.die_with_any_parent()
        os.set_blocking(alive, False)
        with contextlib.suppress(BlockingIOError):
            if os.read(alive, 1) == b"":
                os._exit(1)  # the agent was gone before we asked to die with it
        while True:
            left = _collect()
            if leaving and not left:
                os._exit(0)
            leaving += [True] if signal.sigwaitinfo((signal.SIGUSR1, signal.SIGCHLD)).si_signo == signal.SIGUSR1 else []
    finally:
        os._exit(1)


def _collect() -> bool:
    """Reap the dead; whether a child is left."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
        except ChildProcessError:
            return False


def owners_map(user: int) -> int:
    """A user namespace in which the files of this process's user are `user`'s, for mounts. A descriptor."""
    ready, told = os.pipe()
    done, over = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            linux.unshare(linux.CLONE_NEWUSER)
            os.write(told, b"1")
            os.close(over)
            os.read(done, 1)
        finally:
            os._exit(0)
    os.close(told)
    os.close(done)
    try:
        if not os.read(ready, 1):
            raise OSError("this machine allows no user namespaces")
        Path(f"/proc/{pid}/uid_map").write_text(f"{os.geteuid()} {user} 1")
        Path(f"/proc/{pid}/gid_map").write_text(f"{os.getegid()} {user} 1")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready)
        os.close(over)
        os.waitpid(pid, 0)


def _become_root_of_nothing() -> None:
    """A user namespace in which this user is itself: the right to make the other namespaces, and none outside."""
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _open(one: Shown) -> int | None:
    """None for a part of the machine that is not there."""
    try:
        return open_below(one.source, one.base)
    except FileNotFoundError:
        if one.ours:
            raise
        return None


def _make_place(target: Path, folder: bool) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if folder:
        target.mkdir()
    else:
        target.touch()


def _make_link(path: Path, to: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.symlink_to(to)


def _make_folders(path: Path) -> Path:
    made = Path(_STAGE + str(path))
    made.mkdir(parents=True, exist_ok=True)
    return made


def _hosts(spec: WallsSpec) -> str:
    """The nodes of a job find each other by name: all of them are this machine."""
    names = [spec.hostname, *(one for one in spec.hosts if one != spec.hostname)]
    return "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + "".join(
        f"127.0.0.1\t{one}\n" for one in names
    )


def _lock_kernel_settings() -> None:
    """For a task that stays root, though without rights: the kernel's settings go by the user alone."""
    for name in ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi"):
        with contextlib.suppress(FileNotFoundError):
            linux.bind_read_only(f"/proc/{name}", f"/proc/{name}")


def _is_of_machine(path: str) -> bool:
    return f"{path}/".startswith(tuple(f"{one}/" for one in TOP))
