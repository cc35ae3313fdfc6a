"""A compute instance as a resource: how it is admitted, what its document shows, and the actions on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection

from smalt.arm import instances
from smalt.arm.crud import Answer
from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError, conflict, invalid, not_found
from smalt.arm.kind import OURS, Action, Admitted, Document, Request
from smalt.arm.platform import Platform
from smalt.arm.validation import checked
from smalt.kinds.computes.instances import kernels, life, mounts, settings, task, times
from smalt.kinds.computes.instances.life import RUN, STOP, USER
from smalt.kinds.computes.instances.shape import InstanceProperties
from smalt.store import operations, resources
from smalt.store.document import part
from smalt.store.resources import Lock, Row

_LOG_LINES = 5000


def admit(request: Request, spec: Document, machine: Document, connection: Connection, old: Row | None) -> Admitted:
    """`machine`: the properties that are its type's own, in `spec`. Raises ArmError."""
    settings.check_files(request.platform)
    settings.check(machine, old.created_at if old else request.now)
    if old is None or (not instances.owned(old) and not request.patched):  # who PUTs says anew all that runs there
        ours = settings.owner(request, connection, machine)
    else:
        _check_owned(old)
        if request.principal.kind != "owner":
            instances.check_owner(old, request.principal, "change what runs there")
        ours = {instances.OWNER: part(part(old.spec, OURS), instances.OWNER), **mounts.kept(old)}
    status = dict(old.status) if old else {}
    if old is None or status.get("error"):  # what failed is tried as it is now
        status = life.want(status, RUN, "Create", USER, request.now)
    return Admitted(
        {**spec, OURS: {**ours, "plan": life.plan(request.platform)}},
        state=old.state if old else "Creating",
        due=True,
        status=status,
        lookup=old.lookup if old and old.lookup else secrets.token_hex(8),
    )


def view(platform: Platform, row: Row) -> Document:
    """In place of its type's own properties."""
    machine = dict(part(row.properties, "properties"))
    url, owner = platform.servers.url_of(row.home) or platform.settings.url, instances.owner(row)
    last = row.status.get("last") or {"operationName": "Create", "operationTime": timestamp(row.created_at)}
    machine |= {
        "state": instances.state(row),
        "lastOperation": {"operationStatus": "Succeeded", "operationTrigger": USER, **last},
        "applications": instances.applications(url, row),
        "connectivityEndpoints": instances.endpoints(url, row),
        "createdBy": {"userName": owner.name, "userId": owner.oid, "userOrgId": owner.tenant},
        "errors": [{"error": error}] if (error := row.status.get("error")) else [],
    }
    machine |= {"dataMounts": mounts.shown(row), "kernels": kernels.shown(row)}
    if schedules := times.shown(machine, row.status):
        machine["schedules"] = schedules
    if services := settings.services_shown(machine):
        machine[settings.CUSTOM] = services
    return machine


def _power(name: str, power: str) -> Action:
    def run(request: Request, row: Row | None) -> tuple[int, Any]:
        assert row is not None
        check_instance(row, f"it scales by itself and is not {'stopped' if power == STOP else 'started'}")
        platform = request.platform
        _check_owned(row)
        if power == RUN:
            settings.check_files(platform)
            settings.check(dict(part(row.properties, "properties")), row.created_at)
        with platform.database.write() as connection:
            current = _current(connection, row)
            if _is_so(current, name, power):
                return 202, None
            status = life.want(current.status, power, name, USER, request.now)
            _write(request, connection, current, current.spec, status)
            operation = operations.begin(connection, row.id, name.lower(), current.generation + 1, request.now)
        platform.hub.notify(row.id)
        return 202, Answer(202, None, {}, operation)

    return Action(run)


def _is_so(row: Row, name: str, power: str) -> bool:
    """Whether there is nothing to do: it runs, or does not, as is wanted. A restart is always something."""
    reached = instances.state(row) == power and part(row.status, "want").get("power") == power
    return reached and name != "Restart"


def _current(connection: Connection, row: Row) -> Row:
    current = resources.get(connection, row.id, Lock.WRITE)
    if current is None or current.deleting:
        raise not_found("Compute", row.name)
    return current


def _write(request: Request, connection: Connection, row: Row, spec: Any, status: Document | None = None) -> None:
    resources.replace_spec(
        connection,
        row,
        spec,
        state=row.state,
        now=request.now,
        by=request.principal.name,
        due=True,
        lookup=row.lookup,
        status=status,
    )


def _check_owned(row: Row) -> None:
    """One that an older version remembered is nobody's, and who made it is known by a name only, which others may
    have, too. Raises ArmError(409).
    """
    if not instances.owned(row):
        message = f"Nobody owns compute instance '{row.name}', which an older version made: PUT it again"
        raise conflict(f"{message} (compute.begin_create_or_update); it is then yours, and can be started.", "name")


def _change(request: Request, row: Row | None, named: Callable[[Request, Row], Document]) -> tuple[int, Any]:
    """Of an instance's properties, from its next start on (idleness from now on), as a PUT with them does it."""
    assert row is not None
    wanted = named(request, row)
    _check_changes(request, row)
    with request.platform.database.write() as connection:
        current = _current(connection, row)
        machine = {**part(current.properties, "properties"), **wanted}
        settings.check(machine, row.created_at)
        spec = {**current.spec, "properties": {**current.properties, "properties": machine}}
        _write(request, connection, current, spec)
    request.platform.hub.notify(row.id)
    return 200, None


def _check_changes(request: Request, row: Row) -> None:
    check_instance(row, "it has no such setting")
    _check_owned(row)
    if request.principal.kind != "owner":
        instances.check_owner(row, request.principal, "change what runs there")


def _sso(request: Request, row: Row) -> Document:
    wanted = request.body.get("enableSSO")
    if not isinstance(wanted, bool):
        raise invalid("enableSSO: this must be true or false.", "enableSSO")
    return {"enableSSO": wanted}


def _idle(request: Request, row: Row) -> Document:
    wanted = request.body.get(settings.IDLE)
    if not isinstance(wanted, str | None):
        raise invalid(f"{settings.IDLE}: a time such as PT30M, or null.", settings.IDLE)
    return {settings.IDLE: wanted}


def _services(request: Request, row: Row) -> Document:
    wanted = request.body.get("value")
    if not isinstance(wanted, list):
        raise invalid("The body is a list of services; an empty one takes them away.", "body")
    return checked(InstanceProperties, {settings.CUSTOM: wanted}, "body", "list")


def _mounts(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    _check_changes(request, row)
    with request.platform.database.write() as connection:
        current = _current(connection, row)
        given = request.body.get("value")
        wanted = mounts.changed(request.platform, connection, current, given, request.principal.name, request.now)
        spec = {**current.spec, OURS: {**part(current.spec, OURS), mounts.MOUNTS: wanted}}
        _write(request, connection, current, spec)
    request.platform.hub.notify(row.id)
    return 200, None


def _logs(request: Request, row: Row | None) -> tuple[int, Any]:
    """What its scripts and JupyterLab said: its owner's affair."""
    assert row is not None
    check_instance(row, "its nodes' logs are those of their jobs")
    if request.principal.kind != "owner":
        instances.check_owner(row, request.principal, "read its log")
    tail = request.body.get("tail")
    lines = tail if isinstance(tail, int) and 0 < tail <= _LOG_LINES else _LOG_LINES
    return 200, {"content": task.logs(request.platform, row, lines) if part(row.spec, OURS).get("plan") else ""}


def check_instance(row: Row, why: str) -> None:
    if not instances.is_one(row):
        raise ArmError(400, "InvalidOperation", f"'{row.name}' is a cluster: {why}.", "name")


ACTIONS = {
    "start": _power("Start", RUN),
    "stop": _power("Stop", STOP),
    "restart": _power("Restart", RUN),
    "enableSso": Action(partial(_change, named=_sso)),
    "updateIdleShutdownSetting": Action(partial(_change, named=_idle)),
    "updateCustomServices": Action(partial(_change, named=_services)),
    "updateDataMounts": Action(_mounts),
    "getLogs": Action(_logs),
}
