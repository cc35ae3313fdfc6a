"""`smalt up`: check, make what is missing, and become (or leave behind) the supervisor."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from smalt.cli.blob_store import absolute, check_store_answers, check_store_kept
from smalt.cli.daemon import Order, start_detached, supervise
from smalt.cli.database import check_answers, check_kept, check_keys
from smalt.cli.port_holder import dismiss, holds
from smalt.cli.ports import taken
from smalt.cli.programs import programs
from smalt.cli.ray import check_ray, ray_lacks
from smalt.cli.root import CliError, Lock, holder, prepare, remember, resolve, take_lock, wait_for_holder
from smalt.cli.shell import platform_environment
from smalt.cli.supervisor import READY_TIMEOUT_S, StartFailed, read_view
from smalt.cli.version import installed
from smalt.config import read_settings
from smalt.gateway.addresses import addresses
from smalt.reserve import MIB, Reserve
from smalt.settings import Settings, check_setting, setting_names

DYING_S = 3.0  # how long an earlier platform's processes may hold the port after its supervisor was killed


Told = Mapping[str, Any]  # settings by name, as given on the command line; None: not given


def run(root: Path | None, told: Told, detach: bool) -> int:
    folder = resolve(root)
    settings = _wanted(folder, told)
    lock = _lock(settings)
    if lock is None:
        running = _running(folder, told)
        from smalt.cli import welcome

        welcome.running(running)
        return 0
    with closing(lock):
        if told.get("database_url") and settings.database != settings.shown_database:
            _without_password(settings, detach)
        if detach:
            _start_behind(settings, lock)
        else:
            _start_here(settings, lock)
    return 0


def ensure_running(root: Path, told: Told) -> tuple[Settings, bool]:
    """The platform in the background, ready; and whether this call started it. Raises CliError."""
    settings = _wanted(root, told)
    lock = _lock(settings)
    if lock is None:
        return _running(root, told), False
    with closing(lock):
        _leave_behind(settings, lock)
    return settings, True


def _wanted(root: Path, told: Told) -> Settings:
    """What the root remembers, and what is told now instead. Raises SettingsError."""
    given = {name: value for name, value in told.items() if value is not None}
    if "store_url" in given:
        given["store_url"] = absolute(given["store_url"])
    for name, value in given.items():
        check_setting(name, value)
    remembered = read_settings(root)
    wanted = replace(remembered, **given)
    check_kept(remembered, wanted)
    check_store_kept(remembered, wanted)
    if wanted.shown:
        from smalt.engines.local.shown import refusal  # with the engine, which most starts need not import

        if why := refusal(wanted):
            raise CliError(f"{why} What is shown is set with --show, and nothing with --show ''.")
    return wanted


def _lock(wanted: Settings) -> Lock | None:
    """The right to start, the settings remembered; None if the platform runs already."""
    with _own_umask():
        prepare(wanted)
        lock = take_lock(wanted.root)
    if lock is not None:
        with lock.released_on_error():
            _check_space(wanted)
            _check_port(wanted)
            _check_events(wanted)
            check_ray(wanted)
            check_answers(wanted)
            check_keys(wanted)
            check_store_answers(wanted)
            remember(wanted)
    return lock


def _running(root: Path, told: Told) -> Settings:
    """The settings that the platform runs with, once it is ready. Raises CliError where others were asked for."""
    pid = wait_for_holder(root)
    running, wanted = read_settings(root), _wanted(root, told)
    others = [name for name in setting_names() if getattr(wanted, name) != getattr(running, name)]
    if others:
        values = {name: getattr(wanted, name) for name in others}
        if "database_url" in values:
            values["database_url"] = wanted.shown_database
        asked = " and ".join(f"{name} {value}" for name, value in values.items())
        raise CliError(
            f"Smalt already runs on {root} at {running.url}; "
            f"to have it with {asked}, stop it first: smalt down --root {root}"
        )
    _wait_until_ready(running, pid)
    return running


def _without_password(settings: Settings, detach: bool) -> None:
    """Begin again, as the same process, with what is remembered; the lock is given up. `ps` shows no password then."""
    command = [sys.executable, "-P", "-m", "smalt.cli", "up", "--root", str(settings.root)]
    os.execv(sys.executable, [*command, "--detach"] if detach else command)


# What the programs do not wait for is imported while they start: cryptography, rich, the doctor's looks.


def _start_behind(settings: Settings, lock: Lock) -> None:
    lacking: list[str] = []

    def meanwhile() -> None:
        from smalt.cli import welcome  # noqa: F401  # before it is needed, too

        lacking.extend(_lacking(settings))

    _leave_behind(settings, lock, meanwhile)
    from smalt.cli import welcome

    welcome.ready(settings, lacking)


def _start_here(settings: Settings, lock: Lock) -> None:
    from smalt.cli import welcome
    from smalt.cli.commands.down import leave

    lacking = _lacking(settings)
    _make(settings)
    try:
        welcome.show(settings, lacking, lambda changed: supervise(_order(settings), lock, changed))
    except StartFailed as error:
        raise CliError(f"the platform did not come up: {error}") from error
    leave(settings)


def _leave_behind(settings: Settings, lock: Lock, meanwhile: Callable[[], None] = lambda: None) -> None:
    environment = platform_environment(settings, os.environ)
    start_detached(settings, lambda: _order(settings), lock, environment, lambda: _make(settings), meanwhile)


def _order(settings: Settings) -> Order:
    return Order(settings, programs(settings, os.environ), installed())


def _make(settings: Settings) -> None:
    from smalt.cli.files import make_files

    with _own_umask():
        make_files(settings)


def _lacking(settings: Settings) -> list[str]:
    """What this machine lacks, a line for each."""
    from smalt.doctor.machine import Machine
    from smalt.doctor.start import notes

    return [*notes(Machine(settings)), *ray_lacks(settings)]


@contextmanager
def _own_umask() -> Iterator[None]:
    """Modes of files under the root are ours to say, not the shell's."""
    before = os.umask(0o077)  # noqa: TID251
    try:
        yield
    finally:
        os.umask(before)  # noqa: TID251


def _wait_until_ready(settings: Settings, pid: int | None) -> None:
    """For another `up` that is still starting. Raises CliError if it does not get there."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while (view := read_view(settings.run / "supervisor.json")) is None or not view.ready or view.pid != pid:
        if pid is None or holder(settings.root) != pid:
            raise CliError(f"the platform on {settings.root} was just stopping or failing; try again.")
        if time.monotonic() > deadline:
            raise CliError(f"the platform on {settings.root} is running but not ready; see {settings.logs}.")
        time.sleep(0.05)


def _check_space(settings: Settings) -> None:
    """Gives the reserve up on a full disk. Raises CliError where there is still too little to start at all."""
    reserve = Reserve(settings.root)
    gave_up = reserve.make_room()
    free = f"{reserve.free_bytes() / MIB:.0f} MiB are free on the disk of {settings.root}"
    if reserve.lacking():
        raise CliError(f"{free}, and the platform needs {reserve.needed_bytes // MIB} to start; free some.")
    if gave_up:
        print(f"smalt: the disk was full: its reserve was given up, now {free}. Delete something.", file=sys.stderr)


def _check_port(settings: Settings) -> None:
    """Raises CliError where somebody listens. Not left to Envoy: it shares a port (SO_REUSEPORT) without a word."""
    if holds(settings.run, settings.port, addresses(settings.host)):
        return  # since an earlier supervisor was killed
    dismiss(settings.run)
    deadline = time.monotonic() + DYING_S
    while (reason := taken(settings.port)) and _was_killed(settings) and time.monotonic() < deadline:
        time.sleep(0.05)
    if reason:
        raise CliError(reason)


def _check_events(settings: Settings) -> None:
    """Raises CliError where no file of events can be; whether a URL answers is seen later, and waited for."""
    if not settings.openlineage or "://" in settings.openlineage:
        return
    path = Path(settings.openlineage)
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise CliError(f"--openlineage: {path} cannot be a file; name one in a folder that is there, or '' for none.")


def _was_killed(settings: Settings) -> bool:
    """The supervisor that wrote this file did not get to remove it; its Envoy is dying now."""
    return (settings.run / "supervisor.json").exists()
