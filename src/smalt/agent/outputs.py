"""Outputs: where the command writes them, and what is done with it at the end.

rw_mount   the place in the blob store itself: what is written is there at once
append     the same, for a folder with much that others wrote
direct     the same place exists, the command gets its URI
upload     a private folder, moved to its place when the command has ended, however it ended: what a failed job wrote
           is what one needs to see why

Behind walls (`walled`) a single file is written to a private folder too: the folder of its place may hold others'.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from smalt.agent.beneath import held, made
from smalt.agent.copying import copy_file, is_inside, walk
from smalt.agent.failures import SetupError
from smalt.agent.inputs import safe_folder
from smalt.agent.journal import Journal
from smalt.agent.wire import OutputSpec, Places


def prepare_outputs(outputs: list[OutputSpec], places: Places, folder: Path, walled: bool = False) -> dict[str, str]:
    """What each output's placeholder stands for, by name. Raises SetupError, which names the output."""
    return {one.name: _value(one, places, folder, walled) for one in outputs}


def shown_outputs(outputs: list[OutputSpec], places: Places) -> list[Path]:
    """The folders of the store that the command writes into itself, for a task behind walls."""
    own = [one for one in outputs if one.mode != "direct" and not _is_private(one, walled=True)]
    return [places.path(one.target) for one in own if one.target]


def finish_outputs(
    outputs: list[OutputSpec], places: Places, folder: Path, work: Path, journal: Journal, walled: bool = False
) -> None:
    """Bring private outputs to their places and make all of them plain files. Raises SetupError."""
    for one in outputs:
        if not one.target:
            continue
        target = places.path(one.target)
        try:
            if _is_private(one, walled):
                private = _private(one, target, folder)
                settle_links(private, work, journal)
                with journal.stage(f"output '{one.name}' stored"):
                    _move(private, target, places.store)
            elif target.is_dir() and one.mode != "append":
                settle_links(target, work, journal, places.store)
        except OSError as error:
            raise SetupError(f"Output '{one.name}' could not be stored: {error.strerror or error}.") from error
        if one.type == "uri_file" and not target.exists():
            journal.say(f"output '{one.name}': the command wrote no such file")


def settle_links(root: Path, work: Path, journal: Journal, base: str = "") -> None:
    """Replace each link below `root` by a copy of what it shows, if that is the task's own; remove it otherwise.

    Blob storage has no links and never follows one, so a link left in place would be an artifact that is missing.
    `base`: the store's folder, where `root` is in it and others may write there too.
    """
    if root.is_symlink() or not root.is_dir():
        return
    with held(root, base) as opened:
        own, ours = Path(os.path.realpath(opened)), Path(os.path.realpath(work))
        shown = {relative: os.path.realpath(entry.path) for entry, relative in walk(opened) if entry.is_symlink()}
    for relative, real in shown.items():
        with held((own / relative).parent, base or str(own)) as folder:
            link = folder / Path(relative).name
            link.unlink()
            if not is_inside(real, own) and not is_inside(real, ours):
                journal.say(f"{root.name}/{relative}: a link that leads out of the job's folders; removed")
                continue
            below = str(ours) if is_inside(real, ours) else base or str(own)
            if not _copy_shown(Path(real), link, own / relative, below):
                journal.say(f"{root.name}/{relative}: a link to nothing, or to its own folder; removed")


def _copy_shown(real: Path, target: Path, place: Path, base: str) -> bool:
    """Copy what a link at `place` showed; False where there is nothing, or the folder that `place` is in."""
    if real.is_file():
        with held(real, base) as opened:
            copy_file(opened, target)
    elif real.is_dir() and not is_inside(str(place), real):
        with held(real, base) as opened:
            _copy_plain(opened, target)
    else:
        return False
    return True


def _copy_plain(source: Path, target: Path) -> None:
    """Copy a folder without the links in it: one that shows the way back to its own folder would never end."""
    target.mkdir()
    for entry, relative in walk(source):
        if entry.is_dir(follow_symlinks=False):
            (target / relative).mkdir()
        elif entry.is_file(follow_symlinks=False):
            copy_file(Path(entry.path), target / relative)


def _is_private(one: OutputSpec, walled: bool) -> bool:
    return one.mode == "upload" or (walled and one.type == "uri_file" and one.mode != "direct")


def _value(one: OutputSpec, places: Places, folder: Path, walled: bool) -> str:
    if one.mode not in ("rw_mount", "direct", "upload", "mount", "append"):
        raise SetupError(f"Output '{one.name}': the mode '{one.mode}' is not one that a job can have.")
    if not one.target:
        if one.mode == "direct" and one.uri:
            return one.uri
        raise SetupError(f"Output '{one.name}' has no place to be written to.")
    target = places.path(one.target)
    place = _private(one, target, folder) if _is_private(one, walled) else target
    folder_of = place.parent if one.type == "uri_file" else place
    try:
        with made(folder_of, "" if place is not target else places.store):
            pass
    except OSError as error:
        raise SetupError(f"Output '{one.name}': {error.strerror}: {one.uri or one.target.name}.") from error
    return one.uri if one.mode == "direct" and one.uri else str(place)


def _private(one: OutputSpec, target: Path, folder: Path) -> Path:
    place = safe_folder(one.name, folder)
    return place / target.name if one.type == "uri_file" else place


def _move(source: Path, target: Path, base: str) -> None:
    if not source.is_dir():
        if source.is_file():
            move_file(source, target, base)
        return
    for entry, relative in walk(source):
        if entry.is_dir(follow_symlinks=False):
            with made(target / relative, base):
                pass
        elif entry.is_file(follow_symlinks=False):
            move_file(Path(entry.path), target / relative, base)


def move_file(source: Path, target: Path, base: str) -> None:
    """By rename, so that nobody sees half a file; between file systems by a copy beside it. `base` as in `made`."""
    with made(target.parent, base) as folder:
        place = folder / target.name
        try:
            source.replace(place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            fresh = place.with_name(f".{os.urandom(6).hex()}.part")
            try:
                copy_file(source, fresh)
                fresh.replace(place)
            finally:
                fresh.unlink(missing_ok=True)
