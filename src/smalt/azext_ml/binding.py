"""From the table to what knack wants, which is under both command lines: handlers and arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knack.arguments import CLIArgumentType, CLICommandArgument
from knack.help_files import helps
from knack.prompting import NoTTYException, prompt_y_n

from .arguments import REGISTRY, flag
from .connection import Connection
from .errors import UsageError
from .groups import GROUPS
from .table import Argument, Command

Connect = Callable[[], Connection]
_YES = flag("--yes", "-y", help="Do not prompt for confirmation.")
_NEUTRAL = {"validator": None, "completer": None, "local_context_attribute": None, "id_part": None}


def handler(command: Command, connect: Connect) -> Callable[[dict[str, Any]], Any]:
    """What runs it: takes what was parsed, by the parameters' names."""

    def run(told: dict[str, Any]) -> Any:
        given = {name: value for name, value in told.items() if name != "cmd"}
        if command.confirm and not given.pop("yes", False):
            _ask(command.confirm)
        group, workspace = given.pop("resource_group", None) or "", given.pop("workspace_name", None) or ""
        if REGISTRY in command.arguments:
            if registry := given.pop("registry_name", None):
                return command.run(connect().in_registry(str(registry)), **given)
            if not group or not workspace:
                raise UsageError(
                    "the following arguments are required: --resource-group/-g and --workspace-name/-w,"
                    " or --registry-name"
                )
        return command.run(connect().within(str(group), str(workspace)), **given)

    return run


def _ask(question: str) -> None:
    try:
        agreed = prompt_y_n(question)
    except NoTTYException:
        raise UsageError("Unable to prompt for confirmation as no tty available. Use --yes.") from None
    if not agreed:
        raise UsageError("Operation cancelled.")


def arguments(command: Command) -> list[tuple[str, CLICommandArgument]]:
    """All of its options, by the parameters' names."""
    every = (*command.arguments, _YES) if command.confirm else command.arguments
    return [(one.dest, CLICommandArgument(one.dest, **_settings(one))) for one in every]


def register(loader: Any, command: Command) -> None:
    """The same in the loader's registry: there the CLI looks for configured defaults, and has words of its own."""
    for one in command.arguments:
        loader.argument_registry.register_cli_argument(command.name, one.dest, CLIArgumentType(**_settings(one)))


def _settings(argument: Argument) -> dict[str, Any]:
    configured = {"configured_default": argument.configured} if argument.configured else {}
    return {
        **_NEUTRAL,
        **argument.settings,
        **configured,
        "options_list": list(argument.options),
        "help": argument.help,
        "required": argument.required,
    }


def describe_groups() -> None:
    """The help of groups, which knack keeps for all command lines of a process."""
    helps["ml"] = "type: group\nshort-summary: 'Azure Machine Learning: jobs, assets, computes, endpoints.'"
    for group in GROUPS:
        helps[group.name] = f"type: group\nshort-summary: '{group.help}'"
