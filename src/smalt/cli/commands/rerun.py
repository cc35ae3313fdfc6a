"""`smalt rerun` and `smalt diff`: a job once more from the same bits, and what two jobs were made from."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smalt.cli.api import Document, opened
from smalt.cli.root import CliError
from smalt.store.document import bits, differences, part

_DIFFERENT = 1
_SAID_MOST = 10  # changes
_MADE_OF = ("environment", "code", "component")


def run(root: Path | None, job: str, workspace: str, name: str, changed_ok: bool, force: bool = False) -> int:
    """Submits it, and prints the new job's name. `force`: also the steps of a pipeline that could be reused."""
    with opened(root, workspace) as api:
        before = api.get(f"jobs/{job}/again")
        _check(job, before["changes"], changed_ok)
        properties = before["properties"]
        if force:
            if properties["jobType"] != "Pipeline":
                raise CliError(f"--force-rerun is for pipelines: '{job}' has no steps that could be reused")
            properties["settings"] = {**part(properties, "settings"), "force_rerun": True}
        name = name or f"{job}-rerun-{int(time.time())}"
        if api.has_job(name):
            raise CliError(f"there is a job '{name}' already; choose another --name")
        api.send("PUT", f"jobs/{name}", {"properties": properties}, again=job)
    print(name)
    return 0


def _check(job: str, changes: Sequence[Document], changed_ok: bool) -> None:
    """Raises CliError for what is not there any more, and, unless that is told to be fine, for what is another now."""
    if gone := [f"{_named(one)}: {one['gone']}" for one in changes if "gone" in one]:
        raise CliError(f"'{job}' cannot be run again, what it needs is not there any more: {_joined(gone)}")
    if changes and not changed_ok:
        told = _joined([f"{_named(one)}: {_said(one)}" for one in changes])
        raise CliError(f"not the same bytes any more (--changed-ok runs it all the same): {told}")


def _joined(said: Sequence[str]) -> str:
    more = len(said) - _SAID_MOST
    return "; ".join(said[:_SAID_MOST]) + (f"; and {more} more" if more > 0 else "")


def _named(change: Document) -> str:
    step = f"step '{change['step']}', " if change.get("step") else ""
    if "input" in change:
        return f"{step}input '{change['input']}'"
    return step + next(f"{what} {change[what]}" for what in _MADE_OF if what in change)


def diff(root: Path | None, first: str, second: str, workspace: str, as_json: bool) -> int:
    """The exit code is 1 where they differ."""
    with opened(root, workspace) as api:
        one, other = (api.get(f"jobs/{job}/provenance") for job in (first, second))
    found = {path: pair for path, *pair in differences(bits(one), bits(other))}
    if as_json:
        print(json.dumps(found))
    else:
        for path, (before, after) in found.items():
            print(f"{path}: {_shown(before)} -> {_shown(after)}")
    return _DIFFERENT if found else 0


def _said(change: Document) -> str:
    said: list[str] = []
    if change.get("another"):
        said.append("it was made anew since")
    if moved := change.get("moved"):
        said.append(f"it led to {moved[0]} and leads to {moved[1]} now")
    if change.get("unknown"):
        said.append("what it held was not noted")
    if "files" in change:
        before, now = change["files"], change["bytes"]
        said.append(f"{before[0]} files with {now[0]} bytes became {before[1]} with {now[1]}")
    for what in ("added", "removed", "changed"):
        if names := change.get(what):
            said.append(f"{what} {' '.join(map(str, names[:5]))}{' …' * (len(names) > 5)}")
    return ", ".join(said)


def _shown(value: Any) -> str:
    return "(none)" if value is None else value if isinstance(value, str) else json.dumps(value)
