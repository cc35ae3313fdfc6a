"""Without `az`: the same commands under knack alone, which is what `az` is made of. `smalt ml` is this."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from knack import CLI
from knack.commands import CLICommand, CLICommandsLoader
from knack.events import EVENT_INVOKER_TRANSFORM_RESULT

from .binding import arguments, describe_groups, handler, register
from .connection import Connection
from .errors import MLError, NoSDK, exit_code
from .groups import COMMANDS
from .table import Command

PREFIX = "AZURE"  # of the variables that configure it, as those of az: AZURE_DEFAULTS_WORKSPACE, AZURE_CORE_OUTPUT
_GROUP = re.compile(r"/subscriptions/[^/]*/resourcegroups/([^/]+)/", re.IGNORECASE)


class _Terminal(CLI):
    connect: Callable[[], Connection]
    elsewhere: Callable[[], int] | None = None

    def exception_handler(self, ex: Exception) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        from jmespath.exceptions import JMESPathError
        from knack.util import CLIError

        if isinstance(ex, NoSDK) and self.elsewhere is not None:
            return self.elsewhere()
        if isinstance(ex, JMESPathError):
            ex = MLError(f"Invalid jmespath query supplied for `--query`: {ex}")
        if not isinstance(ex, MLError | CLIError):
            raise ex
        print(f"ERROR: {ex}", file=sys.stderr)
        return exit_code(ex) if isinstance(ex, MLError) else 1


class _Loader(CLICommandsLoader):
    cli_ctx: Any  # the _Terminal

    def load_command_table(self, args: Any) -> OrderedDict[str, Any]:
        """The one command that is meant, where one is: a parser for each of them takes a while to make."""
        describe_groups()
        meant = " ".join(args[:3]).lower()
        for command in [COMMANDS[meant]] if meant in COMMANDS else COMMANDS.values():
            self.command_table[command.name] = self._command(command)
        return super().load_command_table(args)

    def load_arguments(self, command: str) -> None:
        if command in COMMANDS:
            register(self, COMMANDS[command])
        super().load_arguments(command)

    def _command(self, command: Command) -> CLICommand:
        return CLICommand(
            self.cli_ctx,
            command.name,
            handler(command, self.cli_ctx.connect),
            description=command.help,
            table_transformer=command.columns or None,
            arguments_loader=lambda: arguments(command),
        )


def run(
    arguments: Sequence[str],
    connect: Callable[[], Connection],
    program: str,
    folder: Path,
    elsewhere: Callable[[], int] | None = None,
) -> int:
    """The exit code. `arguments` begin with the group's name; `folder` may hold a file `config`, as that of `az`.

    `elsewhere` runs the same arguments where azure-ai-ml is, for the commands that need it.
    """
    terminal = _Terminal(
        cli_name=program, config_dir=str(folder), config_env_var_prefix=PREFIX, commands_loader_cls=_Loader
    )
    terminal.connect, terminal.elsewhere = connect, elsewhere
    terminal.register_event(EVENT_INVOKER_TRANSFORM_RESULT, _name_groups)
    return terminal.invoke(["ml", *arguments], out_file=sys.stdout) or 0


def _name_groups(_: Any, event_data: dict[str, Any]) -> None:
    """As `az`: beside each id stands the resource group that it names."""
    _name_group(event_data["result"])


def _name_group(found: Any) -> None:
    if isinstance(found, list):
        for one in found:
            _name_group(one)
    elif isinstance(found, dict):
        identity = found.get("id")
        if isinstance(identity, str) and (named := _GROUP.search(identity)) and "resourceGroup" not in found:
            found["resourceGroup"] = named.group(1)
        for one in list(found.values()):
            _name_group(one)
