"""Walls around a task's process: a file system of its own, with only what it needs of the machine and the platform.

The agent and its warden stay outside. What the process gets: namespaces of its own for mounts, processes, IPC and the
host's name, no capabilities and no way to gain any (`no_new_privs`), and, where the agent is root, a user of its own
for each workspace; files that are the platform's on disk seem to be this user's inside (mounts with a user map).

Made of system calls alone, in the forked child before it becomes the command: no helper program has to be there,
signals and exit codes are the command's own, and the cost is a few milliseconds. The command is a child of the agent
and not the first process of its namespace, so that an untrapped SIGTERM ends it as everywhere; the first is
`namespaces.stand_first`.

What is inside: `/usr` and its like, `/etc` without secrets, an own `/proc`, `/dev` with the harmless devices and the
GPUs given, the interpreter with every link on the way to it, and what was shown (`show`): the task's folder, its
inputs, outputs and environment, at the paths that they have outside. Source of the order of calls: pivot_root(2),
mount_setattr(2), pid_namespaces(7).

With a network of its own (`network`) there is nothing but loopback, and on it the platform's port (`forward.py`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smalt.agent import linux
from smalt.agent.beneath import open_below
from smalt.agent.machine import DEVICES, ETC, TOP, gpu_devices, interpreter
from smalt.agent.namespaces import become_root_of_nothing, owners_map, raise_loopback, stand_first
from smalt.agent.stage import STAGE, make_folder, make_link, make_place, write
from smalt.agent.wire import WallsSpec

_NAME = "smalt"


@dataclass(frozen=True)
class Shown:
    """`source` is seen at `target`. `base`: a folder that the way to `source` may not leave, also by a swapped link."""

    source: str
    target: str
    writable: bool = False
    ours: bool = False  # files of the platform, to be seen as the task's user's
    mapped: bool = False  # of the machine, seen so where its file system bears it
    base: str = ""


class Walls:
    """What is to be seen inside, collected by the agent; `enter` is for the child.

    `shm_bytes`: what `/dev/shm` may hold; 0: half of the machine's memory.
    """

    active, temporary = True, STAGE
    refused = ""

    def __init__(self, spec: WallsSpec, shm_bytes: int = 0) -> None:
        self._spec = spec
        self._shm = f"mode=1777,size={shm_bytes}" if shm_bytes else "mode=1777"
        self._shown = [Shown(one, one, ours=True) for one in spec.readable]
        self._shown += [Shown(one, one, mapped=True) for one in spec.shown]
        self._links: dict[str, str] = {}
        self._owners = -1
        self._hidden: list[str] = []
        self._namespaces: list[int] = []
        self._told, self._telling = socket.socketpair()
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
        inside = f"{STAGE}/"
        for path, to in self._links.items():
            if path.startswith(inside):
                make_link(str(source / path.removeprefix(inside)), to)
        for one in self._shown:
            if one.target.startswith(inside):
                make_place(str(source / one.target.removeprefix(inside)), Path(one.source).is_dir())
        self._shown.append(Shown(str(source), STAGE, writable=True, ours=True))

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
            become_root_of_nothing()
        if self._spec.user:
            self._owners = owners_map(self._spec.user)
        linux.unshare(linux.CLONE_NEWPID)
        return stand_first()

    def enter(self, folder: str) -> Callable[[], None]:
        """In the child: build the file system and move in; what it returns gives up everything. Raises OSError."""
        spec = self._spec
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS)
        if self._theirs:
            linux.unshare(linux.CLONE_NEWNET)
            raise_loopback()
            listeners = [socket.create_server(("127.0.0.1", spec.port), backlog=128)]
            socket.send_fds(self._theirs, [b"1"], [one.fileno() for one in listeners])
        linux.make_mounts_private()
        socket.sethostname(spec.hostname)
        sources = [(one, opened) for one in (*self._machine(), *self._shown) if (opened := _open(one)) is not None]
        devices = [(name, os.open(f"/dev/{name}", os.O_PATH)) for name in self._device_names()]
        linux.mount("tmpfs", STAGE, linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=4m")
        os.umask(0o022)  # noqa: TID251
        for path, to in self._links.items():
            make_link(STAGE + path, to)
        for one, source in sorted(sources, key=lambda pair: pair[0].target.count("/")):
            self._place(one, source)
        linux.mount("proc", make_folder("/proc"), linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        self._furnish(devices)
        for one in (*self._hidden, STAGE):
            linux.make_read_only(one)
        linux.change_root(STAGE)
        if not spec.user:
            _lock_kernel_settings()
        self._tell_namespaces()
        os.chdir(folder)
        return lambda: linux.give_up_privileges(spec.user or None)

    def _tell_namespaces(self) -> None:
        """To the agent: a command may have ended before anybody could look for them."""
        names = ("ipc", "uts", *(["net"] if self._network else []), "mnt")
        opened = [os.open(f"/proc/self/ns/{one}", os.O_RDONLY | os.O_CLOEXEC) for one in names]
        socket.send_fds(self._telling, [b"1"], opened)
        for one in opened:
            os.close(one)

    def remember(self) -> None:
        """In the agent, once the command runs: `join` leads behind these walls from now on, also when it has ended."""
        self._telling.close()
        _, self._namespaces, _, _ = socket.recv_fds(self._told, 16, 8)
        self._told.close()

    def join(self, folder: str) -> Callable[[], None]:
        """In another child of the agent, later than `enter` in the first: as that does. Raises OSError."""
        for one in self._namespaces:
            linux.enter(one)
        os.chdir(folder)
        return lambda: linux.give_up_privileges(self._spec.user or None)

    def doors(self) -> list[socket.socket]:
        """In the agent, once the command runs: what listens inside of its own network, at the platform's port."""
        if not self._ours or not self._theirs:
            return []
        self._theirs.close()
        _, descriptors, _, _ = socket.recv_fds(self._ours, 16, 8)
        self._ours.close()
        return [socket.socket(fileno=one) for one in descriptors]

    def _machine(self) -> list[Shown]:
        found: list[Shown] = []
        for one in TOP:
            if to := _link(one):
                self._links[one] = to
            else:
                found.append(Shown(one, one))
        found += [Shown(f"/etc/{name}", f"/etc/{name}") for name in ETC]
        return [*found, Shown("/sys", "/sys")]

    def _place(self, one: Shown, source: int) -> None:
        target = STAGE + one.target
        make_place(target, stat.S_ISDIR(os.fstat(source).st_mode))
        try:
            linux.show(source, target, one.writable, self._owners if one.ours or one.mapped else -1)
        except OSError:
            if not one.mapped:
                raise
            linux.show(source, target)  # readable for who may read it outside
        os.close(source)
        for hidden in self._spec.hidden:
            inside = hidden != one.target and hidden.startswith(one.target.rstrip("/") + "/")
            if inside and os.path.isdir(STAGE + hidden):
                linux.mount("tmpfs", STAGE + hidden, linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=4m")
                self._hidden.append(STAGE + hidden)

    def _device_names(self) -> list[str]:
        return [*(name for name in DEVICES if os.path.exists(f"/dev/{name}")), *gpu_devices(self._spec.gpus)]

    def _furnish(self, devices: list[tuple[str, int]]) -> None:
        """`/dev`, the accounts and names of `/etc`, and the usual empty places."""
        dev = make_folder("/dev")
        for name, source in devices:
            make_place(f"{dev}/{name}", folder=False)
            linux.show(source, f"{dev}/{name}", writable=True, devices=True)
            os.close(source)
        for name, to in {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
            os.symlink(to, f"{dev}/{name}")
        os.symlink("pts/ptmx", f"{dev}/ptmx")
        terminals = "newinstance,ptmxmode=0666,mode=0620"
        linux.mount("devpts", make_folder("/dev/pts"), linux.MS_NOSUID | linux.MS_NOEXEC, terminals)
        linux.mount("tmpfs", make_folder("/dev/shm"), linux.MS_NOSUID | linux.MS_NODEV, self._shm)
        make_folder("/etc")
        for path, text in self._accounts().items():
            write(path, text)
        for name in ("/run", "/var", "/home", "/root"):
            make_folder(name)
        make_link(f"{STAGE}/var/tmp", "/tmp")
        make_link(f"{STAGE}/var/run", "/run")

    def _accounts(self) -> dict[str, str]:
        """What says who and where this is: files of `/etc`, with what is in them."""
        user, group = self._spec.user or os.getuid(), self._spec.user or os.getgid()
        root = "root:x:0:0:root:/root:/bin/bash\n" if user else ""
        account = f"{_NAME}:x:{user}:{group}:{_NAME}:{self._spec.home or '/tmp'}:/bin/bash\n"
        roots = "root:x:0:\n" if group else ""
        return {
            "/etc/passwd": f"{root}{account}nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
            "/etc/group": f"{roots}{_NAME}:x:{group}:\nnogroup:x:65534:\n",
            "/etc/hosts": _hosts(self._spec),
            "/etc/hostname": f"{self._spec.hostname}\n",
        }


def _open(one: Shown) -> int | None:
    """None for a part of the machine that is not there."""
    try:
        return open_below(one.source, one.base)
    except FileNotFoundError:
        if one.ours:
            raise
        return None


def _link(path: str) -> str:
    """What a symbolic link says; empty for what is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _hosts(spec: WallsSpec) -> str:
    """The nodes of a job find each other by name: they are this machine, or it is said where they are."""
    names = [spec.hostname, *(one for one in spec.hosts if one != spec.hostname)]
    return "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + "".join(
        f"{spec.addresses.get(one, '127.0.0.1')}\t{one}\n" for one in names
    )


def _lock_kernel_settings() -> None:
    """For a task that stays root, though without rights: the kernel's settings go by the user alone."""
    for name in ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi"):
        with contextlib.suppress(FileNotFoundError):
            linux.bind_read_only(f"/proc/{name}", f"/proc/{name}")


def _is_of_machine(path: str) -> bool:
    return f"{path}/".startswith(tuple(f"{one}/" for one in TOP))
