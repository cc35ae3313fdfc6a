"""What may be asked of a compute instance, and whose it is."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from posixpath import normpath
from typing import Any

from sqlalchemy import Connection, select

from smalt.arm.durations import seconds_of
from smalt.arm.errors import ArmError, conflict, invalid
from smalt.arm.instances import LAB, OWNER
from smalt.arm.kind import Document, Request
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.validation import checked
from smalt.kinds.computes.instances import times
from smalt.kinds.computes.instances.shape import InstanceProperties
from smalt.kinds.process_settings import check_isolation
from smalt.settings import TENANT
from smalt.store.document import part
from smalt.store.tables import identity

FIELD = "properties.properties"
IDLE, CUSTOM, SCRIPTS, PERSONAL = (
    "idleTimeBeforeShutdown",
    "customServices",
    "setupScripts",
    "personalComputeInstanceSettings",
)
CREATION, STARTUP = "creationScript", "startupScript"
_IDLE_S = (15 * 60.0, 3 * 86_400.0)  # Azure's bounds
_SCRIPT_S, _SCRIPT_MOST_S = 15 * 60.0, 3600.0
_MINUTES = re.compile(r"([0-9]{1,4})m")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_\-]{0,31}")


def check(machine: Document, created_at: float) -> None:
    """Raises ArmError(400). Gives each schedule an id."""
    checked(InstanceProperties, machine, FIELD, "compute instance")  # again, for what an older version took
    idle_s(machine)
    times.check(machine, created_at)
    for name in (CREATION, STARTUP):
        script(machine, name)
    own_services(machine)


def check_files(platform: Platform) -> None:
    """Raises ArmError(409) where the store's files are none of this machine's: people work in them, in place."""
    if platform.settings.remote_store:
        message = "properties.computeType: a compute instance works in its files, and this platform's blobs are in"
        more = " an object store. Use a cluster, or a platform whose store is a folder (`smalt up` without --store)."
        raise conflict(f"{message}{more}", "properties.computeType")


def idle_s(machine: Mapping[str, Any]) -> float:
    """After how long without work it is stopped; 0: never. Raises ArmError(400)."""
    field = f"{FIELD}.{IDLE}"
    found = seconds_of(machine.get(IDLE), 0, field)
    if found and not _IDLE_S[0] <= found <= _IDLE_S[1]:
        raise invalid(f"{field}: an instance is stopped after 15 minutes to 3 days without work (PT15M to P3D).", field)
    return found


def script(machine: Mapping[str, Any], name: str) -> tuple[str, float]:
    """The command line of a setup script, and for how long it may run (s); '' where there is none.

    One of the workspace's files is named below its working directory (`Users/ada/setup.sh`). Raises ArmError(400).
    """
    given = part(part(part(machine, SCRIPTS), "scripts"), name)
    field = f"{FIELD}.{SCRIPTS}.scripts.{name}"
    if not given:
        return "", 0.0
    source, data = str(given.get("scriptSource") or "workspaceStorage"), str(given.get("scriptData") or "")
    if not data or "\0" in data:
        raise invalid(f"{field}.scriptData: it names no script.", f"{field}.scriptData")
    limit_s = _script_s(given, f"{field}.timeout")
    if source.lower() == "inline":
        try:
            line = base64.b64decode(data, validate=True).decode()
        except ValueError:
            raise invalid(f"{field}.scriptData: an inline script is Base64.", f"{field}.scriptData") from None
        if "\0" in line:
            raise invalid(f"{field}.scriptData: no NUL can stand in a script.", f"{field}.scriptData")
        return line, limit_s
    if source.lower() != "workspacestorage":
        raise invalid(f"{field}.scriptSource: it is workspaceStorage or inline.", f"{field}.scriptSource")
    path = normpath(data)
    if path.startswith(("/", "..")) or not re.fullmatch(r"[\w./ @+,=\-]+", path):
        message = (
            f"{field}.scriptData: '{data[:80]}' is no path below the workspace's files, such as Users/ada/setup.sh."
        )
        raise invalid(message, f"{field}.scriptData")
    return f'bash "$SMALT_CODE/{path}" {given.get("scriptArguments") or ""}'.strip(), limit_s


def _script_s(given: Mapping[str, Any], field: str) -> float:
    """`15m`, as clients write it, or ISO 8601."""
    text = str(given.get("timeout") or "")
    found = _MINUTES.fullmatch(text)
    seconds = float(found[1]) * 60 if found else seconds_of("" if text == "Nonem" else text, _SCRIPT_S, field)
    if not 0 < seconds <= _SCRIPT_MOST_S:
        raise invalid(f"{field}: a setup script runs for up to an hour (60m).", field)
    return seconds


def own_services(machine: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Programs of one's own: name, command line, port. Raises ArmError(400)."""
    given, found = machine.get(CUSTOM) or [], list[tuple[str, str, int]]()
    for number, one in enumerate(given):
        field = f"{FIELD}.{CUSTOM}[{number}]"
        if not isinstance(one, dict) or not _NAME.fullmatch(str(one.get("name"))) or one["name"] == LAB:
            raise invalid(f"{field}.name: letters, digits, '-' and '_', at most 32, and not {LAB}.", f"{field}.name")
        if part(one, "image").get("reference"):
            raise invalid(
                f"{field}.image: '{one['name']}' is a container, and no containers run here. Give 'command' with the"
                " line that starts the program, and endpoints[0].target with the port at which it listens.",
                f"{field}.image",
            )
        command, ends = one.get("command"), one.get("endpoints")
        port = ends[0].get("target") if isinstance(ends, list) and ends and isinstance(ends[0], dict) else None
        if not isinstance(command, str) or not command.strip() or "\0" in command:
            raise invalid(f"{field}.command: the line that starts the program.", f"{field}.command")
        if isinstance(port, bool) or not isinstance(port, int) or not 1024 <= port <= 65535:
            raise invalid(f"{field}.endpoints[0].target: a port from 1024 to 65535.", f"{field}.endpoints")
        found.append((one["name"], command, port))
    if len({name for name, _, _ in found}) < len(found) or len({port for _, _, port in found}) < len(found):
        raise invalid(f"{FIELD}.{CUSTOM}: names and ports must differ.", f"{FIELD}.{CUSTOM}")
    return found


def services_shown(machine: Mapping[str, Any]) -> list[Document]:
    """With what the official client reads of each, whoever made them: an image, and at which port it is published."""
    return [
        {
            **one,
            "image": part(one, "image"),
            "endpoints": [{"published": end["target"], **end} for end in one["endpoints"]],
        }
        for one in machine.get(CUSTOM) or ()
    ]


def owner(request: Request, connection: Connection, machine: Mapping[str, Any]) -> Document:
    """Whose a new instance is: who asks, or whom the platform's owner assigns. Raises ArmError(400, 403)."""
    given = part(part(machine, PERSONAL), "assignedUser").get("objectId")
    one = request.principal
    if given and str(given) != one.oid:
        field = f"{FIELD}.{PERSONAL}.assignedUser.objectId"
        if one.kind != "owner" or one.scope:
            raise ArmError(403, "OwnerOnly", f"{field}: only the platform's owner makes instances for others.", field)
        one = _assigned(connection, str(given), field)
    if one.acts_for_what_runs:
        raise ArmError(403, "AuthorizationFailed", "Jobs and deployments own no compute instances.")
    check_isolation(request.platform, one)
    return {OWNER: {"oid": one.oid, "name": one.name, "kind": one.kind, "client_id": one.client_id, "scope": one.scope}}


def _assigned(connection: Connection, oid: str, field: str) -> Principal:
    found = connection.execute(select(identity).where(identity.c.oid == oid)).mappings().first()
    if found is None:
        raise invalid(f"{field}: no service principal or managed identity has the object id '{oid[:80]}'.", field)
    return Principal(oid, found["name"], found["kind"], TENANT, found["client_id"], found["scope"])


def folder_of(name: str) -> str:
    """Of a person's own files, below `Users`."""
    return re.sub(r"[^\w.@+\-]+", "-", name).strip(".-")[:64] or "owner"
