"""Mounts that show files with other owners (idmapped mounts): tried on the root's file system. Only root may."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smalt.agent import linux
from smalt.doctor import isolation, syscalls
from smalt.doctor.child import attempt
from smalt.doctor.finding import Finding, no, none, ok
from smalt.doctor.machine import Machine
from smalt.doctor.storage import file_system

_MEANS = "jobs with users of their own get copies of their inputs, or files that others can read"
_IDS = "0 100000 65536"


def idmapped_mounts(machine: Machine) -> Finding:
    if os.geteuid() != 0:
        return none("only root may make them", _MEANS, "sudo smalt up --root DIR, another one")
    kind = file_system(machine).kind
    if refused := attempt(isolation.rule_as_user):
        why, remedy = isolation.refusal(machine, "user", refused)
        return no(f"refused with user namespaces: {why}", _MEANS, remedy)
    try:
        with user_namespace() as namespace:
            syscalls.map_ids(str(machine.ground), namespace)
    except OSError as error:
        if error.errno == errno.EINVAL:
            elsewhere = "a root on ext4, XFS or Btrfs: smalt up --root DIR"
            return no(f"not on this file system ({kind})", _MEANS, elsewhere)
        if error.errno == errno.ENOSYS:
            return no("not in this kernel", _MEANS, "Linux 5.12 or later")
        return no(f"refused ({error.strerror})", _MEANS, "docker run --cap-add SYS_ADMIN …")
    return ok(f"work on {kind}")


@contextmanager
def user_namespace() -> Iterator[int]:
    """The descriptor of a user namespace in which other ids rule: that of a child, which ends here."""
    reader, writer = os.pipe()
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        try:
            linux.die_with_parent(parent)
            linux.unshare(linux.CLONE_NEWUSER)
            os.write(writer, b"0")
            signal.pause()
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        number = int(os.read(reader, 16) or errno.EPERM)
        if number:
            raise OSError(number, os.strerror(number))
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(_IDS)
        descriptor = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
