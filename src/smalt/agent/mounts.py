"""A private mount namespace for one task, so that inputs and the shared environment are really read-only.

The agent itself enters it (it has one thread), what it starts inherits it, and it vanishes with the last of them:
nothing is ever unmounted by hand. Plain as root, through a user namespace otherwise; where neither is possible,
`bind_read_only` says so and the caller copies.
"""

from __future__ import annotations

import os
from pathlib import Path

from smalt.agent import linux
from smalt.agent.beneath import open_below


class Namespace:
    """Entered at the first mount. `active` tells whether anything was mounted."""

    temporary = ""

    def __init__(self) -> None:
        self.active = False
        self.refused = ""  # why it is not possible here
        self._entered = False

    def bind_read_only(self, source: Path, target: Path, base: str = "") -> bool:
        """Show `source` at `target` (which exists and is of the same sort), read-only.

        `base`: as in `open_below`. False where that is impossible.
        """
        if not self._enter():
            return False
        try:
            opened = open_below(source, base)  # in this namespace: mounts of another cannot be bound
            try:
                linux.bind_read_only(f"/proc/self/fd/{opened}", str(target))
            finally:
                os.close(opened)
        except OSError as error:
            self.refused = f"mounting {target}: {error.strerror}"
            return False
        self.active = True
        return True

    def _enter(self) -> bool:
        if self._entered or self.refused:
            return self._entered
        try:
            _enter_plain()
        except OSError as plain:
            if not _user_namespaces_work():
                self.refused = f"this machine allows no mount namespaces ({plain.strerror})"
                return False
            _enter_as_user()
        self._entered = True
        return True


def _enter_plain() -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.make_mounts_private()


def _enter_as_user() -> None:
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    linux.make_mounts_private()


def _user_namespaces_work() -> bool:
    """Try it in a child first.

    Where user namespaces are restricted, unshare succeeds and leaves the process crippled.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _enter_as_user()
            linux.bind_read_only("/", "/")
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return status == 0
