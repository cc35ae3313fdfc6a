"""Listing a folder as flat names in order, a page at a time, without walking what lies before the page.

Order is that of whole names by code point, so a folder `a` sorts as `a/`: after `a-b` and `a.txt`. Large folders are
kept sorted in memory between pages for as long as their modification time says that nothing was added or removed.
"""

from __future__ import annotations

import bisect
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass

from smalt.blob.beneath import Beneath
from smalt.blob.fileinfo import file_info
from smalt.blob.names import blob_name_fault
from smalt.blob.objects import ObjectInfo, Page

LAST = "\U0010ffff"  # `after` = prefix + LAST: after everything that begins with the prefix
_WORTH_KEEPING = 1000
_KEPT_FOLDERS = 32
_SETTLED_NS = 50_000_000  # coarse clocks: a folder read so soon after a change may change again with the same mtime
_SCAN_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE, _FOLDER, _LINK = 0, 1, 2
_Found = Generator[ObjectInfo | str, None, None]


@dataclass(frozen=True, slots=True)
class _Entries:
    """One folder's entries in order; a folder's key ends with `/`."""

    keys: list[str]
    kinds: list[int]


class FolderLister:
    """Pages over the files below a descriptor. Threads may share it."""

    def __init__(self, beneath: Beneath) -> None:
        self._beneath = beneath
        self._kept: OrderedDict[tuple[int, int], tuple[int, _Entries]] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, bucket: int, prefix: str, after: str, limit: int, delimiter: str) -> Page:
        base = prefix[: prefix.rfind("/") + 1]
        if base and blob_name_fault(base[:-1]):
            return Page([], "")
        try:
            fd = self._beneath.open(bucket, base[:-1] or ".", _SCAN_FLAGS)
        except OSError:
            return Page([], "")
        if delimiter == "/":
            found = self._level(bucket, fd, base, prefix, after)
        else:
            found = self._walk(bucket, fd, base, prefix, after)
            if delimiter:
                found = _collapse(found, prefix, delimiter)
        return _cut(found, limit)

    def _level(self, bucket: int, fd: int, base: str, prefix: str, after: str) -> _Found:
        """One folder: its files, and its folders (that have a file anywhere below) as prefixes."""
        try:
            for key, kind in self._from(fd, base, prefix, after):
                name = base + key
                if kind != _FOLDER:
                    if name > after and (info := self._info(bucket, fd, name, key, kind)):
                        yield info
                elif name > after and not after.startswith(name):
                    below = self._walk(bucket, _open_folder(fd, key), name, name, "")
                    first = next(below, None)
                    below.close()
                    if first is not None:
                        yield name
        finally:
            os.close(fd)

    def _walk(self, bucket: int, fd: int, base: str, prefix: str, after: str) -> _Found:
        """All files below; closes `fd` (-1: it vanished)."""
        if fd < 0:
            return
        try:
            for key, kind in self._from(fd, base, prefix, after):
                name = base + key
                if kind == _FOLDER:
                    if not after.startswith(name) and after > name:
                        continue
                    yield from self._walk(bucket, _open_folder(fd, key), name, "", after)
                elif name > after and (info := self._info(bucket, fd, name, key, kind)):
                    yield info
        finally:
            os.close(fd)

    def _from(self, fd: int, base: str, prefix: str, after: str) -> Generator[tuple[str, int], None, None]:
        """The entries that begin with the prefix, from about where `after` points."""
        entries = self._entries(fd)
        start = prefix[len(base) :] if prefix.startswith(base) else ""
        first = bisect.bisect_left(entries.keys, start)
        if after > base:
            if not after.startswith(base):
                return
            first = max(first, bisect.bisect_right(entries.keys, after[len(base) :]) - 1)
        for index in range(first, len(entries.keys)):
            key = entries.keys[index]
            if not key.startswith(start):
                if key > start:
                    return
                continue
            yield key, entries.kinds[index]

    def _info(self, bucket: int, folder: int, name: str, key: str, kind: int) -> ObjectInfo | None:
        try:
            if kind == _FILE:
                return file_info(name, os.stat(key, dir_fd=folder, follow_symlinks=False))
            fd = self._beneath.open(bucket, name, os.O_PATH)
        except OSError:
            return None  # gone meanwhile, or a link that leads out
        try:
            return file_info(name, os.fstat(fd))
        finally:
            os.close(fd)

    def _entries(self, fd: int) -> _Entries:
        status = os.fstat(fd)
        identity = (status.st_dev, status.st_ino)
        with self._lock:
            kept = self._kept.get(identity)
            if kept and kept[0] == status.st_mtime_ns:
                self._kept.move_to_end(identity)
                return kept[1]
        read_at = time.time_ns()
        entries = _scan(fd)
        if len(entries.keys) >= _WORTH_KEEPING and read_at - status.st_mtime_ns > _SETTLED_NS:
            with self._lock:
                self._kept[identity] = (status.st_mtime_ns, entries)
                while len(self._kept) > _KEPT_FOLDERS:
                    self._kept.popitem(last=False)
        return entries


def _open_folder(parent: int, key: str) -> int:
    try:
        return os.open(key[:-1], _SCAN_FLAGS | os.O_NOFOLLOW, dir_fd=parent)
    except OSError:
        return -1


def _scan(fd: int) -> _Entries:
    found: list[tuple[str, int]] = []
    with os.scandir(fd) as entries:
        for entry in entries:
            name = entry.name
            if not name.isascii() and not _is_unicode(name):
                continue  # a job wrote a name that no URL can carry
            if entry.is_symlink():
                found.append((name, _LINK))
            elif entry.is_dir():
                found.append((name + "/", _FOLDER))
            elif entry.is_file():
                found.append((name, _FILE))
    found.sort()
    return _Entries([key for key, _ in found], [kind for _, kind in found])


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _collapse(found: _Found, prefix: str, delimiter: str) -> _Found:
    """Any delimiter but `/`: names that have it after the prefix become one entry."""
    last = ""
    for entry in found:
        assert isinstance(entry, ObjectInfo)
        at = entry.name.find(delimiter, len(prefix))
        if at < 0:
            yield entry
        elif (common := entry.name[: at + len(delimiter)]) != last:
            last = common
            yield common


def _cut(found: _Found, limit: int) -> Page:
    entries: list[ObjectInfo | str] = []
    for entry in found:
        if len(entries) == limit:
            last = entries[-1]
            found.close()  # and with it the folders that are open
            return Page(entries, last + LAST if isinstance(last, str) else last.name)
        entries.append(entry)
    return Page(entries, "")
