"""By what a job can be kept apart from the rest of the machine: namespaces, bubblewrap, Landlock. All really tried."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

from smalt.agent import linux, namespaces
from smalt.doctor.child import attempt
from smalt.doctor.finding import Finding, no, none, ok, warn
from smalt.doctor.machine import Machine, as_root

_SWITCHES = {  # by the sysctl: the value that forbids, the one that allows
    "user.max_user_namespaces": ("0", "15000"),
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
}
_LANDLOCK = "where namespaces are refused, nothing keeps files from jobs"


def user_namespaces(machine: Machine) -> Finding:
    means = "without root nothing keeps jobs apart but Landlock: what follows works for no other user"
    return _namespace(machine, "user", rule_as_user, means)


def mount_namespaces(machine: Machine) -> Finding:
    means = "jobs have no file system of their own: inputs are copied, and Landlock at most keeps the rest from them"
    return _namespace(machine, "mnt", mount_read_only, means)


def pid_namespaces(machine: Machine) -> Finding:
    means = "no walls stand: jobs could see and end other processes of this user"
    found = _namespace(machine, "pid", become_first, means)
    error = attempt(mount_own_proc) if found == ok("work") else None
    if error is None:
        return found
    return warn(
        f"work, but no /proc of their own can be mounted ({error.strerror})",
        "no walls stand: jobs would see the numbers and command lines of other processes",
        "docker run --security-opt systempaths=unconfined …",
    )


def network_namespaces(machine: Machine) -> Finding:
    return _namespace(machine, "net", raise_loopback, "smalt up --isolation network cannot be had")


def bubblewrap(machine: Machine) -> Finding:
    means = "nothing here needs it: Smalt builds its walls itself"
    program = machine.which("bwrap")
    if program is None:
        return none("not on PATH", means, machine.install("bubblewrap"))
    known, said = machine.ask([program, "--version"])
    version = re.search(r"\d+(\.\d+)+", said) if known else None
    name = version[0] if version else "of an unknown version"
    sandbox = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all", "--die-with-parent"]
    works, said = machine.ask([program, *sandbox, "true"])
    if works:
        return ok(f"{name} at {program}, and a sandbox starts")
    _, remedy = refusal(machine, "user", OSError(errno.EPERM, said))
    return no(f"{name} at {program}, but no sandbox starts: {said}", means, remedy)


def landlock(machine: Machine) -> Finding:
    return landlock_found(machine, linux.landlock_version)


def landlock_found(machine: Machine, version: Callable[[], int]) -> Finding:
    try:
        return ok(f"version {version()} of its interface")
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            active = machine.read("sys/kernel/security/lsm") or "…"
            remedy = f"start the kernel with: lsm=landlock,{active}"
            return no("in the kernel, but not switched on", _LANDLOCK, remedy)
        if error.errno == errno.ENOSYS:
            return no("not in this kernel", _LANDLOCK, "a kernel with CONFIG_SECURITY_LANDLOCK, 5.13 or later")
        return no(f"refused ({error.strerror})", _LANDLOCK, _unfiltered())


def rule_as_user() -> None:
    """Use a right that the namespace gives: AppArmor may allow it and take all rights in it away.

    Like all below only in a child: there is no way back.
    """
    _enter_as_user(linux.CLONE_NEWUTS)
    socket.sethostname("smalt")


def mount_read_only() -> None:
    """What the agent does for a job's inputs."""
    _enter(linux.CLONE_NEWNS)
    linux.make_mounts_private()
    linux.bind_read_only("/", "/")


def become_first() -> None:
    """A process with the number 1."""
    _enter(linux.CLONE_NEWPID)
    _in_first(lambda: None if os.getpid() == 1 else _fail(errno.EPERM))


def mount_own_proc() -> None:
    _enter(linux.CLONE_NEWPID | linux.CLONE_NEWNS)
    linux.make_mounts_private()
    _in_first(lambda: linux.mount("proc", "/proc"))


def raise_loopback() -> None:
    """A network of one's own, in which 127.0.0.1 answers: servers and distributed training need it."""
    _enter(linux.CLONE_NEWNET)
    namespaces.raise_loopback()


def refusal(machine: Machine, kind: str, error: OSError) -> tuple[str, str]:
    """Why namespaces of a kind (user, mnt, pid, net) are refused, and the remedy."""
    for switch, (forbids, allows) in {**_SWITCHES, f"user.max_{kind}_namespaces": ("0", "15000")}.items():
        if machine.read(f"proc/sys/{switch.replace('.', '/', 1)}") == forbids:
            return f"{switch} is {forbids}", as_root(f"sysctl -w {switch}={allows}")
    if error.errno == errno.ENOSPC:
        return "as many as are allowed exist already", as_root(f"sysctl -w user.max_{kind}_namespaces=15000")
    if _filtered(machine):
        return f"a seccomp filter, as containers have it ({error.strerror})", _unfiltered()
    if error.errno in (errno.EINVAL, errno.ENOSYS):
        return "not in this kernel", "a kernel with CONFIG_NAMESPACES and CONFIG_USER_NS"
    return error.strerror or str(error), "run Smalt outside of what confines it (chroot, AppArmor, SELinux)"


def _namespace(machine: Machine, kind: str, act: Callable[[], None], means: str) -> Finding:
    error = attempt(act)
    if error is None:
        return ok("work")
    why, remedy = refusal(machine, kind, error)
    return no(f"refused: {why}", means, remedy)


def _enter(flags: int) -> None:
    """Plain as root, else inside a user namespace, as the agent does."""
    try:
        linux.unshare(flags)
    except OSError:
        _enter_as_user(flags)


def _enter_as_user(flags: int) -> None:
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER | flags)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _in_first(act: Callable[[], object]) -> None:
    """`act` in the first process of the new pid namespace; raises what it raises."""
    pid = os.fork()
    if pid == 0:
        number = errno.EIO
        try:
            act()
            number = 0
        except OSError as error:
            number = error.errno or errno.EIO
        finally:
            os._exit(number)
    _, status = os.waitpid(pid, 0)
    if status:
        _fail(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else errno.EPERM)


def _fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


def _filtered(machine: Machine) -> bool:
    """Whether a filter of system calls is on this process."""
    return re.search(r"^Seccomp:\s*2$", machine.read("proc/self/status"), re.MULTILINE) is not None


def _unfiltered() -> str:
    return "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined …"
