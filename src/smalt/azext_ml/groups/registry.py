"""`ml registry`."""

from __future__ import annotations

from typing import Any

from ..arguments import FILE, NAME, NEW_NAME, NO_WAIT, RESOURCE_GROUP, SET, TAGS, option
from ..connection import PROVIDER, Connection
from ..errors import MLError
from ..kinds import REGISTRY
from ..table import Argument, Command, Group
from ..verbs import all_of, create, update

GROUP = "ml registry"
_OF_GROUP = (NAME, RESOURCE_GROUP)


def _here(connection: Connection, name: str) -> Connection:
    """Raises MLError where there is none of the name in the group."""
    found = connection.in_registry(name)
    if found.group.lower() != connection.group.lower():
        raise MLError(f"There is no registry {name} in the resource group {connection.group}.", 404)
    return found


def _show(connection: Connection, name: str) -> Any:
    here = _here(connection, name)
    return REGISTRY.printed(here, here.get(""))


def _list(connection: Connection, max_results: int | None = None) -> Any:
    scope = connection.group_path if connection.group else f"/subscriptions/{connection.subscription}"
    return all_of(connection, REGISTRY, connection.pages(f"{scope}/providers/{PROVIDER}/registries"), max_results)


def _update(connection: Connection, name: str, **options: Any) -> Any:
    return _generic_update.run(_here(connection, name), name=name, **options)


def _delete(connection: Connection, name: str, no_wait: bool = False) -> None:
    _here(connection, name).act("DELETE", "", wait=not no_wait)


_generic_create = create(GROUP, REGISTRY, file=FILE, waits=True)
_generic_update = update(GROUP, REGISTRY)

COMMANDS = Group(
    GROUP,
    "Registries: assets that all workspaces share.",
    (
        Command(
            GROUP, "create", "Create a registry, or change the one of the name.", _generic_create.run,
            (FILE, NEW_NAME, SET, NO_WAIT, RESOURCE_GROUP),
        ),
        Command(GROUP, "show", "Show details of a registry.", _show, _OF_GROUP),
        Command(
            GROUP, "list", "List registries, of the whole subscription without a group.", _list,
            (
                Argument(("--resource-group", "-g"), "Only those of this resource group.", configured="group"),
                option("--max-results", "-r", help="The most results to show.", type=int),
            ),
            columns="[].{Name: name, Location: location}",
        ),
        Command(GROUP, "update", "Update a registry.", _update, (*_OF_GROUP, TAGS, SET, NO_WAIT)),
        Command(
            GROUP, "delete", "Delete a registry with all that is in it.", _delete, (*_OF_GROUP, NO_WAIT),
            "Are you sure you want to perform this operation?",
        ),
    ),
)  # fmt: skip
