"""What `smalt up` says at a terminal: how to get in, what the machine lacks, how the programs fare meanwhile."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from smalt.cli.access import login_url
from smalt.cli.supervisor import View
from smalt.doctor.machine import Machine
from smalt.settings import Settings


@dataclass
class _Shown:
    """The small live display of a platform in the foreground."""

    settings: Settings
    live: Live
    console: Console
    lacking: Sequence[str]
    welcomed: bool = False

    def changed(self, view: View) -> None:
        if view.ready and not self.welcomed:
            self.welcomed = True
            self.console.print(
                f"Smalt is ready at {view.url} after {time.time() - view.started_at:.1f} s; Ctrl-C stops it."
            )
            _invite(self.console, self.settings)
            _tell(self.console, self.settings, self.lacking)
        if self.console.is_terminal:
            self.live.update(_table(view), refresh=True)


def show(settings: Settings, lacking: Sequence[str], run: Callable[[Callable[[View], None]], None]) -> None:
    """The display for as long as `run` goes on, which is given what to call with each new view."""
    console = _terminal()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        run(_Shown(settings, live, console, lacking).changed)
    console.print("Smalt has stopped.")


def ready(settings: Settings, lacking: Sequence[str]) -> None:
    """Of a platform that was left behind."""
    console = _terminal()
    console.print(f"Smalt is ready at {settings.url}")
    _invite(console, settings)
    _tell(console, settings, lacking)


def running(settings: Settings) -> None:
    """Of one that was there already."""
    console = _terminal()
    console.print(f"Smalt is already running at {settings.url} (nothing was done).")
    _invite(console, settings)


def _terminal() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _invite(console: Console, settings: Settings) -> None:
    console.print(f"Open the Studio (the link logs in once):  {login_url(settings)}")
    console.print(f'Point a shell at it:                  eval "$(smalt env --root {shlex.quote(str(settings.root))})"')


def _tell(console: Console, settings: Settings, lacking: Sequence[str]) -> None:
    if lacking:
        console.print(f"What this machine lacks ({Machine(settings).smalt('doctor')} says what helps):")
        for one in lacking:
            console.print(f"  {one}", markup=False)


def _table(view: View) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("process", "state", "pid", "restarts"):
        table.add_column(heading, style="dim")
    for one in view.processes:
        table.add_row(one.name, one.state, str(one.pid or ""), str(one.restarts or ""))
    return table
