"""Listing a folder as flat names in order, a page at a time, without walking what lies before the page.

Order is that of whole names by code point, so a folder `a` sorts as `a/`: after `a-b` and `a.txt`. Entries that stand
for other names (`filenames`) sort as those. Large folders are kept sorted in memory between pages for as long as their
modification time says that nothing was added or removed.
"""

from __future__ import annotations

import bisect
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass

from smalt.blob.names import prefix_fault
from smalt.blob.store.beneath import Beneath
from smalt.blob.store.fileinfo import Hides, hides_none, visible_info
from smalt.blob.store.filenames import RESERVED, file_path, folder_path, long_part, segment_of
from smalt.blob.store.objects import ObjectInfo, Page

LAST = "\U0010ffff"  # `after` = prefix + LAST: after everything that begins with the prefix
_WORTH_KEEPING = 1000
_KEPT_FOLDERS = 32
_SETTLED_NS = 50_000_000  # coarse clocks: a folder read so soon after a change may change again with the same mtime
_SCAN_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE, _FOLDER, _LINK = 0, 1, 2
_Found = Generator[ObjectInfo | str, None, None]


@dataclass(frozen=True, slots=True)
class _Entries:
    """One folder's entries in order of names; a folder's key ends with `/`, and so does a marker's, which is a file.

    `places`: the paths, from the folder, of those whose path is not their key.
    """

    keys: list[str]
    kinds: list[int]
    places: dict[tuple[str, int], str]
    whole: bool  # the folder alone says what is in it: there are no long segments

    def place(self, key: str, kind: int) -> str:
        plain = key.removesuffix("/")
        return self.places.get((key, kind), plain) if self.places else plain


class FolderLister:
    """Pages over the files below a descriptor. Threads may share it."""

    def __init__(self, beneath: Beneath, hides: Hides = hides_none) -> None:
        self._beneath = beneath
        self._hides = hides
        self._kept: OrderedDict[tuple[int, int], tuple[int, _Entries]] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, bucket: int, prefix: str, after: str, limit: int, delimiter: str) -> Page:
        base = prefix[: prefix.rfind("/") + 1]
        if base and prefix_fault(base):
            return Page([], "")
        found = self._below(bucket, base, prefix, after, delimiter)
        if delimiter not in ("", "/"):
            found = _collapse(found, prefix, delimiter)
        return _cut(found, limit)

    def _below(self, bucket: int, base: str, prefix: str, after: str, delimiter: str) -> _Found:
        """What begins with the prefix: the marker of its folder, which is beside that, and the folder itself."""
        if (
            base
            and base == prefix
            and base > after
            and (info := self._info(bucket, bucket, base, file_path(base), _LINK))
        ):
            yield info
        try:
            fd = self._beneath.open(bucket, folder_path(base) or ".", _SCAN_FLAGS)
        except OSError:
            return
        walk = self._level if delimiter == "/" else self._walk
        yield from walk(bucket, fd, base, prefix, after)

    def _level(self, bucket: int, fd: int, base: str, prefix: str, after: str) -> _Found:
        """One folder: its files, and its folders (that have a file anywhere below, or a marker) as prefixes."""
        last = ""
        try:
            for key, kind, place in self._from(fd, base, prefix, after):
                name = base + key
                if not key.endswith("/"):
                    if name > after and (info := self._info(bucket, fd, name, place, kind)):
                        yield info
                elif name > after and not after.startswith(name) and name != last:
                    if kind == _FOLDER and not self._any(bucket, fd, name, place):
                        continue
                    last = name
                    yield name
        finally:
            os.close(fd)

    def _open_folder(self, parent: int, place: str) -> int:
        if "/" not in place:
            return _open_folder(parent, place)
        try:  # a job may have put a link in place of what was a folder
            return self._beneath.open(parent, place, _SCAN_FLAGS | os.O_NOFOLLOW)
        except OSError:
            return -1

    def _any(self, bucket: int, fd: int, name: str, place: str) -> bool:
        below = self._walk(bucket, self._open_folder(fd, place), name, name, "")
        try:
            return next(below, None) is not None
        finally:
            below.close()

    def _walk(self, bucket: int, fd: int, base: str, prefix: str, after: str) -> _Found:
        """All files below; closes `fd` (-1: it vanished)."""
        if fd < 0:
            return
        try:
            for key, kind, place in self._from(fd, base, prefix, after):
                name = base + key
                if kind == _FOLDER:
                    if not after.startswith(name) and after > name:
                        continue
                    yield from self._walk(bucket, self._open_folder(fd, place), name, "", after)
                elif name > after and (info := self._info(bucket, fd, name, place, kind)):
                    yield info
        finally:
            os.close(fd)

    def _from(self, fd: int, base: str, prefix: str, after: str) -> Generator[tuple[str, int, str], None, None]:
        """Key, kind and path of the entries that begin with the prefix, from about where `after` points."""
        entries = self._entries(fd)
        start = prefix[len(base) :] if prefix.startswith(base) else ""
        first = bisect.bisect_left(entries.keys, start)
        if after > base:
            if not after.startswith(base):
                return
            first = max(first, bisect.bisect_right(entries.keys, after[len(base) :]) - 1)
        for index in range(first, len(entries.keys)):
            key, kind = entries.keys[index], entries.kinds[index]
            if not key.startswith(start):
                if key > start:
                    return
                continue
            yield key, kind, entries.place(key, kind)

    def _info(self, bucket: int, folder: int, name: str, place: str, kind: int) -> ObjectInfo | None:
        try:
            if kind == _FILE and "/" not in place:
                return visible_info(name, os.stat(place, dir_fd=folder, follow_symlinks=False), self._hides)
            if kind == _FILE:
                fd = self._beneath.open(folder, place, os.O_PATH)
            else:  # a link may lead anywhere in the bucket
                fd = self._beneath.open(bucket, file_path(name), os.O_PATH)
        except OSError:
            return None  # gone meanwhile, or a link that leads out
        try:
            return visible_info(name, os.fstat(fd), self._hides)
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
        if entries.whole and len(entries.keys) >= _WORTH_KEEPING and read_at - status.st_mtime_ns > _SETTLED_NS:
            with self._lock:
                self._kept[identity] = (status.st_mtime_ns, entries)
                while len(self._kept) > _KEPT_FOLDERS:
                    self._kept.popitem(last=False)
        return entries


def _open_folder(parent: int, place: str) -> int:
    try:
        return os.open(place, _SCAN_FLAGS | os.O_NOFOLLOW, dir_fd=parent)
    except OSError:
        return -1


def _scan(fd: int) -> _Entries:
    plain, odd, whole = _read(fd)
    if odd:  # a file in the place of a folder hides the blob that was set aside for it
        known = set(plain)
        plain += [entry for entry in odd if entry not in known]
    plain.sort()
    return _Entries([key for key, _ in plain], [kind for _, kind in plain], odd, whole)


def _read(fd: int) -> tuple[list[tuple[str, int]], dict[tuple[str, int], str], bool]:
    """Entries that are their own names, and the places of those that are not."""
    plain: list[tuple[str, int]] = []
    odd: dict[tuple[str, int], str] = {}
    whole = True
    with os.scandir(fd) as entries:
        for entry in entries:
            name = entry.name
            if not name.isascii() and not _is_unicode(name):
                continue  # a job wrote a name that no URL can carry
            is_folder = False
            if entry.is_symlink():
                kind = _LINK
            elif entry.is_dir():
                kind, is_folder = _FOLDER, True
            elif entry.is_file():
                kind = _FILE
            else:
                continue
            if not name.startswith(RESERVED):
                if "\\" not in name:
                    plain.append((name + "/" if is_folder else name, kind))
            elif is_folder and (part := long_part(name)):
                odd |= _read_long(fd, name, part)
                whole = False
            elif (key := segment_of(name, is_folder)) and kind != _LINK:
                odd[key, kind] = name
    return plain, odd, whole


def _read_long(parent: int, place: str, part: str) -> dict[tuple[str, int], str]:
    fd = _open_folder(parent, place)
    if fd < 0:
        return {}
    try:
        plain, odd, _ = _read(fd)
    finally:
        os.close(fd)
    found = {(part + key, kind): f"{place}/{key.removesuffix('/')}" for key, kind in plain}
    return {(part + key, kind): f"{place}/{path}" for (key, kind), path in odd.items()} | found


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
