"""`smalt ml`: the commands of `az ml`, without `az`. What they do is in `smalt.azext_ml`.

Reads take half a second at most, so nothing is imported here that is not needed: no typer, no certificates, no
database.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from smalt.azext_ml.errors import MLError
from smalt.azext_ml.login import connected
from smalt.azext_ml.terminal import run as run_command
from smalt.cli.root import CliError, resolve
from smalt.cli.shell import no_proxy
from smalt.cli.variables import client_variables, identity_secret
from smalt.config import read_settings
from smalt.settings import Settings, SettingsError

_SERVICE_PRINCIPAL = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
_OTHERS = ("knack", "argcomplete", "tabulate")  # what the commands need beside the SDK
_START = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('azext_ml', run_name='__main__', alter_sys=True)"
)


def main(arguments: Sequence[str]) -> int:
    """As `run`; an error is told in a line."""
    try:
        return run(arguments)
    except (CliError, SettingsError, MLError) as error:
        print(f"smalt: {error}", file=sys.stderr)
        return error.code if isinstance(error, CliError) else 1
    except KeyboardInterrupt:
        return 130


def run(arguments: Sequence[str]) -> int:
    """The exit code. `--root DIR` may stand anywhere; without it a shell with `smalt env` speaks to that server."""
    root, rest = _taken(arguments, "--root")
    subscription, rest = _taken(rest, "--subscription")
    settings = None
    if root is None and os.environ.get("ARM_CLOUD_METADATA_URL"):
        variables = {name: os.environ.get(name) or value for name, value in _named(os.environ).items()}
    else:
        settings = read_settings(resolve(Path(root) if root else None))
        variables = client_variables(settings, identity_secret(settings)) | no_proxy(settings, os.environ)
        variables |= dict.fromkeys(_SERVICE_PRINCIPAL, "")  # the owner, whoever else the shell may be
        variables |= _named(variables)
    if subscription:
        variables["AZURE_SUBSCRIPTION_ID"] = subscription
    os.environ |= variables
    folder = settings.root if settings else Path(sys.prefix)
    url = settings.url if settings else ""
    return run_command(rest, lambda: connected(os.environ, url), "smalt", folder, lambda: _elsewhere(settings, rest))


def _named(variables: Mapping[str, str]) -> dict[str, str]:
    """The group and the workspace of those variables, as what the options have by default."""
    return {
        configured: variables[name]
        for name, configured in (
            ("AZUREML_ARM_RESOURCEGROUP", "AZURE_DEFAULTS_GROUP"),
            ("AZUREML_ARM_WORKSPACE_NAME", "AZURE_DEFAULTS_WORKSPACE"),
        )
        if variables.get(name)
    }


def _taken(arguments: Sequence[str], option: str) -> tuple[str | None, list[str]]:
    """The value of an option that is ours, wherever it stands, and what is left."""
    rest = list(arguments)
    for place, one in enumerate(rest):
        if one.startswith(f"{option}="):
            return one.removeprefix(f"{option}="), rest[:place] + rest[place + 1 :]
        if one == option:
            if place + 1 == len(rest):
                raise CliError(f"{option} needs a value", 2)
            return rest[place + 1], rest[:place] + rest[place + 2 :]
    return None, rest


def _elsewhere(settings: Settings | None, arguments: Sequence[str]) -> int:
    """The same in an environment with the SDK, which is made below the root at first need."""
    if settings is None:
        raise CliError("this command needs azure-ai-ml: install it beside Smalt, or name a root with --root.")
    client = import_module("smalt.cli.client_environment")
    programs = import_module("smalt.cli.programs")
    folder = settings.root / "clients"
    packages = [f"azure-ai-ml=={client.SDK}", *(f"{one}=={version(one)}" for one in _OTHERS)]
    clean = programs.without_client_variables(settings, os.environ)
    python = client.install(
        folder / "ml",
        settings.envs / "cache",
        clean,
        lambda text: print(text, file=sys.stderr),
        packages,
        client.constraints(),
    )
    extension = import_module("smalt.web.extension")
    wheel = folder / extension.filename()
    if not wheel.exists() or wheel.read_bytes() != extension.wheel():
        beside = wheel.with_suffix(f".{os.getpid()}")
        beside.write_bytes(extension.wheel())
        beside.replace(wheel)
    sys.stdout.flush()
    os.execv(python, [str(python), "-I", "-c", _START, str(wheel), *arguments])
