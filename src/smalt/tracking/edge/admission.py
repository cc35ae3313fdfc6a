"""Who may do what in a workspace, remembered for a moment: a run is logged to in less time than it takes to ask.

What ends in this process is forgotten at once (`ended`), what ends in another after `FRESH_S`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from smalt.arm.errors import not_found
from smalt.arm.ids import ResourceId
from smalt.arm.ports import Principal
from smalt.auth.living import FRESH_S, concerns

_REMEMBERED = 10_000
_Question = tuple[Principal, str, str]  # who, the action, the workspace's key


class Admission:
    """As in `TrackingApp`: `authorize` raises ArmError(403), `exists` tells whether a workspace is there.

    `account_of(workspace)` names its storage account.
    """

    def __init__(
        self,
        authorize: Callable[[Principal, str, str], None],
        exists: Callable[[str], bool],
        account_of: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authorize, self._exists, self._account_of, self._clock = authorize, exists, account_of, clock
        self._known: dict[_Question, tuple[float, str]] = {}
        self._changes = 0
        self._lock = Lock()

    def recent(self, principal: Principal, action: str, workspace: ResourceId) -> str | None:
        """The workspace's account, if `principal` was admitted within the last moment. Never waits."""
        known = self._known.get((principal, action, workspace.key))
        return known[1] if known is not None and self._clock() - known[0] < FRESH_S else None

    def __call__(self, principal: Principal, action: str, workspace: ResourceId) -> str:
        """The workspace's account. Raises ArmError: 403, and only then 404. Reads the database."""
        asked_at, changes = self._clock(), self._changes
        self._authorize(principal, action, workspace.key)
        if not self._exists(workspace.key):
            raise not_found("The workspace", str(workspace))
        account = self._account_of(workspace.key)
        with self._lock:
            if changes == self._changes:  # else something ended while we asked
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[principal, action, workspace.key] = (asked_at, account)
        return account

    def ended(self, key: str) -> None:
        """The resource `key` changed: whoever stands for it, and a workspace that it is, are asked for again."""
        with self._lock:
            self._changes += 1
            for one in [one for one in self._known if one[2] == key or concerns(one[0], key)]:
                del self._known[one]
