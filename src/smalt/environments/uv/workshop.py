"""Where source distributions become wheels: whatever of other people's code a build runs, it runs here.

Behind the walls that the node gives (`smalt.agent.walled`), with a throw-away folder for uv's cache. What comes out is
wheels, which run nothing when they are installed, and the versions that uv chose; both may be the work of that code,
so they are looked at before they are used. Without walls the folder is thrown away all the same: nothing that was
built here comes into the shared cache, from which other environments take.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from smalt.agent.beneath import open_below
from smalt.agent.walled import Room
from smalt.agent.wire import WallsSpec
from smalt.environments.uv.layout import Layout
from smalt.environments.uv.locks import Resolution, requirement, versions
from smalt.environments.uv.process import Ran, Uv

_FILES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "UV_CONFIG_FILE")
_INDEXES = ("UV_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
_KEPT_OUT = (
    "SSH_AUTH_SOCK",
    "GIT_SSH_COMMAND",
    "NETRC",
    "SSL_CLIENT_CERT",
)  # they lead to what is the platform's user's


class Workshop:
    """One build's. `uv` runs in here; `close` throws the folder away. `walls` is JSON, empty for none."""

    def __init__(
        self, layout: Layout, key: str, walls: str, binary: str, variables: Mapping[str, str], interpreter: str
    ) -> None:
        self._folder, self._kept = layout.scratch(key), layout.wheels(key)
        self._interpreter = interpreter
        self.close()  # of a build that was killed
        (self._folder / "tmp").mkdir(mode=0o700, parents=True)
        cache = str(self._folder / "cache")
        if not walls:
            self.uv = Uv(binary, cache, variables, scratch=self._folder)
            return
        given = WallsSpec(**json.loads(walls))
        room = Room(given, str(self._folder), [binary, *_readable(variables)], [interpreter])
        inside = {name: value for name, value in variables.items() if name not in _KEPT_OUT}
        inside |= {"HOME": room.temporary, "TMPDIR": room.temporary, "XDG_CONFIG_HOME": str(_configuration(variables))}
        inside |= {"USER": "smalt", "LOGNAME": "smalt"}
        room = replace(room, walls=replace(given, home=room.temporary))
        self.uv = Uv(binary, cache, inside, scratch=self._folder, entering=room.entering())

    def close(self) -> None:
        for here, folders, _ in os.walk(self._folder):
            for one in (Path(here, name) for name in folders):
                if not one.is_symlink():
                    one.chmod(0o700)  # builds leave folders behind that nobody may write to
        shutil.rmtree(self._folder, ignore_errors=True)

    def wheels(self, resolution: Resolution) -> dict[str, Path]:
        """Those that were built of `sources` before, by name: they are kept as the lock is."""
        return dict(_named(self._kept.glob("*.whl"), resolution))

    def forget(self) -> None:
        """The wheels were of a lock that is no more."""
        shutil.rmtree(self._kept, ignore_errors=True)

    def build(self, resolution: Resolution, options: str, arguments: list[str]) -> Ran:
        """Make the wheels of all `sources`, from the very sources that the lock names."""
        wanted = "\n".join(requirement(resolution.text, name) for name in resolution.sources)
        command = [
            "pip",
            "install",
            "--python",
            self._interpreter,
            "--target",
            str(self._folder / "target"),
            "--no-deps",
        ]
        command += ["--only-binary", ":all:", *(word for one in resolution.sources for word in ("--no-binary", one))]
        ran = self.uv.run([*command, *arguments, "-r", "-"], f"{options}\n{wanted}", live="--offline" not in arguments)
        if ran.code == 0:
            self._keep(resolution)
        return ran

    def _keep(self, resolution: Resolution) -> None:
        made = (Path(folder, name) for folder, _, names in os.walk(self._folder / "cache") for name in names)
        self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _, wheel in _named(made, resolution):
            opened = open_below(wheel, str(self._folder))
            try:
                if stat.S_ISREG(os.fstat(opened).st_mode):
                    scratch = self._kept / ".new"
                    shutil.copyfile(f"/proc/self/fd/{opened}", scratch)
                    with scratch.open("rb") as copied:  # it is used for ever: whole also after a loss of power
                        os.fsync(copied.fileno())
                    scratch.replace(self._kept / wheel.name)
            finally:
                os.close(opened)


def pinned(resolution: Resolution, wheels: Mapping[str, Path]) -> str:
    """The lock's text with the built wheels' own hashes in place of their sources'."""
    text = resolution.text
    for name, wheel in wheels.items():
        line = requirement(text, name)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        version = line.partition("--hash=")[0].rstrip(" \\\n")
        text = text.replace(line, f"{version} --hash=sha256:{digest}\n")
    return text


def _named(found: Iterator[Path], resolution: Resolution) -> Iterator[tuple[str, Path]]:
    """Those that are wheels of the resolution's sources, in their versions."""
    locked = versions(resolution.text)
    for path in found:
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
        except (InvalidWheelFilename, ValueError):
            continue
        if name in resolution.sources and str(version) == locked.get(canonicalize_name(name)):
            yield name, path


def _configuration(variables: Mapping[str, str]) -> Path:
    return Path(variables.get("XDG_CONFIG_HOME") or Path(variables.get("HOME") or Path.home(), ".config"))


def _readable(variables: Mapping[str, str]) -> list[str]:
    """What the machine's own configuration of uv leads to: certificates, settings, folders of packages."""
    named = [variables.get(name, "") for name in _FILES] + [str(_configuration(variables) / "uv" / "uv.toml")]
    words = [word for name in _INDEXES for word in re.split(r"[,\s]+", variables.get(name, ""))]
    named += [urlsplit(word.partition("=")[2] or word).path for word in words if "://" not in word or "file://" in word]
    return [one for one in named if one.startswith("/") and Path(one).exists()]
