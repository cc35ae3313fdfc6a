"""Machines to examine: a root, and folders that stand for /proc, /sys, /dev and /etc."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smalt.doctor.machine import Machine
from smalt.settings import Settings

NOBODY = 65534
_PR_SET_DUMPABLE = 4


def machine(folder: Path, files: dict[str, str] | None = None, **settings: Any) -> Machine:
    """Its root is `folder`/root, which is not made; `files` are what its /proc and the like hold. PATH is `folder`/bin."""
    base = folder / "base"
    for name, text in (files or {}).items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    (folder / "bin").mkdir(exist_ok=True)
    return Machine(Settings(folder / "root", **settings), {"PATH": str(folder / "bin")}, base)


def program(folder: Path, name: str, script: str) -> Path:
    """On the PATH of that machine."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def everything_below(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("*")}


def as_nobody(act: Callable[[], Any]) -> Any:
    """What `act` gives (JSON) in a child that is a plain user. Only for root."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # as a program has it that such a user starts
            os.write(writer, json.dumps(act()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(said)
