"""The store that `smalt up` is told: it can be written, and it is the one that has this root's blobs."""

from __future__ import annotations

from pathlib import Path

from smalt.cli.database import has_rows
from smalt.cli.root import CliError
from smalt.settings import Settings


def absolute(store: str) -> str:
    """`store` as it is remembered: a folder by its whole path."""
    return store if "://" in store or not store else str(Path(store).expanduser().resolve())


def check_store_kept(remembered: Settings, wanted: Settings) -> None:
    """Raises CliError where the blobs of this root are in another store: in this one they would not be found."""
    if remembered.shown_store == wanted.shown_store or not has_rows(remembered):
        return
    raise CliError(
        f"the blobs of {wanted.root} are in {remembered.shown_store}; in {wanted.shown_store} they would not be found."
        " Leave --store out, or give the other store a root of its own (--root DIR). To move them, copy all objects"
        f" as they are and write store_url into {wanted.root / 'config.json'}."
    )


def check_store_answers(settings: Settings) -> None:
    """Raises CliError where a store that was told cannot be reached or written."""
    if not settings.store_url:
        return
    from smalt.doctor.finding import State
    from smalt.doctor.machine import Machine
    from smalt.doctor.stores import store

    found = store(Machine(settings))
    if found.state is State.NO:
        raise CliError(f"the store cannot be used: {found.fact}; {found.remedy}.")
