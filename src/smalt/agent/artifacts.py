"""`./outputs` and `./logs`: what the command writes there is an artifact at once, live and without a copy."""

from __future__ import annotations

import os
from pathlib import Path

from smalt.agent.beneath import made
from smalt.agent.copying import remove_tree
from smalt.agent.journal import Journal
from smalt.agent.outputs import move_file, settle_links

FOLDERS = ("outputs", "logs")


def link_artifacts(work: Path, artifacts: Path, base: str) -> None:
    """Make both folders of the working directory links into `artifacts`; what the snapshot has there goes with them."""
    for name in FOLDERS:
        place, target = work / name, artifacts / name
        with made(target, base):
            pass
        if place.is_symlink() or place.is_file():
            continue  # the user's own snapshot says otherwise
        if place.is_dir():
            merge(place, target, base)
        place.symlink_to(target)


def collect_artifacts(work: Path, artifacts: Path, journal: Journal, base: str) -> None:
    """At the end: take over folders that the command made anew in place of ours, and leave only plain files."""
    for name in FOLDERS:
        place, target = work / name, artifacts / name
        settle_links(target, work, journal, base)
        if place.is_dir() and not place.is_symlink():
            merge(place, target, base)
            settle_links(target, work, journal, base)


def merge(source: Path, target: Path, base: str) -> None:
    """Move the content of `source` into `target` and remove `source`. `base` as in `made`."""
    for folder, folders, files in os.walk(source):
        with made(target / Path(folder).relative_to(source), base) as below:
            for name in [*files, *(one for one in folders if (Path(folder) / one).is_symlink())]:
                moved = Path(folder) / name
                if moved.is_symlink():
                    (below / name).unlink(missing_ok=True)
                    (below / name).symlink_to(os.path.realpath(moved))
                elif moved.is_file():
                    move_file(moved, below / name, "")
    remove_tree(source)
