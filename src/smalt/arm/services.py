"""The services of a job, to which people come while it runs: what was asked for, where each is reached, how it is.

Each has a host name of its own below the platform's, so that a browser keeps what it shows apart from the platform and
from all other services. The name leads back to task and service: `NAME-NUMBER-TASK`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from smalt.settings import services_host
from smalt.store.document import Document, part
from smalt.store.resources import Row

TRACKING, STUDIO = "Tracking", "Studio"  # the services that every job has
CUSTOM, JUPYTER, SSH, TENSORBOARD, VSCODE = "Custom", "JupyterLab", "SSH", "TensorBoard", "VSCode"
TYPES = (CUSTOM, JUPYTER, SSH, TENSORBOARD, VSCODE)
TERMINAL = 99  # in place of a service's number: a shell behind the job's walls (`web/terminals.py`)
KEYS, LOG_DIR = "sshPublicKeys", "logDir"  # keys of a service's properties
INSTANCE = "ci-"  # what the names of a compute instance's tasks begin with
_SHOWN = ("endpoint", "status", "errorMessage")  # what clients send back and nobody asks for
_LABEL = re.compile(r"[a-z0-9-]+?-([0-9]{1,2})-(?:([0-9a-f]{16}-a[0-9]{1,9}-n[0-9]{1,9})|([0-9a-f]{16})-ci)")
_BESIDE = "Services run beside a command; this is a job of another type."
_ELSEWHERE = "The job runs on a machine that dialled in, and nobody can connect to it there yet."
NO_NAMES = (
    "The platform is reached by an address, and services need names below its own: start it with --host and a name"
    " whose sub-domains lead to it, too."
)


class Place(NamedTuple):
    """A service in its task: its number among those of the job, in the order of their names.

    A compute instance is one place whatever its task is now: `task` is then `ci-` and its key (`arm/instances.py`).
    """

    task: str
    number: int

    def __str__(self) -> str:
        return f"{self.task}.{self.number}"

    @classmethod
    def read(cls, text: str) -> Place | None:
        """The other way round; None where it names none."""
        task, _, number = text.rpartition(".")
        found = place_of(f"x-{number}-{_tail(task)}")
        return found if found is not None and str(found) == text else None


def asked(row: Row) -> dict[str, Document]:
    """The services that a job asks for, by their names, beside those that every job has."""
    given: Any = row.properties.get("services")
    # jobs from before these were checked may say anything
    named = cast("dict[str, object]", given) if isinstance(given, dict) else {}
    kept = {name: cast("Document", one) for name, one in named.items() if isinstance(one, dict)}
    return {name: _whole(one) for name, one in kept.items() if name not in (TRACKING, STUDIO)}


def _whole(service: Document) -> Document:
    return service if isinstance(service.get("properties"), dict | None) else {**service, "properties": {}}


def type_of(service: Mapping[str, Any]) -> str:
    """One of `TYPES`, '' for none of them. Clients leave it out where it is Custom (azure-ai-ml 1.35.2, of YAML)."""
    given = str(service.get("jobServiceType") or CUSTOM).partition("/")[0].replace("_", "").lower()
    return next((one for one in TYPES if one.lower() == given), "")


def origin(url: str, place: Place, name: str) -> str:
    """Of a service, on the server that is reached by `url`; '' where it can have none."""
    server = urlsplit(url)
    below = services_host(server.hostname or "")
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24].strip("-") or "service"
    label = f"{words}-{place.number}-{_tail(place.task)}"
    return f"https://{label}.{below}:{server.port or 443}" if below else ""


def place_of(host: str) -> Place | None:
    """The service that a host name (with or without a port) leads to, if it can be one's."""
    found = _LABEL.fullmatch(host.partition(".")[0].lower())
    if found is None:
        return None
    return Place(f"job-{found[2]}" if found[2] else f"{INSTANCE}{found[3]}", int(found[1]))


def _tail(task: str) -> str:
    """Of a host name."""
    return f"{task.removeprefix(INSTANCE)}-ci" if task.startswith(INSTANCE) else task.removeprefix("job-")


def named(row: Row, number: int) -> str:
    """The name of the job's service of that number, '' where it has none."""
    names = sorted(asked(row))
    return names[number] if number < len(names) else ""


def is_on(service: Mapping[str, Any], node: int) -> bool:
    """Services are on the first node, unless they are on all."""
    return node == 0 or bool(service.get("nodes"))


def of_job(url: str, row: Row) -> dict[str, Document]:
    """As the job's document shows them: those of its first node."""
    found = instances(url, row, 0)
    return {
        name: {**one, **{key: found[name][key] for key in ("endpoint", "port", "status")}}
        | ({"errorMessage": found[name]["error"]} if found[name]["error"] else {})
        for name, one in asked(row).items()
    }


def instances(url: str, row: Row, node: int) -> dict[str, Document]:
    """Of one node, by name: `type`, `port`, `status`, `error` (for people), `endpoint`, `properties`.

    `url` is that of the server on whose machine the job runs.
    """
    return {
        name: {
            "type": type_of(one) or one.get("jobServiceType"),
            "port": one.get("port"),
            "endpoint": None,
            "error": None,
            "properties": one.get("properties") or {},
            **_found(url, row, node, number, name, one),
        }
        for number, (name, one) in enumerate(sorted(asked(row).items()))
        if is_on(one, node)
    }


def why_not(row: Row, node: int, name: str, found: Mapping[str, Any]) -> str:
    """Why nobody is led to one of `instances`, '' where it may answer."""
    if found["type"] == SSH:
        return "It is opened by ssh: 'smalt services' shows the command."
    if found["status"] == "Failed":
        return str(found["error"] or "It has failed.")
    if not _said(row, node, name):
        return "It is still starting; if the job began under an older version of the platform, submit it again."
    return "" if found["port"] else str(found["error"] or "It is still starting.")


def _said(row: Row, node: int, name: str) -> Document:
    """By the agent of that node."""
    return part(part(part(row.status, "services"), str(node)), name)


def _found(url: str, row: Row, node: int, number: int, name: str, service: Document) -> Document:
    tasks: list[str] = row.status.get("tasks") or []
    machines: list[str] = row.status.get("machines") or []
    said = _said(row, node, name)
    if row.properties.get("jobType") != "Command":
        return {"status": "Failed", "error": _BESIDE}
    if row.ended_at is not None:
        failed = said.get("status") == "Failed"
        return {"status": "Failed" if failed else "Stopped", "error": said["error"] if failed else None}
    if node >= len(tasks):
        return {"status": "NotStarted"}
    if node < len(machines) and machines[node]:
        return {"status": "Failed", "error": _ELSEWHERE}
    if type_of(service) == SSH:
        status = "Running" if row.status.get("started_at") else "Starting"
        return {"status": status, "port": None, "endpoint": f"{url}/connect/v1{row.written}/nodes/{node}/ssh"}
    where = origin(url, Place(tasks[node], number), name)
    if not where:
        return {"status": "Failed", "error": NO_NAMES}
    shown: Document = {"status": said.get("status") or "Starting", "error": said.get("error") or None}
    return shown | {"endpoint": f"{where}/", "port": said.get("port") or service.get("port")}


def without_shown(service: Mapping[str, Any]) -> Document:
    return {key: value for key, value in service.items() if key not in _SHOWN}
