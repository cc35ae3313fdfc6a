"""The few system calls that Python's library lacks, through libc: prctl, unshare, mount, mount_setattr."""

from __future__ import annotations

import ctypes
import os
import signal

_LIBC = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_CAP_SYS_ADMIN = 21

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000

_MS_RDONLY = 1
_MS_REMOUNT = 32
_MS_BIND = 4096
_MS_REC = 16384
_MS_SLAVE = 1 << 19
_SYS_MOUNT_SETATTR = 442  # the same number on all architectures
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
_MOUNT_ATTR_RDONLY = 1


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def set_process_name(name: str) -> None:
    """What `ps -o comm` shows; at most 15 bytes."""
    _check(_LIBC.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0))


def become_subreaper() -> None:
    """Orphans among this process's descendants become its children, instead of init's."""
    _check(_LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process as soon as the thread that forked it ends; at once where it already has."""
    _check(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:
        os._exit(1)


def drop_mount_capability() -> None:
    """Nobody below this process can change mounts any more, root included: what is read-only stays so."""
    # A container may withhold the capability to drop capabilities; then there is none to remount with either, mostly.
    _LIBC.prctl(_PR_CAPBSET_DROP, _CAP_SYS_ADMIN, 0, 0, 0)


def unshare(flags: int) -> None:
    _check(_LIBC.unshare(flags))


def make_mounts_private() -> None:
    """Mounts made from now on are not seen outside; those made outside still arrive."""
    _mount("none", "/", _MS_REC | _MS_SLAVE)


def bind_read_only(source: str, target: str) -> None:
    """Show `source` at `target`, read-only, mounts inside it included. Raises OSError."""
    _mount(source, target, _MS_BIND | _MS_REC)
    attr = _MountAttr(attr_set=_MOUNT_ATTR_RDONLY)
    done = _LIBC.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(_AT_RECURSIVE),
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )
    if done != 0:  # before Linux 5.12: the topmost mount alone
        _mount("none", target, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _locked_flags(target))


def _locked_flags(target: str) -> int:
    """The flags a remount must repeat, else it is refused in a user namespace.

    ST_* and MS_* differ in RELATIME only.
    """
    flags = os.statvfs(target).f_flag
    kept = flags & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME)
    return kept | ((1 << 21) if flags & os.ST_RELATIME else 0)


def _mount(source: str, target: str, flags: int) -> None:
    done = _LIBC.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)
    _check(done, target)


def _check(result: int, path: str | None = None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
