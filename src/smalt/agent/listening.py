"""Which TCP ports processes listen at, as the kernel's tables say: whoever may be there, only the task's own count."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_LISTEN = "0A"
_ANY_6 = "0" * 32
_HERE_4 = {"00000000": "127.0.0.1", "0100007F": "127.0.0.1"}  # any address, loopback
_HERE_6 = {
    _ANY_6: "::1",  # 127.0.0.1 may be another's: whether it is meant too is not in the table
    "0000000000000000FFFF00000100007F": "127.0.0.1",
    "00000000000000000000000001000000": "::1",
}
_LOOPBACK_6 = "0" * 31 + "1"


class Listener(NamedTuple):
    """A socket at a port of loopback: the kernel's number for it, and the address to connect to."""

    inode: str
    address: str


def listeners(pid: int) -> dict[int, list[Listener]]:
    """By port, in the network of that process; empty where it is gone."""
    found: dict[int, list[Listener]] = {}
    here_6 = _HERE_6 if _has_loopback_6(pid) else {**_HERE_6, _ANY_6: "127.0.0.1"}
    for name, here in (("tcp", _HERE_4), ("tcp6", here_6)):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
                words = line.split()
                address, _, port = words[1].partition(":")
                if words[3] == _LISTEN and address in here:
                    found.setdefault(int(port, 16), []).append(Listener(words[9], here[address]))
    return found


def _has_loopback_6(pid: int) -> bool:
    """Not where IPv6 is turned off, as in many containers: programs may listen at [::] all the same."""
    with contextlib.suppress(OSError):
        return _LOOPBACK_6 in Path(f"/proc/{pid}/net/if_inet6").read_text()
    return False


def sockets_of(pids: Iterable[int]) -> set[str]:
    """The kernel's numbers of the sockets that these processes have open."""
    found: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for one in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    to = str(one.readlink())
                    if to.startswith("socket:["):
                        found.add(to[8:-1])
    return found
