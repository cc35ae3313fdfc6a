"""Compute instances as all parts know them: whose each is, what runs for it, and where its programs are reached.

A row of a compute has a random key (`Row.lookup`) as an instance: the names of its tasks and its hosts are made from
it, so that they stay while tasks come and go. Its status has what runs: `task`, `ports` by service, `shown` (its
state in Azure's words). What people want of it: `kinds/computes/instance.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection

from smalt.arm import services
from smalt.arm.errors import ArmError, conflict
from smalt.arm.ids import ML, kind_key
from smalt.arm.kind import OURS
from smalt.arm.ports import Principal
from smalt.arm.services import Place
from smalt.settings import TENANT
from smalt.store import resources
from smalt.store.document import Document, part
from smalt.store.resources import Row

COMPUTES = kind_key(ML, "workspaces/computes")
TYPE = "ComputeInstance"
OWNER = "owner"  # in a spec's own part
LAB = "JupyterLab"
TOKEN = "jupyter"  # a secret's name: what JupyterLab asks of whoever comes, and the gateway shows it
ACCESS = f"{ML}/workspaces/computes/applicationaccess/action"
_STOPPED = "Stopped"
_RUNS = ("Creating", "Starting", "Running", "Restarting")


def is_one(row: Row) -> bool:
    return row.properties.get("computeType") == TYPE


def owner(row: Row) -> Principal:
    """Whose it is: what runs there acts as that."""
    kept = part(part(row.spec, OURS), OWNER)
    names = ("oid", "name", "kind", "client_id", "scope")
    oid, name, kind, client_id, scope = (str(kept.get(one, "")) for one in names)
    return Principal(oid, name, kind, TENANT, client_id, scope)


def owned(row: Row) -> bool:
    """Not so where an older version remembered it."""
    return bool(part(part(row.spec, OURS), OWNER).get("oid")) and bool(row.lookup)


def takes_jobs(row: Row) -> bool:
    """It runs, or will."""
    return state(row) in _RUNS


def task_name(row: Row, attempt: int) -> str:
    return f"{services.INSTANCE}{row.lookup}-a{attempt}"


def of_task(connection: Connection, task: str) -> Row | None:
    """The instance of a task, or of a place."""
    key = task.removeprefix(services.INSTANCE).partition("-")[0]
    found = resources.by_lookup(connection, COMPUTES, key, most=1) if task.startswith(services.INSTANCE) else []
    return found[0] if found else None


def programs(row: Row) -> list[str]:
    """The services by their numbers: JupyterLab, then those of one's own."""
    own: list[Document] = part(row.properties, "properties").get("customServices") or []
    return [LAB, *sorted(str(one["name"]) for one in own)]


def state(row: Row) -> str:
    """In Azure's words. One that an older version remembered never ran."""
    begun = "Creating" if owned(row) else _STOPPED
    return "Deleting" if row.deleting else str(row.status.get("shown") or begun)


def origin(url: str, row: Row, number: int = 0) -> str:
    """Of one of its programs, on the server that has `url`; '' where it can have none."""
    if not row.lookup:
        return ""
    return services.origin(url, Place(f"{services.INSTANCE}{row.lookup}", number), row.name)


def applications(url: str, row: Row) -> list[Document]:
    """As the compute's document shows them."""
    base = origin(url, row)
    if not base:
        return []
    own = [(name, f"{origin(url, row, number)}/") for number, name in enumerate(programs(row)) if number]
    shown = [("Jupyter", f"{base}/tree"), ("Jupyter Lab", f"{base}/lab"), ("Terminal", f"{base}/terminals/1"), *own]
    return [{"displayName": name, "endpointUri": where} for name, where in shown]


def endpoints(url: str, row: Row) -> Document | None:
    """`connectivityEndpoints`: the one name at which it is reached, and no address of a network."""
    host = urlsplit(origin(url, row)).hostname
    return {"publicIpAddress": host, "privateIpAddress": None} if host else None


def check_owner(row: Row, principal: Principal, what: str) -> None:
    """Raises ArmError(403): what runs there has its owner's rights."""
    if principal.oid != owner(row).oid:
        message = f"Compute instance '{row.name}' is {owner(row).name}'s: only its owner may {what}."
        raise ArmError(403, "OwnerOnly", message)


def port(row: Row, number: int) -> tuple[str, int]:
    """The program of that number and where it listens. Raises ArmError(409)."""
    names, ports = programs(row), part(row.status, "ports")
    name = names[number] if number < len(names) else ""
    found: Mapping[str, Any] = ports
    if state(row) != "Running" or not found.get(name):
        why = f"Compute instance '{row.name}' is {state(row)}"
        raise conflict(f"{why}: start it first." if state(row) == _STOPPED else f"{why}: '{name}' does not answer yet.")
    return name, int(found[name])
