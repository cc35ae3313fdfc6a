"""Files of what runs: they come and go while one looks, and `Path.rglob` fails at a folder that goes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def files_below(folder: Path, name: str = "") -> Iterator[Path]:
    """Plain files, all or those of this name; some may be gone by the time that they are read."""
    for place, _, names in os.walk(folder):
        for path in (Path(place, one) for one in names if not name or one == name):
            if path.is_file() and not path.is_symlink():
                yield path


def text_of(path: Path) -> str:
    """Empty where it is gone, or never was."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


def json_lines(path: Path) -> list[Any]:
    """What stands in whole lines: the last may be half written."""
    return [json.loads(line) for line in text_of(path).splitlines(keepends=True) if line.endswith("\n")]
