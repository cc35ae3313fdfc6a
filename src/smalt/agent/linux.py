"""The few system calls that Python's library lacks, through libc: prctl, unshare, mounts, capabilities."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAP_SYS_ADMIN = 21
_LAST_CAPABILITY = 63  # as many as the kernel's sets have bits; what it does not know, it refuses
_CAPABILITY_VERSION = 0x20080522

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
_MS_REMOUNT = 32
_MS_BIND = 4096
_MS_REC = 16384
_MS_SLAVE = 1 << 19
_MNT_DETACH = 2
# The same numbers on all architectures.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_OPENAT2, _SYS_MOUNT_SETATTR = 428, 429, 437, 442
_SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD, _SYS_LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION, _LANDLOCK_PATH_BENEATH = 1, 1
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_IDMAP = 1, 2, 4, 0x00100000
_RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x04, 0x08
_IN_MODIFY, _IN_CREATE, _IN_ONLYDIR = 0x2, 0x100, 0x01000000
_INOTIFY_EVENT = struct.Struct("iIII")  # watch, what happened, cookie, bytes of the name behind it


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


class _LandlockRuleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _LandlockPath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("access", ctypes.c_uint64), ("folder", ctypes.c_int32)]


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def set_process_name(name: str) -> None:
    """What `ps -o comm` shows; at most 15 bytes."""
    _check(_LIBC.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0))


def become_subreaper() -> None:
    """Orphans among this process's descendants become its children, instead of init's."""
    _check(_LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def readable(descriptor: int, timeout_s: float | None) -> bool:
    """Whether something can be read, or a process has ended, before the time is over; for descriptors of any number.
    None: however long that takes.

    `select.select` refuses those above 1023.
    """
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(None if timeout_s is None else timeout_s * 1000))


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process as soon as the thread that forked it ends; at once where it already has."""
    _check(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:
        os._exit(1)


def die_with_any_parent() -> None:
    """As `die_with_parent`, for a process that does not see its parent: whether that lives, the caller finds out."""
    _check(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def drop_mount_capability() -> None:
    """Nobody below this process can change mounts any more, root included: what is read-only stays so."""
    # A container may withhold the capability to drop capabilities; then there is none to remount with either, mostly.
    _LIBC.prctl(_PR_CAPBSET_DROP, _CAP_SYS_ADMIN, 0, 0, 0)


def unshare(flags: int) -> None:
    _check(_LIBC.unshare(flags))


def enter(namespace: int) -> None:
    """Be in the namespace that is open (setns(2)). Raises OSError."""
    _check(_LIBC.setns(namespace, 0))


def make_mounts_private() -> None:
    """Mounts made from now on are not seen outside; those made outside still arrive."""
    _mount("none", "/", _MS_REC | _MS_SLAVE)


def bind_read_only(source: str, target: str) -> None:
    """Show `source` at `target`, read-only, mounts inside it included. Raises OSError."""
    _mount(source, target, _MS_BIND | _MS_REC)
    try:
        _set_attributes(_AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, _MountAttr(attr_set=_MOUNT_ATTR_RDONLY))
    except OSError:  # before Linux 5.12: the topmost mount alone
        _mount("none", target, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _locked_flags(target))


def mount(kind: str, target: str, flags: int = 0, options: str = "") -> None:
    """A new file system of this kind (tmpfs, proc, devpts …). Raises OSError."""
    data = ctypes.c_char_p(options.encode()) if options else None
    _check(_LIBC.mount(kind.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data), target)


def open_beneath(folder: int, path: str, follow: bool = False) -> int:
    """An O_PATH descriptor of what is at `path` below `folder`; no way there leaves it, whatever is swapped meanwhile.

    Without `follow` no symbolic link is passed. Raises OSError: EXDEV where it would leave, ELOOP for a link.
    """
    how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | (0 if follow else _RESOLVE_NO_SYMLINKS))
    return _call(_SYS_OPENAT2, folder, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how), path=path)


def show(source: int, target: str, writable: bool = False, owners: int = -1, devices: bool = False) -> None:
    """Bind what the descriptor `source` has open at `target`, mounts inside it included.

    `owners`: a user namespace whose map the mount has, so that its files seem to be somebody else's (-1: as they are).
    Raises OSError.
    """
    tree = _call(_SYS_OPEN_TREE, source, b"", _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE)
    try:
        wanted = _MOUNT_ATTR_NOSUID | (0 if writable else _MOUNT_ATTR_RDONLY) | (0 if devices else _MOUNT_ATTR_NODEV)
        # A map is for one mount alone: what is mounted inside may refuse it.
        if owners >= 0:
            _set_attributes(tree, b"", _AT_EMPTY_PATH, _MountAttr(attr_set=_MOUNT_ATTR_IDMAP, userns_fd=owners))
        _set_attributes(tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, _MountAttr(attr_set=wanted))
        _call(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH, path=target)
    finally:
        os.close(tree)


def make_read_only(target: str) -> None:
    """The mount at `target`, from now on."""
    _set_attributes(_AT_FDCWD, os.fsencode(target), 0, _MountAttr(attr_set=_MOUNT_ATTR_RDONLY))


def change_root(root: str) -> None:
    """`root`, a mount, becomes the root of this mount namespace; what was there is gone. Raises OSError."""
    os.chdir(root)
    _check(_LIBC.pivot_root(b".", b"."), root)
    _check(_LIBC.mount(b"none", b".", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None))
    _check(_LIBC.umount2(b".", _MNT_DETACH))
    os.chdir("/")


def landlock_version() -> int:
    """Of the kernel's interface, from 1. Raises OSError: ENOSYS, or EOPNOTSUPP where it is switched off."""
    return _call(_SYS_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)


def landlock_ruleset(files: int, scoped: int) -> int:
    """A descriptor of rules that refuse all these kinds of access but what `landlock_allow` allows."""
    asked = _LandlockRuleset(files, 0, scoped)
    size = ctypes.sizeof(asked) if scoped else 8  # older kernels know only the beginning
    return _call(_SYS_LANDLOCK_CREATE, ctypes.byref(asked), size, 0)


def landlock_allow(ruleset: int, place: int, access: int) -> None:
    """What is at and below the open `place`."""
    rule = _LandlockPath(access, place)
    _call(_SYS_LANDLOCK_ADD, ruleset, _LANDLOCK_PATH_BENEATH, ctypes.byref(rule), 0)


def landlock_enforce(ruleset: int) -> None:
    """For this process and its descendants, for good."""
    _call(_SYS_LANDLOCK_RESTRICT, ruleset, 0)


def hide_memory() -> None:
    """Nobody of the same user may look into this process: its memory, environment, files and root."""
    _check(_LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def give_up_privileges(user: int | None = None) -> None:
    """For good: become `user` (and its group of the same number), lose all capabilities, gain none by any exec."""
    for one in range(_LAST_CAPABILITY + 1):
        _LIBC.prctl(_PR_CAPBSET_DROP, one, 0, 0, 0)
    _LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _check(_LIBC.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())))
    _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _set_attributes(folder: int, path: bytes, flags: int, attributes: _MountAttr) -> None:
    size = ctypes.sizeof(attributes)
    _call(_SYS_MOUNT_SETATTR, folder, path, flags, ctypes.byref(attributes), size, path=os.fsdecode(path))


def _call(number: int, *arguments: Any, path: str | None = None) -> int:
    """A system call that libc may not have a name for."""
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(_LIBC.syscall(ctypes.c_long(number), *given))
    _check(-1 if result < 0 else 0, path)
    return result


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


def open_inotify() -> int:
    """A descriptor from which it is read, without waiting, what happened in the folders of `watch_writes`."""
    return _descriptor(_LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))


def watch_writes(inotify: int, folder: str) -> int:
    """That a file in this folder is made or written to; the number by which it is told. The same folder has one.

    Older kernels tell nothing of what splice(2) has written.
    """
    return _descriptor(_LIBC.inotify_add_watch(inotify, os.fsencode(folder), _IN_MODIFY | _IN_CREATE | _IN_ONLYDIR))


def unwatch(inotify: int, number: int) -> None:
    """Raises OSError where the folder is gone already."""
    _check(_LIBC.inotify_rm_watch(inotify, number))


def watched(data: bytes) -> set[int]:
    """The numbers that what was read from such a descriptor is of."""
    found: set[int] = set()
    at = 0
    while at < len(data):
        number, _, _, length = _INOTIFY_EVENT.unpack_from(data, at)
        found.add(number)
        at += _INOTIFY_EVENT.size + length
    return found


def _descriptor(result: int) -> int:
    _check(-1 if result < 0 else 0)
    return int(result)
