"""What killed processes and abandoned uploads left goes by its age, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from smalt.blob.store.blocks import Spools
from smalt.blob.store.objects import ObjectStore, Remote
from smalt.blob.store.staging import Staging
from smalt.blob.store.tag_index import TagIndex

SWEEP_S = 600.0
STORE_SWEEP_S = 24 * 3600.0  # that of a remote store reads through all that grows there
_log = logging.getLogger(__name__)


class Sweeper:
    """`run` until it is told to stop; `sweep` once. All may block."""

    def __init__(
        self, staging: Staging, spools: Spools, tags: TagIndex, store: ObjectStore, clock: Callable[[], float]
    ) -> None:
        self._staging, self._spools, self._tags = staging, spools, tags
        self._store, self._clock = store, clock
        self._next_of_store = 0.0

    def run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                self.sweep()
                self._sweep_store()
            except Exception:  # the edge: without this thread the disk fills
                _log.exception("what was left could not be swept")
            stopped.wait(SWEEP_S)

    def sweep(self) -> None:
        """What lies on this machine, and the index of tags."""
        try:
            self._staging.sweep(self._clock())
            self._spools.sweep()
            self._tags.sweep()
        except (OSError, SQLAlchemyError):
            _log.exception("the staging area could not be swept")

    def _sweep_store(self) -> None:
        if not isinstance(self._store, Remote) or self._clock() < self._next_of_store:
            return
        try:
            self._store.sweep()
        except OSError as error:
            _log.warning("the object store could not be swept: %s", error)
            return
        self._next_of_store = self._clock() + STORE_SWEEP_S
