"""`ml compute`."""

from __future__ import annotations

from typing import Any

from ..arguments import DESCRIPTION, IN_WORKSPACE, MAYBE_FILE, NAME, NO_WAIT, TAGS, option
from ..connection import PROVIDER, Connection
from ..errors import MLError
from ..kinds import COMPUTE
from ..shapes.common import printed, snake
from ..table import Command, Group
from ..verbs import all_of, create, delete, show, update

GROUP = "ml compute"
_TYPES = {"amlcompute": "AmlCompute", "computeinstance": "ComputeInstance"}
_FIELDS = (
    option("--type", "-t", help="amlcompute or computeinstance."),
    option("--size", help="The size of its machines."),
    option("--min-instances", help="Nodes that are kept.", type=int),
    option("--max-instances", help="The most nodes.", type=int),
    option("--idle-time-before-scale-down", help="Seconds that an idle node is kept.", type=int),
    option("--tier", help="dedicated or low_priority."),
    option("--location", "-l", help="Its location."),
)
_LOCATION = option("--location", "-l", help="The location.  [default: that of the workspace]")


def _list(connection: Connection, type: str | None = None, max_results: int | None = None) -> Any:
    wanted = _TYPES.get(type.lower()) if type else None
    if type and wanted is None:
        raise MLError(f"There are no computes of type '{type}'; the types are {', '.join(_TYPES)}.")
    found = connection.pages(COMPUTE.collection)
    return all_of(
        connection, COMPUTE, (one for one in found if wanted in (None, one["properties"]["computeType"])), max_results
    )


def _action(verb: str) -> Any:
    def run(connection: Connection, name: str, no_wait: bool = False) -> None:
        connection.act("POST", f"{COMPUTE.path(name)}/{verb}", wait=not no_wait)

    return run


def _nodes(connection: Connection, name: str) -> Any:
    found = connection.send("POST", f"{COMPUTE.path(name)}/listNodes").body
    return [printed(**{snake(key): value for key, value in one.items()}) for one in found.get("nodes") or ()]


def _sizes(connection: Connection, location: str | None = None, type: str | None = None) -> Any:
    query = {"computeType": _TYPES.get(type.lower(), type)} if type else {}
    found = connection.get(f"{_of_location(connection, location)}/vmSizes", **query)
    sizes = found.get("value") or found.get("amlCompute") or []
    return [{snake(str(_SIZES.get(key, key))): value for key, value in one.items()} for one in sizes]


_SIZES = {
    "vCPUs": "vCpUs",
    "memoryGB": "memoryGb",
    "maxResourceVolumeMB": "maxResourceVolumeMb",
    "osVhdSizeMB": "osVhdSizeMb",
}


def _usage(connection: Connection, location: str | None = None) -> Any:
    found = connection.pages(f"{_of_location(connection, location)}/usages")
    return [
        printed(
            id=one.get("id"),
            aml_workspace_location=one.get("amlWorkspaceLocation"),
            type=one.get("type"),
            unit=one.get("unit"),
            current_value=one.get("currentValue"),
            limit=one.get("limit"),
            name=one.get("name"),
        )
        for one in found
    ]


def _of_location(connection: Connection, location: str | None) -> str:
    place = location or connection.get("")["location"]
    return f"/subscriptions/{connection.subscription}/providers/{PROVIDER}/locations/{place}"


def _verb(verb: str, help: str) -> Command:
    return Command(GROUP, verb, help, _action(verb), (NAME, NO_WAIT, *IN_WORKSPACE))


COMMANDS = Group(
    GROUP,
    "Computes: clusters and instances.",
    (
        create(GROUP, COMPUTE, DESCRIPTION, TAGS, *_FIELDS, file=MAYBE_FILE, waits=True),
        show(GROUP, COMPUTE),
        Command(
            GROUP, "list", "List computes.", _list,
            (
                option("--type", "-t", help="Only those of this type."),
                option("--max-results", "-r", help="The most results to show.", type=int), *IN_WORKSPACE,
            ),
            columns="[].{Name: name, Type: type, Size: size, State: state || provisioning_state}",
        ),
        update(
            GROUP, COMPUTE,
            *(one for one in _FIELDS if f"{one.dest}" in COMPUTE.edits), DESCRIPTION, TAGS, waits=True,
        ),
        delete(GROUP, COMPUTE, waits=True),
        _verb("start", "Start a compute instance."),
        _verb("stop", "Stop a compute instance."),
        _verb("restart", "Restart a compute instance."),
        Command(GROUP, "list-nodes", "List the nodes of a cluster.", _nodes, (NAME, *IN_WORKSPACE)),
        Command(
            GROUP, "list-sizes", "List the sizes that a compute can have.", _sizes,
            (_LOCATION, option("--type", "-t", help="Only those for this type."), *IN_WORKSPACE),
        ),
        Command(GROUP, "list-usage", "List what of its quotas is used.", _usage, (_LOCATION, *IN_WORKSPACE)),
    ),
)  # fmt: skip
