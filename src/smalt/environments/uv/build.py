"""Builds one environment: the process behind a build task. `python -m smalt.environments.uv.build ENVS KEY`.

The definition comes in a variable (it may hold an index's credentials, which a command line would show to everyone).
Whatever kills it, the next build goes on: the environment counts only with its marker, which is written last; the lock
is written whole or not at all; the wheels that came are in the cache. Two builds of one key: the second waits for the
first and finds its work done. The lock on the key is held by uv too, so that no orphan writes beside the next build.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import uv as uv_wheel

from smalt.agent.walled import WALLS
from smalt.arm.ports import Login
from smalt.environments.uv.explain import Obstacle, cause, read_problem
from smalt.environments.uv.feeds import LOGINS, with_logins
from smalt.environments.uv.layout import VARIABLE, Layout, read_json, write_atomically
from smalt.environments.uv.locks import Resolution, lock_key, read_lock, versions, write_lock
from smalt.environments.uv.machine_index import has_several_indexes, with_pip_settings
from smalt.environments.uv.packs import Unfit, unpack
from smalt.environments.uv.process import Ran, Uv, say, without_secrets
from smalt.environments.uv.resolve import Resolver, Unresolvable
from smalt.environments.uv.workshop import Workshop, pinned

SHIPPED = Path(__file__).parent / "curated" / "locks"
_REBUILDS = 3


def main(arguments: list[str]) -> int:
    """Exit status 0: the environment is complete. 1: it is not, and the cause is in its failure file."""
    layout, key = Layout(Path(arguments[0])), arguments[1]
    definition = json.loads(os.environ.pop(VARIABLE))
    logins = {address: Login(*login) for address, login in json.loads(os.environ.pop(LOGINS, "{}")).items()}
    definition["options"] = with_logins(definition["options"], logins)
    walls = os.environ.pop(WALLS, "")
    os.umask(0o022)  # noqa: TID251
    signal.signal(signal.SIGTERM, _stop)
    for folder in (layout.flock(key).parent, layout.prefix(key).parent, layout.cache, layout.failure(key).parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with _held(layout.flock(key)) as held:
            return Build(layout, key, definition, held, walls).run()
    except _Stopped:
        say("\nStopped. What was downloaded is kept; the next build goes on from there.")
        return 128 + signal.SIGTERM
    except (Unresolvable, OSError) as error:
        return _failed(layout, key, str(error))


class _Stopped(BaseException):
    """SIGTERM came; whatever was being done is left as it is."""


@dataclass(frozen=True)
class Installed:
    """How an installation went: uv's exit status, and what it said where it failed."""

    code: int
    output: str = ""

    def raise_for(self, python: str) -> None:
        if self.code != 0:
            raise Unresolvable(cause(read_problem(self.output), python))


class Build:
    """One build, with the key's lock in hand."""

    def __init__(self, layout: Layout, key: str, definition: Mapping[str, Any], held: int, walls: str = "") -> None:
        self._layout, self._key, self._definition = layout, key, definition
        variables = with_pip_settings(os.environ)
        several = has_several_indexes(variables, definition["options"])
        self._index_options = ["--index-strategy", "unsafe-best-match"] if several else []
        binary = uv_wheel.find_uv_bin()
        self._uv = Uv(binary, str(layout.cache), variables, held)
        self._workshop = Workshop(layout, key, walls, binary, variables, str(definition["interpreter"]))

    def run(self) -> int:
        try:
            return self._run()
        finally:
            self._workshop.close()

    def _run(self) -> int:
        if self._is_complete():
            say("This environment is built already.")
            return 0
        started = time.monotonic()
        self._layout.failure(self._key).unlink(missing_ok=True)
        self._say_what()
        if self._from_pack(started):
            return 0
        resolution = self._from_own_lock() or self._from_shipped_lock() or self._from_scratch()
        seconds = time.monotonic() - started
        self._complete(resolution, seconds)
        say(f"\nBuilt in {seconds:.1f} s")
        return 0

    def _is_complete(self) -> bool:
        prefix = self._layout.prefix(self._key)
        return read_json(self._layout.marker(self._key)) is not None and (prefix / "bin" / "python").exists()

    def _say_what(self) -> None:
        wanted = self._definition
        say(f"Environment  {wanted['title']}")
        say(f"Interpreter  Python {wanted['python']} ({wanted['interpreter']})")
        if wanted["image"]:
            say(f"Image        {wanted['image']}: a plain Python base, so a virtual environment stands in for it")
        for origin, title in (("conda", "From conda"), ("pip", "From pip"), ("serving", "Inference server")):
            if wanted[origin]:
                say(f"{title}: {', '.join(wanted[origin])}")
        for note in wanted["notes"]:
            say(f"Note: {note}")
        say()

    def _from_pack(self, started: float) -> bool:
        """What another machine of this platform has built, where the node has fetched it."""
        pack = self._layout.fetched(self._key)
        if not pack.exists():
            return False
        try:
            with _stage(f"Unpacking {pack.stat().st_size / 1e6:.1f} MB that another machine has built"):
                self._make_folder()
                resolution = unpack(pack, self._layout.prefix(self._key))
        except (Unfit, OSError) as error:
            say(f"It cannot be used: {error}. It is built here.")
            return False
        finally:
            pack.unlink(missing_ok=True)
        self._keep(resolution)
        self._complete(resolution, time.monotonic() - started, fetched=True)
        return True

    def _from_own_lock(self) -> Resolution | None:
        """The lock that this key has had before, for ever the same; most of it is in the cache."""
        resolution = read_lock(self._layout.lock(self._key))
        if resolution is not None:
            say("The versions are those that this environment has had before (its lock).")
            self._install(resolution, ("--offline", "")).raise_for(self._definition["python"])
        return resolution

    def _from_shipped_lock(self) -> Resolution | None:
        """The lock that comes with a curated definition; None where there is none, or it does not fit this machine."""
        found = shipped_lock(self._key)
        resolution = read_lock(found) if found else None
        if found is None or resolution is None:
            return None
        say("The versions are those of the curated environment's own lock.")
        self._keep(resolution)
        if self._install(resolution, ("--offline", "")).code != 0:
            say("That lock cannot be installed here; versions are chosen anew.")
            self._layout.lock(self._key).unlink(missing_ok=True)
            return None
        return resolution

    def _from_scratch(self) -> Resolution:
        plain, builder = self._plain_lock(), self._workshop.uv
        resolver = Resolver(self._uv, self._definition, self._index_options, plain, builder)
        self._workshop.forget()
        for _ in range(_REBUILDS):
            with _stage("Choosing versions"):
                resolution = resolver.resolve()
            self._keep(resolution)
            installed = self._install(resolution, ("", "--offline"))
            if installed.code == 0:
                return resolution
            self._layout.lock(self._key).unlink(missing_ok=True)  # never used, so not yet a promise
            problem = read_problem(installed.output)
            if problem.obstacle is not Obstacle.SOURCE or problem.package not in resolution.sources:
                raise Unresolvable(cause(problem, self._definition["python"]))
            resolver.avoid(problem.package)
        raise Unresolvable("Packages that have to be built from source could not be, and no other version fits.")

    def _make_folder(self) -> None:
        prefix = self._layout.prefix(self._key)
        if prefix.exists():  # of a build that was killed; what it had downloaded is in the cache
            shutil.rmtree(prefix)
        arguments = ["venv", "--python", self._definition["interpreter"], "--no-project", "--offline", str(prefix)]
        ran = self._uv.run(arguments)
        if ran.code != 0:
            raise Unresolvable(f"Python {self._definition['python']} cannot be used: {read_problem(ran.output).text}")

    def _plain_lock(self) -> Path | None:
        """The same environment without the inference server: its versions are preferred, so that both agree."""
        plain = self._definition["plain_key"]
        if plain == self._key:
            return None
        own = self._layout.lock(plain)
        return own if own.exists() else shipped_lock(plain)

    def _keep(self, resolution: Resolution) -> None:
        for note in resolution.notes:
            say(f"Note: {note}")
        write_lock(self._layout.lock(self._key), self._key, resolution)

    def _install(self, resolution: Resolution, tries: Sequence[str]) -> Installed:
        """Into a fresh folder, online ("") and `--offline` in the order given; what the last one said."""
        with _stage("Making the environment's folder"):
            self._make_folder()
        with _stage(f"Installing {len(versions(resolution.text))} packages"):
            first = self._sync(resolution, tries[0])
            if first.code == 0:
                return Installed(0)
            if tries[0] == "" and read_problem(first.output).obstacle is not Obstacle.UNREACHABLE:
                return Installed(first.code, first.output)
            self._make_folder()  # anew: uv runs its interpreter, and so whatever the first try has put there
            second = self._sync(resolution, tries[1])
            online = second if tries[1] == "" else first
            return Installed(second.code, online.output)

    def _sync(self, resolution: Resolution, offline: str) -> Ran:
        """Wheels alone, with which no code runs; those that there are not are built first, in the workshop."""
        python = self._layout.prefix(self._key) / "bin" / "python"
        arguments = ["pip", "sync", "--python", str(python), "--link-mode", "hardlink", *self._index_options]
        arguments += ["--only-binary", ":all:"]
        given = self._definition["options"]  # they may hold credentials: on standard input, not in a file
        options = "\n".join(one for one in given if "--no-binary" not in one)
        files = [str(self._layout.lock(self._key)), *(["-"] if options else [])]
        if resolution.sources:
            ran = self._build_sources(resolution, options, offline)
            if ran.code != 0:
                return ran
            arguments += ["--find-links", str(self._layout.wheels(self._key))]
            options, files = f"{options}\n{pinned(resolution, self._workshop.wheels(resolution))}", ["-"]
        if offline:
            return self._uv.run([*arguments, offline, "--quiet", *files], options)
        return self._uv.run([*arguments, *files], options, live=True)

    def _build_sources(self, resolution: Resolution, options: str, offline: str) -> Ran:
        if self._workshop.wheels(resolution).keys() == set(resolution.sources):
            return Ran(0, "")
        return self._workshop.build(resolution, options, [*self._index_options, *([offline] if offline else [])])

    def _complete(self, resolution: Resolution, seconds: float, fetched: bool = False) -> None:
        marker = {
            "title": self._definition["title"],
            "python": self._definition["python"],
            "interpreter": self._definition["interpreter"],
            "notes": [*self._definition["notes"], *resolution.notes],
            "packages": len(versions(resolution.text)),
            "seconds": round(seconds, 3),
            "fetched": fetched,
            "built_at": time.time(),
        }
        write_atomically(self._layout.marker(self._key), json.dumps(marker))


def shipped_lock(key: str) -> Path | None:
    """The lock of a curated definition that is part of the package."""
    return next((one for one in sorted(SHIPPED.glob("*.txt")) if lock_key(one) == key), None)


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Only raises: it may come in the middle of writing to the log."""
    raise _Stopped


@contextmanager
def _held(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another build of this environment is under way; waiting for it.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _stage(title: str) -> Iterator[None]:
    say(f"{title} …")
    started = time.monotonic()
    yield
    say(f"{title}: {time.monotonic() - started:.1f} s")


def _failed(layout: Layout, key: str, message: str) -> int:
    message = without_secrets(message)
    write_atomically(layout.failure(key), json.dumps({"cause": message, "failed_at": time.time()}))
    say(f"\nThe environment could not be built.\n{message}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
