"""Secrets on disk: files that only their owner reads, made once even where two processes start at the same moment."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from smalt.settings import SettingsError

T = TypeVar("T")


def keep_secret(path: Path, make: Callable[[], bytes], read: Callable[[bytes], T]) -> T:
    """What `read` finds in `path`; where it is missing, `make()` becomes it. The first of several processes wins.

    Raises SettingsError where the file is empty, or `read` cannot make anything of it: what it stood for is lost.
    """
    content = _kept(path, make)
    try:
        if content:
            return read(content)
    except (ValueError, KeyError, TypeError):  # without their words, which may show what is in it
        pass
    raise SettingsError(f"{path} is damaged: restore it from a backup of this root.")


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    private_folder(path.parent)
    draft = _draft(path, make(), 0o600)
    try:
        os.link(draft, path)  # unlike a rename, never replaces what another process put there meanwhile
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_bytes()


def replace_file(path: Path, content: bytes, mode: int = 0o600, last: Callable[[], None] | None = None) -> None:
    """Make `content` the whole of `path`, atomically; nobody sees half of it, nor a wider mode.

    `last`: what is done when all is on disk, right before it takes the place of what was there.
    """
    private_folder(path.parent)
    draft = _draft(path, content, mode)
    try:
        if last is not None:
            last()
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def private_folder(path: Path) -> None:
    """Make `path` a folder of mode 0700, and the missing ones above it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o777 != 0o700:
        path.chmod(0o700)


def _draft(path: Path, content: bytes, mode: int) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return draft
