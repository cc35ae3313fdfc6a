"""Opening files below a folder without ever leaving it, whatever symlinks a job put there.

Linux's openat2(2) with RESOLVE_BENEATH does it in one call: relative symlinks that stay inside work, `..`, absolute and
magic links that leave are refused, free of races. Where the kernel or a seccomp filter lacks it, the path is walked one
component at a time with O_NOFOLLOW, which refuses all symlinks.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os

_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Beneath:
    """`open(folder_fd, path, flags)`; OSError(EXDEV or ELOOP) if the path leads out."""

    def __init__(self, use_openat2: bool = True) -> None:
        # PyDLL keeps the interpreter's lock: winning it back costs more than a path that the kernel has in memory
        self._syscall = ctypes.PyDLL(None, use_errno=True).syscall
        self._openat2 = use_openat2 and self._works()

    def open(self, folder: int, path: str, flags: int, mode: int = 0o666) -> int:
        """A file descriptor. `path` is relative and has no empty, `.` or `..` component (callers check names)."""
        if self._openat2:
            return self._open(folder, os.fsencode(path), flags, mode)
        return _walk(folder, path, flags, mode)

    def make_folders(self, folder: int, path: str) -> int:
        """Open the folder `path` (O_PATH), made with its parents where missing."""
        flags = os.O_PATH | os.O_DIRECTORY
        try:
            return self.open(folder, path, flags)
        except FileNotFoundError:
            pass
        parts = path.split("/")
        here = os.dup(folder)
        try:
            for depth, part in enumerate(parts, 1):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=here)
                below = self.open(folder, "/".join(parts[:depth]), flags)  # from the top: links inside the folder work
                os.close(here)
                here = below
        except BaseException:
            os.close(here)
            raise
        return here

    def _open(self, folder: int, path: bytes, flags: int, mode: int) -> int:
        how = _OpenHow(
            flags | os.O_CLOEXEC, mode if flags & os.O_CREAT else 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS
        )
        while True:
            fd = self._syscall(_OPENAT2, folder, path, ctypes.byref(how), ctypes.sizeof(how))
            if fd >= 0:
                return fd
            number = ctypes.get_errno()
            if number not in (errno.EINTR, errno.EAGAIN):  # EAGAIN: a rename elsewhere raced with a `..`
                raise OSError(number, os.strerror(number), os.fsdecode(path))

    def _works(self) -> bool:
        folder = os.open("/", os.O_PATH)
        try:
            os.close(self._open(folder, b".", os.O_PATH | os.O_DIRECTORY, 0))
        except OSError:
            return False
        finally:
            os.close(folder)
        return True


def _walk(folder: int, path: str, flags: int, mode: int) -> int:
    parts = path.split("/")
    here = folder
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            if here != folder:
                os.close(here)
            here = below
        if flags & os.O_PATH:
            # O_PATH|O_NOFOLLOW would hand out the symlink itself
            fd = os.open(parts[-1], flags | os.O_NOFOLLOW, mode, dir_fd=here)
            if (os.fstat(fd).st_mode & 0o170000) == 0o120000:
                os.close(fd)
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            return fd
        return os.open(parts[-1], flags | os.O_NOFOLLOW, mode, dir_fd=here)
    finally:
        if here != folder:
            os.close(here)
