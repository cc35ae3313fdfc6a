"""`smalt env`: the variables, and nothing else, on standard output."""

from __future__ import annotations

import os
from pathlib import Path

from smalt.cli.root import resolve
from smalt.cli.shell import no_proxy
from smalt.cli.variables import client_variables, identity_secret, in_syntax_of
from smalt.config import read_settings


def run(root: Path | None, shell: str) -> int:
    settings = read_settings(resolve(root))
    variables = client_variables(settings, identity_secret(settings)) | no_proxy(settings, os.environ)
    print(in_syntax_of(shell, variables))
    return 0
