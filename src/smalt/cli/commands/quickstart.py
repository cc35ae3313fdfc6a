"""`smalt quickstart`: a whole project on the official SDK, from an empty machine to a model in production."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from smalt.cli.access import login_url
from smalt.cli.client_environment import QUICKSTART, ensure
from smalt.cli.commands.up import Told, ensure_running
from smalt.cli.programs import without_client_variables
from smalt.cli.project_files import copy_project
from smalt.cli.root import resolve
from smalt.cli.shell import no_proxy
from smalt.cli.variables import client_variables, identity_secret
from smalt.settings import Settings

# What the code makes, as the Studio shows it.
PAGES = {
    "Its jobs:": "/jobs?experimentName=quickstart-churn",
    "Its model:": "/models/quickstart-churn",
    "Its endpoint:": "/endpoints/quickstart-churn",
}


def run(root: Path | None, told: Told) -> int:
    console = Console(highlight=False, soft_wrap=True)
    with _timed(console, "Start the platform"):
        settings, new = ensure_running(resolve(root), told)
    folder = settings.root / "quickstart"
    console.print(f"      {'started' if new else 'it was running already'}, at {settings.url}")
    clean = without_client_variables(settings, os.environ)
    with _timed(console, "Prepare a client with the official Azure ML SDK"):
        python = ensure(folder / "venv", settings.envs / "cache", clean, lambda text: console.print(f"      {text}"))
    for name in copy_project(QUICKSTART, folder):
        console.print(f"      {folder / name} has your changes: it is left as it is")
    script = folder / "churn.py"
    console.print(f"[bold]Run {script}[/] with the variables of: smalt env --root {settings.root}")
    code = subprocess.run([str(python), str(script)], env=_client(settings, clean), check=False).returncode
    if code != 0:
        console.print(f"{script} ended with exit code {code}; the platform's logs are in {settings.logs}.")
        return 1
    _farewell(console, settings, script)
    return 0


def _client(settings: Settings, environment: dict[str, str]) -> dict[str, str]:
    variables = client_variables(settings, identity_secret(settings))
    return {**environment, **variables, **no_proxy(settings, environment), "PYTHONUNBUFFERED": "1"}


def _farewell(console: Console, settings: Settings, script: Path) -> None:
    console.print(f"Studio:       {login_url(settings)}  (the link logs in once)")
    for what, page in PAGES.items():
        console.print(f"{what:13} {settings.url}/studio{page}")
    console.print(
        f"The code:     {script} and {script.parent / 'src' / 'train_churn.py'}: change it and run this again"
    )
    console.print(f'Your own:     eval "$(smalt env --root {settings.root})", then run any Azure ML code')
    console.print(f"Stop:         smalt down --root {settings.root}")


@contextmanager
def _timed(console: Console, what: str) -> Iterator[None]:
    began = time.perf_counter()
    console.print(f"{what} …")
    yield
    console.print(f"[green]✓[/] {what}: {time.perf_counter() - began:.1f} s")
