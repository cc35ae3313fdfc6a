"""Data that an instance's owner wants to see as files there: `updateDataMounts`, as Azure's SDK and REST have it.

It is read-only, below HOME, and put in place when the instance starts, as a job's inputs are: where it runs, the mount
says so (`MountFailed`, with what to do), and the next start has it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from posixpath import normpath
from typing import Any

from sqlalchemy import Connection

from smalt.agent.wire import InputSpec, Ref
from smalt.arm import instances
from smalt.arm.envelope import timestamp
from smalt.arm.errors import invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document
from smalt.arm.platform import Platform
from smalt.kinds.assets import references
from smalt.store.document import part
from smalt.store.resources import Row

MOUNTS = "mounts"  # in a spec's own part: by name; in a status: what became of each when the task was made
MOST = 20
FOLDER = "cloudfiles/data"  # below HOME, where no path is said
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-.]{0,99}")
_PATH = re.compile(r"[\w./ @+,=\-]{1,200}")
_SOURCES = ("uri", "datastore", "dataset")
_AGAIN = "An instance has its data from its start on: restart it (compute.begin_restart)."


def changed(
    platform: Platform, connection: Connection, row: Row, given: object, by: str, now: float
) -> dict[str, Document]:
    """What is wanted from now on, by name. Raises ArmError(400) naming what is wrong; then nothing has changed."""
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):  # pyright: ignore
        raise invalid("The body is a list of mounts, each an object with mountName and mountAction.", "body")
    known = dict(_wanted(row))
    for number, one in enumerate(given):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        mount, field = dict[str, Any](one), f"[{number}]"  # pyright: ignore[reportUnknownArgumentType]
        name = str(mount.get("mountName") or "")
        if not _NAME.fullmatch(name):
            raise invalid(f"{field}.mountName: letters, digits, '.', '-' and '_', at most 100.", f"{field}.mountName")
        action = str(mount.get("mountAction") or "Mount").lower()
        if action not in ("mount", "unmount"):
            raise invalid(f"{field}.mountAction: it is Mount or Unmount.", f"{field}.mountAction")
        if action == "unmount":
            if known.pop(name, None) is None:
                raise invalid(f"{field}.mountName: nothing is mounted as '{name}'.", f"{field}.mountName")
        else:
            known[name] = {**_checked(platform, connection, row, mount, name, field), "by": by, "at": now}
    if len(known) > MOST:
        raise invalid(f"An instance has at most {MOST} mounts.", "body")
    paths = [one["path"] for one in known.values()]
    if twice := next((one for one in paths if paths.count(one) > 1), None):
        raise invalid(f"Two mounts are at '{twice}': their paths must differ.", "mountPath")
    return known


def _checked(
    platform: Platform, connection: Connection, row: Row, mount: Mapping[str, Any], name: str, field: str
) -> Document:
    source, type_ = str(mount.get("source") or ""), str(mount.get("sourceType") or "URI")
    if type_.lower() not in _SOURCES:
        raise invalid(f"{field}.sourceType: it is URI, Datastore or Dataset.", f"{field}.sourceType")
    if str(mount.get("mountMode") or "ReadOnly").lower() != "readonly":
        message = f"{field}.mountMode: data is mounted ReadOnly; what an instance writes is in its working directory."
        raise invalid(message, f"{field}.mountMode")
    path = normpath(str(mount.get("mountPath") or "").removeprefix("~/") or f"{FOLDER}/{name}")
    if path.startswith(("/", "..", "~")) or path == "." or not _PATH.fullmatch(path):
        raise invalid(f"{field}.mountPath: it is below HOME, such as ~/data.", f"{field}.mountPath")
    place = _place(platform, connection, ResourceId.parse(row.written).workspace, source, type_, f"{field}.source")
    ref = [place.account, place.container, place.path]
    return {"source": source, "sourceType": type_, "path": path, "place": ref}


def _place(
    platform: Platform, connection: Connection, workspace: ResourceId, source: str, type_: str, field: str
) -> references.Place:
    """Raises ArmError(400)."""
    if type_.lower() == "datastore" and "://" not in source:
        source = f"azureml://datastores/{source}/paths/"
    if references.is_asset(source):
        source = str(references.asset(connection, workspace, source, "data", field).properties["dataUri"])
    place = references.locate(platform, connection, workspace, source, field)
    if not place.account:
        message = f"{field}: {source[:200]} is outside of this platform, and only its own storage can be mounted."
        raise invalid(message, field)
    return place


def inputs(platform: Platform, row: Row) -> tuple[list[InputSpec], str, Document]:
    """What the task is given, the lines that put links to it below HOME, and what the status says of each."""
    specs, lines, told = list[InputSpec](), list[str](), dict[str, Any]()
    for number, (name, one) in enumerate(sorted(_wanted(row).items())):
        folder = Ref(one["place"][0], one["place"][1], f"{one['place'][2].rstrip('/')}/".lstrip("/"))
        file = Ref(*one["place"])
        ref = next((ref for ref in (folder, file) if _is_there(platform, ref)), None)
        if ref is None:
            told[name] = {"at": one["at"], "error": f"Nothing is at {one['source'][:200]}."}
            continue
        specs.append(InputSpec(f"mount_{number}", "uri_folder" if ref == folder else "uri_file", source=ref))
        lines.append(_line(number, str(one["path"])))
        told[name] = {"at": one["at"], "on": platform.clock()}
    return specs, "".join(lines), told


def _is_there(platform: Platform, ref: Ref) -> bool:
    return platform.blobs.exists(*ref) if ref.name else platform.blobs.has_container(ref.account, ref.container)


def _line(number: int, path: str) -> str:
    """A link, in place of one that an earlier start made; what else is there stays, and is said."""
    place, folder = (f'"$HOME"/{shlex.quote(one)}' for one in (path, path.rpartition("/")[0]))
    link = f'ln -sfn "${{{{inputs.mount_{number}}}}}" {place}'
    said = shlex.quote(f"{path} is there already: the data is not mounted.")
    return f"mkdir -p {folder}; if [ -L {place} ] || [ ! -e {place} ]; then {link}; else echo {said} >&2; fi\n"


def shown(row: Row) -> list[Document]:
    """`dataMounts` of the document."""
    made = part(row.status, MOUNTS)
    return [_shown(row, name, one, part(made, name)) for name, one in sorted(_wanted(row).items())]


def _shown(row: Row, name: str, one: Mapping[str, Any], made: Mapping[str, Any]) -> Document:
    current = made if made.get("at") == one["at"] else {}
    state, error = "MountRequested", current.get("error")
    if error or (not current and instances.state(row) == "Running"):
        state, error = "MountFailed", error or _AGAIN
    elif current and instances.state(row) == "Running":
        state = "Mounted"
    return {
        "source": one["source"],
        "sourceType": one["sourceType"],
        "mountName": name,
        "mountAction": "Mount",
        "mountMode": "ReadOnly",
        "mountPath": f"~/{one['path']}",
        "createdBy": one["by"],
        "mountState": state,
        "mountedOn": timestamp(current["on"]) if state == "Mounted" else None,
        "error": error,
    }


def _wanted(row: Row) -> Mapping[str, Document]:
    return part(part(row.spec, OURS), MOUNTS)


def kept(row: Row) -> Document:
    """Of a spec's own part: a PUT leaves the mounts."""
    found = _wanted(row)
    return {MOUNTS: dict(found)} if found else {}
