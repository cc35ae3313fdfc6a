"""`ml workspace`, `ml datastore`."""

from __future__ import annotations

from typing import Any

from ..arguments import (
    DESCRIPTION,
    MAYBE_FILE,
    NO_WAIT,
    RESOURCE_GROUP,
    SET,
    TAGS,
    flag,
    option,
)
from ..connection import PROVIDER, Connection
from ..kinds import DATASTORE, WORKSPACE
from ..table import Argument, Command, Group
from ..verbs import all_of, create, delete, list_, open_page, show, update

GROUP = "ml workspace"
# `-n` and `-w` are one: the workspace, also in what is set by default
NAMED = Argument(("--name", "-n", "--workspace-name", "-w"), "Name of the workspace.", True, "workspace")
HERE = (NAMED, RESOURCE_GROUP)
_FIELDS = (
    option("--display-name", "-d", help="Its name for people."),
    option("--location", "-l", help="Its location."),
    option("--public-network-access", help="Enabled or Disabled."),
    option("--image-build-compute", "-i", help="The compute that builds images."),
)


def _at(connection: Connection, name: str) -> Connection:
    return connection.within(connection.group, name)


def _show(connection: Connection, name: str, web: bool = False) -> Any:
    here = _at(connection, name)
    shown = WORKSPACE.printed(here, here.get(""))
    if web:
        open_page(connection, shown)
    return shown


def _list(connection: Connection, resource_group: str | None = None, max_results: int | None = None) -> Any:
    scope = connection.group_path if resource_group else f"/subscriptions/{connection.subscription}"
    return all_of(connection, WORKSPACE, connection.pages(f"{scope}/providers/{PROVIDER}/workspaces"), max_results)


def _create(connection: Connection, name: str | None = None, **options: Any) -> Any:
    return _generic_create.run(connection, name=name, **options)


def _update(connection: Connection, name: str, **options: Any) -> Any:
    return _generic_update.run(_at(connection, name), name=name, **options)


def _delete(
    connection: Connection,
    name: str,
    all_resources: bool = False,
    permanently_delete: bool = False,
    no_wait: bool = False,
) -> None:
    here = _at(connection, name)
    here.get("")
    here.act("DELETE", "", wait=not no_wait)


def _keys(connection: Connection, name: str) -> Any:
    """As the SDK's WorkspaceKeys, camel case and all."""
    return _at(connection, name).send("POST", f"{_at(connection, name).workspace_path}/listKeys").body


def _sync(connection: Connection, name: str, no_wait: bool = False) -> None:
    here = _at(connection, name)
    here.act("POST", f"{here.workspace_path}/resyncKeys", wait=not no_wait)


def _diagnose(connection: Connection, name: str, no_wait: bool = False) -> Any:
    here = _at(connection, name)
    return here.act("POST", f"{here.workspace_path}/diagnose", {"value": {}}, wait=not no_wait)


_generic_create = create(GROUP, WORKSPACE, DESCRIPTION, TAGS, *_FIELDS, file=MAYBE_FILE, waits=True)
_generic_update = update(GROUP, WORKSPACE)
_EDITABLE = tuple(one for one in _FIELDS if one.dest in WORKSPACE.edits)

COMMANDS = Group(
    GROUP,
    "Workspaces.",
    (
        Command(
            GROUP, "create", "Create a workspace.", _create,
            (
                MAYBE_FILE, option("--name", "-n", "--workspace-name", "-w", help="Name of the workspace."),
                DESCRIPTION, TAGS, *_FIELDS, SET, NO_WAIT, RESOURCE_GROUP,
            ),
        ),
        Command(
            GROUP, "show", "Show details of a workspace.", _show,
            (*HERE, flag("--web", "-e", help="Open it in the web browser.")),
        ),
        Command(
            GROUP, "list", "List workspaces, of the whole subscription without a group.", _list,
            (
                Argument(("--resource-group", "-g"), "Only those of this resource group.", configured="group"),
                option("--max-results", "-r", help="The most results to show.", type=int),
            ),
            columns="[].{Name: name, Group: resource_group, Location: location}",
        ),
        Command(
            GROUP, "update", "Update a workspace.", _update,
            (*HERE, DESCRIPTION, TAGS, *_EDITABLE, SET, NO_WAIT),
        ),
        Command(
            GROUP, "delete", "Delete a workspace with all that is in it.", _delete,
            (
                *HERE, flag("--all-resources", help="What belongs to it goes in any case."),
                flag("--permanently-delete", "-p", help="It is gone in any case."), NO_WAIT,
            ),
            "Are you sure you want to perform this operation?",
        ),
        Command(GROUP, "list-keys", "List the keys of what belongs to a workspace.", _keys, HERE),
        Command(GROUP, "sync-keys", "Read the keys of what belongs to a workspace again.", _sync, (*HERE, NO_WAIT)),
        Command(GROUP, "diagnose", "Say what is wrong with a workspace.", _diagnose, (*HERE, NO_WAIT)),
    ),
)  # fmt: skip

DATASTORE_COMMANDS = Group(
    "ml datastore",
    "Datastores: where data is.",
    (
        create("ml datastore", DATASTORE),
        show("ml datastore", DATASTORE),
        list_("ml datastore", DATASTORE),
        update("ml datastore", DATASTORE),
        delete("ml datastore", DATASTORE, confirm=False),
    ),
)
