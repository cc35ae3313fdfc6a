"""The system calls of the checks that neither Python nor the agent has, through libc. All raise OSError."""

from __future__ import annotations

import ctypes
import errno
import os

_LIBC = ctypes.CDLL(None, use_errno=True)

_SYS_OPEN_TREE, _SYS_MOUNT_SETATTR = 428, 442  # the same on all architectures
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE = 1
_MOUNT_ATTR_IDMAP = 0x00100000
_STA_UNSYNC = 0x40


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


class _Timex(ctypes.Structure):
    """The beginning of the kernel's structure, and room for the rest. Times are in microseconds."""

    _fields_ = [
        ("modes", ctypes.c_int),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    ]


def map_ids(folder: str, user_namespace: int) -> None:
    """A copy of the mount of `folder`, attached nowhere, shows ids as that namespace has them. It is gone at once."""
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC)
    path = ctypes.c_char_p(os.fsencode(folder))
    tree = _check(_LIBC.syscall(ctypes.c_long(_SYS_OPEN_TREE), ctypes.c_int(_AT_FDCWD), path, flags))
    try:
        attr = _MountAttr(attr_set=_MOUNT_ATTR_IDMAP, userns_fd=user_namespace)
        size = ctypes.c_size_t(ctypes.sizeof(attr))
        how = ctypes.c_uint(_AT_EMPTY_PATH)
        number = ctypes.c_long(_SYS_MOUNT_SETATTR)
        _check(_LIBC.syscall(number, ctypes.c_int(tree), ctypes.c_char_p(b""), how, ctypes.byref(attr), size))
    finally:
        os.close(tree)


def clock_error_us() -> int | None:
    """How far the clock may be off by its own estimate; None where nothing keeps it synchronised."""
    told = _Timex()
    _check(_LIBC.adjtimex(ctypes.byref(told)))
    return None if told.status & _STA_UNSYNC else int(told.maxerror)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))
    return result
