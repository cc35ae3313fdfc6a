"""Which Python interpreters this machine has, found by looking at files: nothing is started, nothing is downloaded."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

OLDEST = (3, 8)  # uv makes no environments for older ones
_NAME = re.compile(r"^python3\.(\d+)$")
_NEWEST_MICRO = 999  # a minor version stands for its newest release: `>=3.9.5` is met by "3.9"


@dataclass(frozen=True)
class Interpreter:
    """`version` is the minor one, "3.11": a lock holds for all its patch releases."""

    version: str
    path: Path

    @property
    def minor(self) -> int:
        return int(self.version.split(".")[1])


@dataclass(frozen=True)
class Choice:
    interpreter: Interpreter
    exact: bool  # whether it is what was asked for


def find_interpreters(variables: Mapping[str, str]) -> tuple[Interpreter, ...]:
    """One for each minor version, oldest first. Our own wins, then uv's and pyenv's, then PATH."""
    found: dict[int, Interpreter] = {}
    for path in _candidates(variables):
        match = _NAME.match(path.name)
        if match and int(match.group(1)) not in found and int(match.group(1)) >= OLDEST[1] and _is_program(path):
            found[int(match.group(1))] = Interpreter(f"3.{match.group(1)}", path)
    return tuple(found[minor] for minor in sorted(found))


def choose(available: tuple[Interpreter, ...], specifier: str, preferred: str) -> Choice:
    """The interpreter for a PEP 440 `specifier`: `preferred` if it fits, else the newest that fits, or the nearest."""
    wanted = SpecifierSet(specifier)
    fitting = [one for one in available if _satisfies(one, wanted)]
    for one in fitting:
        if one.version == preferred:
            return Choice(one, exact=True)
    if fitting:
        return Choice(fitting[-1], exact=True)
    target = _asked_minor(wanted, preferred)
    return Choice(min(available, key=lambda one: (abs(one.minor - target), -one.minor)), exact=False)


def _satisfies(interpreter: Interpreter, wanted: SpecifierSet) -> bool:
    """Whether some release of this minor version satisfies `wanted`, as far as minor versions can tell."""
    for one in wanted:
        release = one.version.removesuffix(".*").split(".")
        if one.operator in ("==", "===", "~="):
            exact_patch = SpecifierSet(f"=={'.'.join(release[:2])}.*") if len(release) > 2 else None
            if not (exact_patch or SpecifierSet(_widened(str(one)))).contains(f"{interpreter.version}.0"):
                return False
        elif not any(one.contains(Version(f"{interpreter.version}.{micro}")) for micro in (0, _NEWEST_MICRO)):
            return False
    return True


def _widened(specifier: str) -> str:
    """`==3.8` means the whole minor version to a conda user."""
    return f"{specifier}.*" if re.match(r"^={2,3}3\.\d+$", specifier) else specifier


def _asked_minor(wanted: SpecifierSet, preferred: str) -> int:
    for one in wanted:
        release = Version(one.version.removesuffix(".*")).release
        if release[0] < 3:
            return 0
        if len(release) > 1:
            return release[1]
    return int(preferred.split(".")[1])


def _candidates(variables: Mapping[str, str]) -> Iterator[Path]:
    base = Path(getattr(sys, "_base_executable", "") or sys.executable)
    yield from (base.resolve(), base.resolve().parent / f"python3.{sys.version_info.minor}")
    home = Path(variables.get("HOME") or Path.home())
    managed = Path(variables.get("UV_PYTHON_INSTALL_DIR") or home / ".local/share/uv/python")
    pyenv = Path(variables.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    for folder in (managed, pyenv):
        for one in sorted(_listed(folder), reverse=True):
            yield from sorted(_listed(one / "bin"))
    for folder in (*variables.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin"):
        if folder:
            yield from sorted(_listed(Path(folder)))


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_program(path: Path) -> bool:
    """Whether it is an interpreter: no script that looks for one (pyenv's shims), nor one in a virtual environment."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return False
    in_environment = (path.parent.parent / "pyvenv.cfg").exists()
    return head[:2] != b"#!" and not in_environment and os.access(path, os.X_OK)
