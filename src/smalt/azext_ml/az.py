"""Under Microsoft's `az`: its login, its configuration, its errors."""

# pyright: reportMissingImports=false
from __future__ import annotations

import sys
from typing import Any, NoReturn

from azure.cli.core import AzCommandsLoader
from azure.cli.core._profile import Profile
from azure.cli.core.azclierror import (
    ArgumentUsageError,
    BadRequestError,
    ForbiddenError,
    ResourceNotFoundError,
    UnauthorizedError,
    UnclassifiedUserFault,
)
from azure.cli.core.commands import AzCliCommand
from azure.cli.core.commands.client_factory import get_subscription_id

from .binding import arguments, describe_groups, handler, register
from .connection import Connection
from .errors import MLError, UsageError, is_absent
from .groups import COMMANDS
from .table import Command

_BY_STATUS = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
}


class MLCommandsLoader(AzCommandsLoader):
    """What `az` loads of an extension."""

    __module__ = str(__package__)  # by this name the index of commands finds the extension again

    def load_command_table(self, args: Any) -> dict[str, Any]:
        describe_groups()
        for command in COMMANDS.values():
            self.command_table[command.name] = self._command(command)
        return self.command_table

    def load_arguments(self, command: str) -> None:
        for one in COMMANDS.values() if not command else [COMMANDS[command]] if command in COMMANDS else []:
            register(self, one)

    def _command(self, command: Command) -> Any:
        return AzCliCommand(
            self,
            command.name,
            handler(command, self._connect),
            description=command.help,
            table_transformer=command.columns or None,
            arguments_loader=lambda: arguments(command),
            exception_handler=_failed,
        )

    def _connect(self) -> Connection:
        subscription = get_subscription_id(self.cli_ctx)
        credential, _, _ = Profile(cli_ctx=self.cli_ctx).get_login_credentials(subscription_id=subscription)

        def token(resource: str) -> str:
            return credential.get_token(f"{resource.rstrip('/')}/.default").token

        url = self.cli_ctx.cloud.endpoints.resource_manager.rstrip("/")
        return Connection(url, subscription, token, lambda: credential, notify=_notify)


def _notify(text: str) -> None:
    print(f"WARNING: {text}", file=sys.stderr)


def _failed(error: Exception) -> NoReturn:
    """In the CLI's own errors, which have its exit codes."""
    if not isinstance(error, MLError):
        raise error
    if isinstance(error, UsageError):
        raise ArgumentUsageError(error.message)
    if is_absent(error):
        raise ResourceNotFoundError(error.message)
    raise _BY_STATUS.get(error.status or 0, UnclassifiedUserFault)(error.message)
