"""The dispatcher: the one place that imports what a command does, by its name and when it is used.

`smalt --help` and `smalt env` (in shell start-up files) must not wait for certificates, databases and HTTP clients.
"""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any, cast

import typer

from smalt.arm.errors import ArmError
from smalt.cli.root import CliError
from smalt.settings import SettingsError


def run(command: str, function: str = "run", **options: Any) -> None:
    """Call `function` of the module of `command`, which returns the exit code; any but 0 ends ours.

    An error is one line.
    """
    for stream in (sys.stdout, sys.stderr):
        cast(TextIOWrapper, stream).reconfigure(errors="replace")  # a locale without "✓" is no reason to fail
    try:
        code = getattr(import_module(f"smalt.cli.commands.{command}"), function)(**options)
    except CliError as error:
        print(f"smalt: {error}", file=sys.stderr)
        code = error.code
    except SettingsError as error:
        print(f"smalt: {error}", file=sys.stderr)
        code = 1
    except ArmError as error:
        print("smalt:", " ".join([error.message, *(one.message for one in error.details)]), file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    if code:
        raise typer.Exit(code)
