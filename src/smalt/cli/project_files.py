"""The quickstart's code in a folder of the user's: copied there, brought up to date, never over the user's changes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from smalt.agent.whole_file import write_whole

SHIPPED = ("churn.py", "customers.py", "progress.py", "src/train_churn.py")
RECORD = ".shipped.json"  # what was copied last: path → digest


def copy_project(source: Path, folder: Path) -> list[str]:
    """Copy the files of `source`; returns those that were left as the user changed them."""
    record_file = folder / RECORD
    record = _record(record_file)
    changed: list[str] = []
    for name in SHIPPED:
        content, target = (source / name).read_bytes(), folder / name
        if target.exists() and target.read_bytes() != content and _digest(target.read_bytes()) != record.get(name):
            changed.append(name)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        record[name] = _digest(content)
    write_whole(record_file, json.dumps(record, indent=2) + "\n", sync=True)
    return changed


def _record(path: Path) -> dict[str, str]:
    """Empty where there is none that can be read: then whatever differs counts as the user's."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
