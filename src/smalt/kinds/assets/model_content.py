"""What is in the files of a model: their hashes when it was registered, and whether loading one may run code.

The hashes are noted once, soon after a version was registered, and every replica compares what it finds with them
before it loads anything. A pickle is a program: https://docs.python.org/3/library/pickle.html says so. Formats that
hold numbers alone are those that `smalt up --models safe` lets through.
"""

from __future__ import annotations

import hashlib
import pickletools
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from posixpath import basename, splitext

from smalt.agent.wire import Ref
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.store.document import part
from smalt.store.resources import Row

CONTENT, FILES, UNKNOWN = "content", "files", "unknown"
ELSEWHERE = {UNKNOWN: "the files are outside of this platform"}
FILES_MOST, BYTES_MOST = 500, 64 << 30  # of one model: more is not hashed
_NAMED_MOST = 5
_WEIGHTS: Mapping[str, Callable[[bytes], bool]] = {
    ".skops": lambda begin: begin.startswith(b"PK\x03\x04"),
    ".onnx": lambda begin: begin.startswith(b"\x08"),  # the field ir_version of a ModelProto
    ".safetensors": lambda begin: begin[8:9] == b"{",  # behind the length of its header
}
_BEGIN_BYTES, _WORDS_MOST = 16, 4 << 20
_WORDS = (".json", ".yaml", ".yml", ".txt", ".md", ".csv")
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth")


def taken(platform: Platform, model: Ref) -> Document:
    """`sha256` of all, and `files`: the hash of each by its name below the model, '' where that is one file itself.

    `unknown`: why there are none. Reads every byte.
    """
    listed = list(_listed(platform, model))
    if not listed or len(listed) > FILES_MOST:
        return {UNKNOWN: f"the model has {f'more than {FILES_MOST}' if listed else 'no'} files"}
    if sum(size for _, size in listed) > BYTES_MOST:
        return {UNKNOWN: f"the model has more than {BYTES_MOST >> 30} GiB"}
    files: dict[str, str] = {}
    for name, _ in listed:
        digest = platform.blobs.sha256(*model.below(name) if name else model)
        if digest is None:
            return {UNKNOWN: f"'{name}' was deleted meanwhile"}
        files[name] = digest
    whole = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return {"sha256": hashlib.sha256(whole.encode()).hexdigest(), FILES: files}


def registered(row: Row) -> Mapping[str, str] | None:
    """The hashes by file; None: they are not noted yet. Empty: nobody knows them."""
    content = part(row.status, CONTENT)
    return part(content, FILES) if content else None


def named(files: Sequence[str]) -> str:
    """For people."""
    return ", ".join(files[:_NAMED_MOST]) + (
        f" and {len(files) - _NAMED_MOST} more" if len(files) > _NAMED_MOST else ""
    )


def pickles(platform: Platform, model: Ref) -> list[str]:
    """The files that are pickles by their names."""
    return [name or model.name for name, _ in _listed(platform, model) if _suffix(name, model) in _PICKLES]


def fault(platform: Platform, model: Ref, files: Mapping[str, str]) -> str:
    """Why it may hold more than numbers and words, for people; '' where it does not. `files`: those with a hash."""
    if not files:
        return "its files have no hash, so that nobody has looked at them all"
    found = [name or basename(model.name) for name in files if not _is_safe(platform, model, name)]
    return f"{named(found)} may hold more than numbers" if found else ""


def _is_safe(platform: Platform, model: Ref, name: str) -> bool:
    suffix, blob = _suffix(name, model), model.below(name) if name else model
    begin = platform.blobs.read(*blob, most_bytes=_WORDS_MOST + 1) if suffix not in _WEIGHTS else None
    if begin is None:
        begin = platform.blobs.read(*blob, most_bytes=_BEGIN_BYTES) or b""
        return suffix in _WEIGHTS and _WEIGHTS[suffix](begin)
    if basename(name or model.name) != "MLmodel" and suffix not in _WORDS:
        return False
    return len(begin) <= _WORDS_MOST and _is_text(begin) and not _is_pickle(begin)


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _is_pickle(data: bytes) -> bool:
    """Whether all of it, up to where it ends itself, is one. Nothing of it is run."""
    try:
        for _ in pickletools.genops(data):
            pass
    except Exception:  # whatever reading what is none comes to
        return False
    return True


def _suffix(name: str, model: Ref) -> str:
    return splitext(name or model.name)[1].lower()


def _listed(platform: Platform, model: Ref) -> Iterator[tuple[str, int]]:
    """Name below the model, and bytes, of `FILES_MOST` + 1 files at most."""
    if (size := platform.blobs.size(*model)) is not None:
        yield "", size
        return
    below = model.below("")
    for one in islice(platform.blobs.list(*below), FILES_MOST + 1):
        yield one.name.removeprefix(below.name), one.size
