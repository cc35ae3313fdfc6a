"""Locks: exact versions with hashes, as a requirements file that pip and uv read too.

The first line, a comment, holds what a build from the lock has to know besides: the key that it belongs to, the
packages that are built from source, and the notes for people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from smalt.environments.uv.layout import write_atomically

_HEAD = "# smalt: "
_LINE = re.compile(
    r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+(?: ; [^\\\n]*)?(?: \\)?| {4}--hash=sha256:[0-9a-f]{64}(?: \\)?|"
)


@dataclass(frozen=True)
class Resolution:
    """`text` is uv's requirements with hashes; `sources` are the packages that have to be built."""

    text: str
    sources: tuple[str, ...]
    notes: tuple[str, ...]


def write_lock(path: Path, key: str, resolution: Resolution) -> None:
    head = {"key": key, "sources": resolution.sources, "notes": resolution.notes}
    write_atomically(path, f"{_HEAD}{json.dumps(head)}\n{resolution.text}")


def read_lock(path: Path) -> Resolution | None:
    """The lock, or None where there is none (or it is not one of ours)."""
    try:
        return parse_lock(path.read_text())
    except OSError:
        return None


def parse_lock(text: str) -> Resolution | None:
    """What `write_lock` wrote; None where it is not one of ours."""
    head = _head(text)
    return Resolution(text.partition("\n")[2], tuple(head["sources"]), tuple(head["notes"])) if head else None


def lock_key(path: Path) -> str:
    """The key that a lock belongs to, from its first line alone; "" where it is not a lock."""
    with path.open() as file:
        return str(_head(file.readline()).get("key", ""))


def versions(text: str) -> dict[str, str]:
    """Canonical name → version of a lock's lines."""
    return {
        canonicalize_name(name): version for name, version in re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)", text)
    }


def requirement(text: str, name: str) -> str:
    """The lines of a lock that are about the package `name` (canonical), "" if none are."""
    for found in re.finditer(r"(?m)^([A-Za-z0-9._-]+)==[^\n]*\n?(?:[ \t]+[^\n]*\n?)*", text):
        if canonicalize_name(found.group(1)) == name:
            return found.group()
    return ""


def foreign_line(text: str, addresses: Collection[str]) -> str:
    """The first line of a lock that is neither a version, nor a hash, nor one of `addresses`; "" if there is none.

    Options and addresses are instructions: they count only from those who may give them.
    """
    for line in text.split("\n"):
        address = line.removesuffix("\\").partition(" ; ")[0].partition(" @ ")[2].strip()
        if not _LINE.fullmatch(line) and (not address or address not in addresses):
            return line
    return ""


def _head(text: str) -> dict[str, Any]:
    first = text.partition("\n")[0]
    if not first.startswith(_HEAD):
        return {}
    try:
        return json.loads(first.removeprefix(_HEAD))
    except ValueError:
        return {}
