"""How the flat names of blobs are paths of files, and back: an ordinary name is its own path.

Azure's names are flat: `a`, `a/`, `a/b` and `a//b` are four blobs. A folder holds no two entries of one name and none
without a name, so what cannot be a path of its own gets entries that begin with `.smalt-`:

    .smalt-name-SEGMENT   a segment that cannot be an entry: an empty one, or one that itself begins with `.smalt-`
    .smalt-blob-SEGMENT   a blob whose name is also a folder's: `a` beside the folder `a/`
    .smalt-mark-SEGMENT   a blob whose name ends with `/`: the marker `a/`, beside the folder `a/` and not in it
    .smalt-long-PART/     a segment of over 255 bytes goes on inside

The folder of a prefix therefore shows what a mount of it shows: the blobs below it, with hidden entries for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

RESERVED = ".smalt-"
_NAME, _BLOB, _MARK, _LONG = ".smalt-name-", ".smalt-blob-", ".smalt-mark-", ".smalt-long-"
_MAX_ENTRY_BYTES = 255  # what a file system stores in one directory entry
_SHORT_CHARS = 63  # not over 255 bytes, whatever the characters are


def file_path(name: str) -> str:
    """The path of the blob `name`, relative to its container."""
    if (
        len(name) <= _SHORT_CHARS
        and "//" not in name
        and RESERVED not in name
        and not name.startswith("/")
        and not name.endswith("/")
    ):
        return name
    segments = name.split("/")
    if segments[-1] or len(segments) == 1:
        return "/".join(entry for segment in segments for entry in _entries(segment))
    return _joined(segments[:-2], _MARK, segments[-2])


def aside_path(name: str) -> str:
    """The path of the blob `name` where `file_path` is a folder. The two are one for a name that ends with `/`."""
    if name.endswith("/"):
        return file_path(name)
    *above, last = name.split("/")
    return _joined(above, _BLOB, last)


def folder_path(prefix: str) -> str:
    """The path of the folder that holds what begins with `prefix`, which ends with `/` or is empty (the container)."""
    return "/".join(entry for segment in prefix.split("/")[:-1] for entry in _entries(segment))


def beside(entry: str) -> tuple[str, str]:
    """Where in the same folder the blob, and the marker, of the folder `entry` would be."""
    segment = entry.removeprefix(_NAME)
    return _BLOB + segment, _MARK + segment


def long_part(entry: str) -> str | None:
    """What a folder entry contributes to the names of all that is inside, if it is the beginning of a long segment."""
    return entry[len(_LONG) :] if entry.startswith(_LONG) else None


def segment_of(entry: str, is_folder: bool) -> str | None:
    """What the entry of a folder is in names, with a `/` at the end for a folder or marker; None: part of no name."""
    end = "/" if is_folder else ""
    if "\\" in entry:
        return None  # it is read as `/` in a URL
    if not entry.startswith(RESERVED):
        return entry + end
    for kind in (_NAME, _BLOB, _MARK):
        if entry.startswith(kind):
            segment = entry[len(kind) :]
            if kind == _NAME:
                return None if _can_be_entry(segment) or not (segment or is_folder) else segment + end
            if is_folder or (kind == _BLOB and not segment):
                return None
            return segment + ("/" if kind == _MARK else "")
    return None


def _joined(above: Sequence[str], kind: str, last: str) -> str:
    return "/".join([*(entry for segment in above for entry in _entries(segment)), *_entries(last, kind)])


def _entries(segment: str, kind: str = "") -> Iterator[str]:
    """The entries that one segment is: usually one."""
    while len(segment) > _SHORT_CHARS - len(_LONG) and _size(segment, kind) > _MAX_ENTRY_BYTES:
        part = segment.encode()[: _MAX_ENTRY_BYTES - len(_LONG)].decode(errors="ignore")
        yield _LONG + part
        segment = segment[len(part) :]
    yield _entry(segment, kind)


def _entry(segment: str, kind: str) -> str:
    return kind + segment if kind or _can_be_entry(segment) else _NAME + segment


def _size(segment: str, kind: str) -> int:
    return len(_entry(segment, kind).encode())


def _can_be_entry(segment: str) -> bool:
    return segment not in ("", ".", "..") and not segment.startswith(RESERVED)
