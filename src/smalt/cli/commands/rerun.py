"""`smalt rerun` and `smalt diff`: a job once more from the same bits, and what two jobs were made from."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from smalt.cli.api import Api, Document, opened
from smalt.cli.root import CliError
from smalt.store.document import bits, differences

_KEPT = (
    "jobType", "command", "codeId", "environmentId", "inputs", "outputs", "computeId", "resources", "limits",
    "environmentVariables", "distribution", "parallel", "queueSettings", "identity", "experimentName", "displayName",
    "description", "tags", "properties", "trial", "searchSpace", "samplingAlgorithm", "objective", "earlyTermination",
)  # fmt: skip
_OF_RERUN = "smalt.rerun_of"  # a property of the new job
_DIFFERENT = 1


def run(root: Path | None, job: str, workspace: str, name: str, changed_ok: bool) -> int:
    """Submits it, and prints the new job's name."""
    with opened(root, workspace) as api:
        properties = api.job(job)
        if not properties.get("command") and not properties.get("trial"):
            raise CliError(f"'{job}' is no command job and no sweep: only those can be run again")
        before = api.get(f"jobs/{job}/provenance", now="true")
        changes = _changes(api, job, before)
        if gone := {one: change["gone"] for one, change in changes.items() if "gone" in change}:
            told = "; ".join(f"input '{one}': {why}" for one, why in gone.items())
            raise CliError(f"'{job}' cannot be run again, an input is not there any more: {told}")
        if changes and not changed_ok:
            told = "; ".join(f"input '{one}': {_said(change)}" for one, change in changes.items())
            raise CliError(f"not the same bytes any more (--changed-ok runs it all the same): {told}")
        name = name or f"{job}-rerun-{int(time.time())}"
        again = {key: properties[key] for key in _KEPT if properties.get(key) is not None}
        if "seed" in before:
            again["samplingAlgorithm"] = {**again["samplingAlgorithm"], "seed": before["seed"]}
        again["properties"] = {**(again.get("properties") or {}), _OF_RERUN: job}
        if api.has_job(name):
            raise CliError(f"there is a job '{name}' already; choose another --name")
        api.send("PUT", f"jobs/{name}", {"properties": again})
        key = api.get(f"jobs/{name}/provenance")["environment"]["key"]
    print(name)
    if key != before["environment"]["key"]:
        raise CliError(f"'{name}' runs, in another environment: what its name leads to has changed since '{job}'")
    return 0


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


def _changes(api: Api, job: str, before: Document) -> Document:
    """Of a sweep those of its first trial: trials alone read, and all of them the same."""
    trial = f"{job}_0"
    if "seed" in before and before["changes"] and api.has_job(trial):
        return api.get(f"jobs/{trial}/provenance", now="true")["changes"]
    return before["changes"]


def _said(change: Document) -> str:
    said: list[str] = []
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
