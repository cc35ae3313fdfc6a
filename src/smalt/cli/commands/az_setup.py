"""`smalt az-setup`: Microsoft's `az` with a configuration of its own for a root, logged in, with the extension `ml`."""

from __future__ import annotations

import configparser
import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from smalt.agent.whole_file import write_whole
from smalt.cli.programs import without_client_variables
from smalt.cli.root import CliError, resolve
from smalt.cli.shell import no_proxy
from smalt.cli.variables import client_variables, identity_secret
from smalt.config import read_settings
from smalt.settings import RESOURCE_GROUP, WORKSPACE, Settings

_MISSING = "Microsoft's az is not there: pip install azure-cli, or put it on PATH."


def run(root: Path | None) -> int:
    """Safe to repeat: after a change of the port, and for a newer extension. Prints what the shell is to set."""
    settings = read_settings(resolve(root))
    variables = client_variables(settings, identity_secret(settings))
    program = shutil.which("az")
    if program is None:
        raise CliError(_MISSING)
    folder = settings.root / "azure"
    folder.mkdir(mode=0o700, exist_ok=True)
    _configure(folder / "config", settings)
    (folder / "cloudEndpoints.json").unlink(missing_ok=True)  # az asks once for addresses, and the port may be another
    environment = {
        **without_client_variables(settings, os.environ),
        **variables,
        **no_proxy(settings, os.environ),
        "AZURE_CONFIG_DIR": str(folder),
    }
    az = _Az(program, environment)
    az.run("Read the platform's addresses and log in", "login", "--identity")
    az.run("Install the extension ml, with azure-ai-ml", "extension", "add", "--name", "ml", "--upgrade")
    print(f"export AZURE_CONFIG_DIR={shlex.quote(str(folder))}")
    return 0


def _configure(path: Path, settings: Settings) -> None:
    """What else stands in the file stays."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(path)
    wanted: Mapping[str, Mapping[str, str]] = {
        "core": {"collect_telemetry": "no"},
        "defaults": {"group": RESOURCE_GROUP, "workspace": WORKSPACE},
        "extension": {"index_url": f"{settings.url}/extensions/index.json", "use_dynamic_install": "no"},
    }
    for section, values in wanted.items():
        if not config.has_section(section):
            config.add_section(section)
        for name, value in values.items():
            if section == "extension" or not config.has_option(section, name):
                config.set(section, name, value)
    text = io.StringIO()
    config.write(text)
    write_whole(path, text.getvalue(), sync=True)


class _Az:
    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self._program = program
        self._environment = environment

    def run(self, what: str, *arguments: str) -> None:
        """Raises CliError with az's last words."""
        print(f"{what} …", file=sys.stderr)
        command = [self._program, *arguments, "--output", "none", "--only-show-errors"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
            raise CliError(f"az {' '.join(arguments)} failed: {' '.join(words)}")
