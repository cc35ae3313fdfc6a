"""From the input to its mini-batches: by number of files, by bytes of a table, or by the values that paths say.

A mini-batch is an object: `files` or `parts` (of a table's files), `items` where their number is known, and `keys`. It
names files as `NUMBER OF A ROOT:PATH BELOW IT`: each node has them at a place of its own, and so has each attempt.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Dict, Sequence

from .settings import BYTES_A_BATCH, FILES_A_BATCH, Settings
from .table import files_of, pieces, values_of

Batch = Dict[str, Any]


class NothingToDo(Exception):
    """The input cannot be split; the message says why."""


def split(settings: Settings) -> list[Batch]:
    """Raises NothingToDo."""
    try:
        batches = _split(settings)
    except (OSError, ValueError) as error:
        raise NothingToDo(f"The input could not be split: {error}") from error
    except ImportError as error:
        raise NothingToDo(f"The input could not be split: {error}. Add the package to the environment.") from error
    if not batches:
        raise NothingToDo(f"The input has no files: {settings.input}")
    roots = _roots(settings)
    return [_with_files(one, lambda file: _name(roots, file)) for one in batches]


def placed(settings: Settings, batch: Batch) -> Batch:
    """The mini-batch, with files where this node has them."""
    roots = _roots(settings)

    def place(name: str) -> str:
        number, _, below = name.partition(":")
        return str(Path(roots[int(number)], below)) if below else roots[int(number)]

    return _with_files(batch, place)


def mark(batches: Sequence[Batch]) -> str:
    """The same for the same split."""
    digest = hashlib.sha256()
    for one in batches:
        digest.update(json.dumps(one, sort_keys=True).encode())
    return digest.hexdigest()


def _roots(settings: Settings) -> list[str]:
    """The folders and files that the input is, in an order that is the same on all nodes."""
    if settings.table is None:
        return [settings.input]
    return list(dict.fromkeys(str(one["root"]) for one in settings.table["paths"]))


def _name(roots: Sequence[str], file: str) -> str:
    for number, root in enumerate(roots):
        if file == root or file.startswith(root.rstrip("/") + "/"):
            return f"{number}:{file[len(root) :].strip('/')}"
    raise ValueError(f"{file} is not in the input")


def _with_files(batch: Batch, change: Callable[[str], str]) -> Batch:
    if "files" in batch:
        return {**batch, "files": [change(file) for file in batch["files"]]}
    parts = []
    for part in batch["parts"]:
        head = {"head": [change(part["head"][0]), part["head"][1]]} if part.get("head") else {}
        parts.append({**part, "file": change(part["file"]), **head})
    return {**batch, "parts": parts}


def _split(settings: Settings) -> list[Batch]:
    table, size = settings.table, settings.size
    files = _files(Path(settings.input)) if table is None else files_of(table["paths"])
    is_read = table is not None and table.get("reader") is not None
    if settings.keys:
        return [_whole(table, group, is_read, keys) for keys, group in _by_keys(settings, files)]
    if is_read and table is not None:
        return [{"parts": [part]} for part in pieces(table, files, size or BYTES_A_BATCH)]
    size = size or FILES_A_BATCH
    return [_whole(None, files[at : at + size], False, {}) for at in range(0, len(files), size)]


def _files(place: Path) -> list[str]:
    if place.is_dir():
        return sorted(str(one) for one in place.rglob("*") if one.is_file())
    if place.is_file():
        return [str(place)]
    raise FileNotFoundError(f"nothing is at {place}")


def _by_keys(settings: Settings, files: Sequence[str]) -> list[tuple[dict[str, str], list[str]]]:
    """The files in groups with the same values, in the order in which the first of each comes."""
    format_ = str((settings.table or {}).get("format") or "")
    groups: dict[tuple[str, ...], list[str]] = {}
    for file in files:
        values = values_of(format_, file)
        missing = [key for key in settings.keys if key not in values]
        if missing:
            raise ValueError(f"the table's partition format {format_!r} has no {missing[0]!r}")
        groups.setdefault(tuple(values[key] for key in settings.keys), []).append(file)
    return [(dict(zip(settings.keys, values)), group) for values, group in groups.items()]


def _whole(table: Any, files: Sequence[str], is_read: bool, keys: dict[str, str]) -> Batch:
    named = {"keys": keys} if keys else {}
    if is_read:
        return {"parts": list(pieces(table, files, 0)), **named}
    return {"files": list(files), "items": len(files), **named}
