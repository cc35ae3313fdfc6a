"""Which replicas on nodes this machine reaches: one is ready only once it has been dialled, as the gateway does it.

What a node says of itself does not tell whether a firewall, a wrong address or a clock stands between.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from smalt.agent.wire import Address, Phase, TaskState
from smalt.engines.remote.serving import reached
from smalt.store.nodes import Machine

_LOG = logging.getLogger(__name__)
_PATIENCE_S, _PAUSE_S = 5.0, 1.0
Dial = Callable[[Address, float], AbstractContextManager[object]]  # within so many seconds; raises OSError


class Ways:
    """`told(owner)` once an address of its is reached, and when it is known why not. Without `dial` all are reached."""

    def __init__(self, dial: Dial | None, told: Callable[[str], None]) -> None:
        self._dial, self._told = dial, told
        self._reached: dict[str, Address] = {}  # by the task's id
        self._tried: dict[str, tuple[Address, str]] = {}  # and why it is not reached; empty: nothing is known yet
        self._lock = threading.Lock()
        self._ending = threading.Event()

    def to(self, state: TaskState, task: str, owner: str, machine: Machine | None) -> TaskState:
        """As the node has said it, with its address; not `ready`, and with the reason, until that is reached."""
        found = reached(state, task, machine)
        address = found.address
        if self._dial is None or not found.ready or not address or found.phase is Phase.EXITED:
            return found
        with self._lock:
            if self._reached.get(task) == address:
                return found
            tried = self._tried.get(task)
            if tried is None or tried[0] != address:
                self._tried[task] = tried = (address, "")
                threading.Thread(target=self._try, args=(task, address, owner), name="way", daemon=True).start()
        return replace(found, ready=False, error=tried[1])

    def forget(self, task: str) -> None:
        with self._lock:
            self._reached.pop(task, None)
            self._tried.pop(task, None)

    def close(self) -> None:
        self._ending.set()

    def _try(self, task: str, address: Address, owner: str) -> None:
        """Until it is reached, or another address is."""
        before = ""
        while not self._ending.is_set():
            why = self._dialled(address)
            with self._lock:
                if (tried := self._tried.get(task)) is None or tried[0] != address:
                    return
                if why:
                    self._tried[task] = (address, why)
                else:
                    del self._tried[task]
                    self._reached[task] = address
            if why != before or not why:
                if why:
                    _LOG.warning("%s", why)
                self._told(owner)
            if not why:
                return
            before = why
            self._ending.wait(_PAUSE_S)

    def _dialled(self, address: Address) -> str:
        """Empty, or why it is not reached."""
        assert self._dial is not None
        try:
            with self._dial(address, _PATIENCE_S):
                return ""
        except (OSError, ValueError) as error:  # ValueError: an address that can be none
            return (
                f"This machine does not reach {address.host}:{address.port} ({error or type(error).__name__}): open the"
                " port, or say another address or port there (smalt node run --address --port)."
            )
