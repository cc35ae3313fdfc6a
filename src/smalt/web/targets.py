"""What a host name of a service leads to, for who may go there: a program of a job, or of a compute instance."""

from __future__ import annotations

from typing import NamedTuple

from smalt.arm import instances, services
from smalt.arm.errors import ArmError, conflict, not_found
from smalt.arm.ids import ML
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.router import Authorize
from smalt.arm.services import Place
from smalt.kinds.jobs.identity import check_visitor
from smalt.store import resources
from smalt.store.resources import Row

TERMINAL = "terminal"


class Target(NamedTuple):
    """A service that runs. `title` names its host; `secret`: what its program wants to be shown by the gateway.

    Without a port it is a terminal.
    """

    row: Row
    name: str
    title: str
    task: str
    node: int
    port: int
    secret: str = ""


def target(platform: Platform, authorize: Authorize, principal: Principal, place: Place) -> Target:
    """Raises ArmError. Reads the database."""
    if principal.acts_for_what_runs:
        raise ArmError(403, "AuthorizationFailed", "Jobs and deployments connect to no job.")
    find = _of_instance if place.task.startswith(services.INSTANCE) else _of_job
    return find(platform, authorize, principal, place)


def _of_job(platform: Platform, authorize: Authorize, principal: Principal, place: Place) -> Target:
    """For who may connect to its job: as `smalt connect` lets them."""
    owner = platform.engine.owner(place.task)
    with platform.database.read() as connection:
        row = resources.get(connection, owner) if owner else None
    if row is None:
        raise not_found("Service", place.task)
    authorize(principal, f"{ML}/workspaces/jobs/write", row.id)
    check_visitor(row, principal)
    tasks = list(row.status.get("tasks") or [])
    name = TERMINAL if place.number == services.TERMINAL else services.named(row, place.number)
    if not name or row.ended_at is not None or place.task not in tasks:
        raise conflict(f"The job '{row.name}' has ended, or begun again: ask for its services anew.")
    node = tasks.index(place.task)
    if place.number == services.TERMINAL:
        if not services.origin(platform.settings.url, place, TERMINAL):
            raise ArmError(409, "ServiceNotReachable", services.NO_NAMES)
        return Target(row, TERMINAL, TERMINAL, place.task, node, 0)
    found = services.instances(platform.settings.url, row, node).get(name)
    why = services.why_not(row, node, name, found) if found else f"It is not on node {node}."
    if found is None or why:
        raise ArmError(409, "ServiceNotReachable", f"'{name}' of job '{row.name}' cannot be opened. {why}")
    return Target(row, name, name, place.task, node, int(found["port"]))


def _of_instance(platform: Platform, authorize: Authorize, principal: Principal, place: Place) -> Target:
    """For its owner alone."""
    with platform.database.read() as connection:
        row = instances.of_task(connection, place.task)
        secret = platform.secrets.of(connection, row.id).get(instances.TOKEN, "") if row else ""
    if row is None or row.deleting:
        raise not_found("Compute instance", place.task)
    authorize(principal, instances.ACCESS, row.id)
    instances.check_owner(row, principal, "open its programs")
    name, port = instances.port(row, place.number)
    if row.home not in (None, "", platform.servers.me):
        where = instances.origin(platform.servers.url_of(row.home), row, place.number)
        raise conflict(f"Compute instance '{row.name}' runs on another server's machine: open {where}")
    shown = secret if name == instances.LAB else ""  # programs of one's own are not told what opens JupyterLab
    return Target(row, name, row.name, str(row.status.get("task")), 0, port, shown)
