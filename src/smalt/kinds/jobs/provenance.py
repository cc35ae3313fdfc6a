"""From what a job was made: code, environment to the last version, the content of its inputs, parameters, git's state.

What its inputs hold is noted when an attempt begins, while its nodes prepare: names, sizes and ETags of the blobs, as
a list of them tells it, no byte is read. Where an input has more than `FILES_MOST` files, or is in no store of ours,
nobody knows it; the job does not wait for that.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Action, Document, Request
from smalt.arm.platform import Platform
from smalt.kinds.assets.references import Place
from smalt.kinds.jobs import admission, launch, lineage
from smalt.kinds.jobs.model import FOLDERS
from smalt.kinds.jobs.parallel import tables
from smalt.kinds.jobs.pinned import CODE_HASH, PINNED
from smalt.kinds.jobs.status import JobStatus
from smalt.kinds.jobs.sweeps.plan import SEED
from smalt.store.document import part
from smalt.store.resources import Row

FILES_MOST = 1000  # of one input
_NAMED_MOST = 100  # of those the names are kept, so that one can say which have changed
_LOG = logging.getLogger(__name__)
Look = Callable[[Platform, Row, str, Place], Document]


def taken(platform: Platform, row: Row) -> Document:
    """What each input that is no literal holds now: `files`, `bytes`, `digest`, and `names` (of few); {}: unknown."""
    return {name: held(platform, row, name, Place(**one["place"])) for name, one in sources(row).items()}


def held(platform: Platform, row: Row, name: str, place: Place) -> Document:
    """What is at the place of an input, and for a table also what it names elsewhere."""
    type_ = part(part(row.properties, "inputs"), name).get("jobInputType")
    found = {"": (place.ref(type_ in FOLDERS), place.path)}
    if type_ == "mltable" and place.account:
        elsewhere = tables.elsewhere(platform, ResourceId.parse(row.written).workspace, place)
        if elsewhere is None:
            return {}
        found |= {uri: (one.ref(is_folder), one.path) for uri, (one, is_folder) in elsewhere.items()}
    return _content(platform, found)


def sources(row: Row) -> Document:
    """Where each input that is no literal leads, as it was pinned."""
    return part(part(part(row.spec, OURS), PINNED), "inputs")


def _content(platform: Platform, places: Mapping[str, tuple[Ref, str]]) -> Document:
    """Of all these together, each with what its names begin with."""
    names: dict[str, list[Any]] = {}
    for begin, (ref, path) in places.items():
        if not ref.account:
            return {}
        try:
            most = FILES_MOST + 1 - len(names) if not ref.name or ref.name.endswith("/") else 1
            listed = [one for one in islice(platform.blobs.list(*ref), most) if most > 1 or one.name == ref.name]
        except Exception as error:  # the edge: what a store has against it must not hold up the job
            _LOG.warning("what is at %s cannot be noted: %s", path, error)
            return {}
        names |= {begin + one.name.removeprefix(path): [one.size, one.etag] for one in listed}
        if len(names) > FILES_MOST:
            return {}
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()
    found: Document = {"files": len(names), "bytes": sum(size for size, _ in names.values()), "digest": digest}
    return found | ({"names": names} if len(names) <= _NAMED_MOST else {})


def _read(request: Request, row: Row | None) -> tuple[int, Any]:
    """`?now=true`: with what has changed since."""
    assert row is not None
    platform, properties = request.platform, row.properties
    read = JobStatus.read(row.status).content
    inputs = {
        name: {"uri": one["uri"], "asset": one["asset"] or None, "content": read.get(name) or None}
        for name, one in sources(row).items()
    }
    said: Document = {
        "job": row.name,
        "command": properties.get("command"),
        "code": properties.get("codeId"),
        "codeHash": part(part(row.spec, OURS), PINNED).get(CODE_HASH),
        "environment": _environment(platform, row),
        "inputs": inputs,
        "parameters": lineage.parameters(properties),
        "variables": part(properties, "environmentVariables"),
        "git": lineage.git(properties),
    }
    if SEED in part(row.spec, OURS):
        said["seed"] = row.spec[OURS][SEED]
    if str(request.query.get("now") or "").lower() == "true":
        found = {name: changed(platform, row, name, part(read, name)) for name in inputs}
        said["changes"] = {name: change for name, change in found.items() if change is not None}
    return 200, said


def _environment(platform: Platform, row: Row) -> Document:
    key = str(part(part(row.spec, OURS), "plan").get("key") or "")
    return {"id": row.properties.get("environmentId"), "key": key, "lock": versions(platform, row, key)}


def versions(platform: Platform, row: Row, key: str) -> Mapping[str, str] | None:
    """Of the packages that it ran with, each machine has its own; None: nobody knows. `key`: of its environment."""
    elsewhere = any(JobStatus.read(row.status).machines)
    return launch.versions(platform, row) if elsewhere else platform.environments.lock(key)


def _read_environment(request: Request, row: Row | None) -> tuple[int, Any]:
    """That part alone, which whoever a job is shown to may see."""
    assert row is not None
    return 200, _environment(request.platform, row)


def changed(platform: Platform, row: Row, name: str, before: Document, look: Look = held) -> Document | None:
    """What is another now at an input of a job that would be submitted once more; None: nothing.

    `gone`: why nothing is there; `moved`: from where to where. `look`: as `held`, which may remember.
    """
    pinned, workspace = Place(**sources(row)[name]["place"]), ResourceId.parse(row.written).workspace
    try:
        with platform.database.read() as connection:
            given = part(row.properties, "inputs")[name]
            place = admission.input_source(platform, connection, workspace, given, f"inputs.{name}").place
    except ArmError as error:
        return {"gone": error.message}
    moved: Document = {} if place.key == pinned.key else {"moved": [pinned.uri, place.uri]}
    change = _change(before, look(platform, row, name, place), place.path.rstrip("/").rpartition("/")[2])
    return {**moved, **(change or {})} or None


def _change(before: Mapping[str, Any], now: Mapping[str, Any], file: str) -> Document | None:
    """None: the same bytes. `unknown`: nobody knows. `file`: what an input that is one is called."""
    if not before or not now:
        return {"unknown": True}
    if before["digest"] == now["digest"]:
        return None
    old, new = before.get("names"), now.get("names")
    if old is None or new is None:
        return {"files": [before["files"], now["files"]], "bytes": [before["bytes"], now["bytes"]]}
    named: Document = {
        "added": new.keys() - old.keys(),
        "removed": old.keys() - new.keys(),
        "changed": {name for name in old.keys() & new.keys() if old[name] != new[name]},
    }
    return {what: sorted(name.lstrip("/") or file for name in names) for what, names in named.items()}


READ = Action(_read, method="GET")
ENVIRONMENT = Action(_read_environment, method="GET")
