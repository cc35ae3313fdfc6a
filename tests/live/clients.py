"""The official client as its users have it: an environment of its own, made by the code of the quickstart.

Kept in `.smalt/clients/` below the repository, so that only the first run pays for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smalt.cli.client_environment import SDK, ensure
from smalt.cli.programs import without_client_variables
from smalt.settings import Settings

REPOSITORY = Path(__file__).parents[2]
CLIENTS = REPOSITORY / ".smalt" / "clients"
OLDER_SDK = "1.31.0"
_ENVIRONMENT_S = 600.0


@dataclass(frozen=True)
class Client:
    """One version of the client, pointed at one platform by environment variables alone."""

    python: Path
    variables: Mapping[str, str]

    def run(
        self, script: Path, *arguments: str, timeout_s: float = 480, variables: Mapping[str, str] | None = None
    ) -> str:
        """What the script printed. Fails the test with all of it where the script does not end well."""
        environment = {**clean_environment(), **self.variables, "PYTHONUNBUFFERED": "1", **(variables or {})}
        command = [str(self.python), str(script), *arguments]
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_s,
                cwd=script.parent,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
            raise AssertionError(f"{script.name} did not end within {timeout_s:g} s; it said:\n{said}") from None
        assert done.returncode == 0, f"{script.name} ended with exit code {done.returncode}:\n{done.stdout}"
        return done.stdout


def client_python(version: str = SDK) -> Path:
    """The Python of an environment with that version of azure-ai-ml; made where missing (a minute)."""
    return ensure(
        CLIENTS / version, CLIENTS / "cache", clean_environment(), lambda text: print(text, file=sys.stderr), version
    )


def clean_environment() -> dict[str, str]:
    """This process's variables without any that redirect a client, and with what it compiles kept for the next."""
    nowhere = Settings(Path("/nonexistent"))
    kept = without_client_variables(nowhere, os.environ)
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in kept.items() if name not in dropped}
