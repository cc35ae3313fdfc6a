"""Inputs as paths the command can read: mounted read-only, copied, or given as they are.

literal                      its value
ro_mount, eval_mount         the source itself, read-only for everyone (a copy without write permission where the
                             machine allows no mounts)
download, eval_download      a private copy that may be changed
rw_mount                     the source itself
direct                       its URI
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from smalt.agent.barrier import Barrier
from smalt.agent.beneath import held
from smalt.agent.copying import copy_file, copy_tree
from smalt.agent.failures import SetupError
from smalt.agent.fetch import fetch
from smalt.agent.journal import Journal
from smalt.agent.mounts import Namespace
from smalt.agent.wire import InputSpec, Places

_MOUNTED = ("ro_mount", "eval_mount")
_COPIED = ("download", "eval_download")


def prepare_inputs(
    inputs: list[InputSpec],
    places: Places,
    folder: Path,
    mounts: Barrier,
    journal: Journal,
    ca_bundle: str = "",
) -> dict[str, str]:
    """What each input's placeholder stands for, by name. Raises SetupError, which names the input."""
    return {one.name: _value(one, places, folder, mounts, journal, ca_bundle) for one in inputs}


def safe_folder(name: str, base: Path) -> Path:
    """A folder for an input or output of this name: the name itself where it is a plain one."""
    if re.fullmatch(r"\w[\w.\- ]{0,99}", name):
        return base / name
    return base / ("_" + os.fsencode(name).hex()[:200])


def _value(one: InputSpec, places: Places, folder: Path, mounts: Barrier, journal: Journal, ca_bundle: str) -> str:
    if one.type == "literal":
        return one.value
    if one.mode == "direct":
        return one.uri or one.url
    if one.mode not in (*_MOUNTED, *_COPIED, "rw_mount"):
        raise SetupError(f"Input '{one.name}': the mode '{one.mode}' is not one that a job can have.")
    place = safe_folder(one.name, folder)
    if not one.source:
        if not one.url:
            raise SetupError(f"Input '{one.name}' has neither a source nor an address.")
        with journal.stage(f"input '{one.name}' fetched"):
            return str(fetch(one.url, place, one.name, ca_bundle))
    source = places.path(one.source)
    if not source.exists():
        shown = one.uri or one.source.name
        raise SetupError(f"Input '{one.name}': nothing is at {shown}. Check that it was uploaded or written.")
    if one.mode == "rw_mount":
        if not isinstance(mounts, Namespace):
            mounts.show(source, writable=True, base=places.store)
        return str(source)
    name = PurePosixPath(one.source.name).name if one.named else source.name
    target = place if source.is_dir() and not one.named else place / name
    (target if source.is_dir() else place).mkdir(parents=True, exist_ok=True)
    if one.mode in _COPIED:
        with journal.stage(f"input '{one.name}' copied"):
            _copy(one.name, source, target, journal, 0, places.store)
    else:
        _mount(one.name, source, target, mounts, journal, places.store)
    return str(target)


def _mount(name: str, source: Path, target: Path, mounts: Barrier, journal: Journal, base: str) -> None:
    if not source.is_dir():
        target.touch()
    if mounts.bind_read_only(source, target, base):
        return
    journal.say(f"input '{name}': {mounts.refused}; it is a private copy without write permission instead")
    if not source.is_dir():
        target.unlink()
    _copy(name, source, target, journal, 0o400, base)


def _copy(name: str, source: Path, target: Path, journal: Journal, file_mode: int, base: str) -> None:
    try:
        with held(source, base) as opened:
            if not source.is_dir():
                copy_file(opened, target, file_mode)
                return
            copy_tree(opened, target, lambda what: journal.say(f"input '{name}' without {what}"), file_mode)
    except OSError as error:
        raise SetupError(f"Input '{name}' could not be copied: {error.strerror}.") from error
    if file_mode:
        for folder, _, _ in os.walk(target):
            os.chmod(folder, 0o500)  # noqa: PTH101
