"""No address keeps the others out: one that holds very many connections gets a filter chain of its own, for few more.

Envoy counts the connections of a chain, not those of an address, and tells nobody when one comes. So the kernel's table
of sockets is read once a second, and only where there are enough sockets for a crowd (one line tells). What Envoy is
told follows from it: who is bounded, and how full it is, which shortens the time that idle connections may stay.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY_S = 1.0
FULL = 0.5  # from here on, idle connections are closed earlier
MOST_BOUNDED = 4  # addresses at once: together they get a quarter of all connections
IPV6_PREFIX = 64  # one customer's
HERE = "here"  # this machine, whichever of its addresses
PROC = Path("/proc/self/net")
_PASSING = {"03", "06", "0A"}  # SYN_RECV, TIME_WAIT, LISTEN: no process has a connection for them

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

log = logging.getLogger(__name__)


def own_networks() -> list[Network]:
    """This machine's addresses: loopback, and those of its interfaces."""
    loopback = [ipaddress.ip_network(one) for one in ("127.0.0.0/8", "::1/128")]
    families = (socket.AF_INET, socket.AF_INET6)
    found = [one.address for card in psutil.net_if_addrs().values() for one in card if one.family in families]
    return loopback + [ipaddress.ip_network(one.partition("%")[0]) for one in found]  # fe80::1%eth0


@dataclass(frozen=True)
class Room:
    """How many connections there may be at once: in all, from other machines; and of one address."""

    total: int = 10_000

    @property
    def others(self) -> int:
        return self.total // 2

    @property
    def crowd(self) -> int:
        """An address that holds more is bounded."""
        return self.total // 4

    @property
    def bound(self) -> int:
        """So many more it may open then."""
        return self.total // (4 * MOST_BOUNDED)

    @property
    def calm(self) -> int:
        """With no more than that it is bounded no longer."""
        return self.bound // 2


class Crowds:
    """Looks who is connected to `port`, and tells `bind` (networks to bound, pressure of 0 to 1) of it when it changes.

    A network stays bounded until few of its connections are left, or the server begins anew: to end its chain breaks
    what takes longer than Envoy lets it drain. This machine itself is never bounded.
    """

    def __init__(
        self,
        port: int,
        room: Room,
        bind: Callable[[Sequence[str], float], None],
        shared: bool = False,
        proc: Path = PROC,
        own: Callable[[], Sequence[Network]] = own_networks,
    ) -> None:
        """`shared`: other machines are let in, too. `own`: the addresses of this one."""
        self._port, self._room, self._bind, self._shared, self._proc = port, room, bind, shared, proc
        self._own = own
        self._bounded: list[str] = []
        self._told: tuple[list[str], float] | None = None

    def run(self, stopped: threading.Event) -> None:
        if not (self._proc / "tcp").exists():
            log.warning("no limit for the connections of one address: this system does not list them")
            return
        said = ""
        while not stopped.wait(EVERY_S):
            try:
                self.look()
            except Exception as error:  # such as a full disk: the next look goes on from what was told last
                if str(error) != said:
                    unexpected = not isinstance(error, OSError)
                    log.warning("who holds how many connections was not looked at: %r", error, exc_info=unexpected)
                said = str(error)

    def look(self) -> None:
        """Raises OSError where the kernel does not say who is connected, and whatever `bind` raises."""
        few = self._told is not None and not self._bounded and self._told[1] < FULL
        if few and self._sockets() <= self._room.crowd:
            return
        held = connections(self._port, self._proc, self._own())
        bounded = [one for one in self._bounded if held[one] > self._room.calm]
        for network, count in held.most_common(MOST_BOUNDED + 1):
            if network == HERE:
                continue
            if count > self._room.crowd and network not in bounded and len(bounded) < MOST_BOUNDED:
                log.warning("%s holds %d connections: it may open %d more", network, count, self._room.bound)
                bounded.append(network)
        self._bounded = bounded
        told = (bounded, round(min(1.0, self._fullness(held)), 1))
        if told != self._told:
            self._bind(*told)
            self._told = told

    def _fullness(self, held: Counter[str]) -> float:
        full = held.total() / self._room.total
        if not self._shared:
            return full
        return max(full, (held.total() - held[HERE]) / self._room.others)

    def _sockets(self) -> int:
        """TCP sockets in use, whoever has them; more than there can be where the kernel does not say."""
        words: list[str] = []
        for name in ("sockstat", "sockstat6"):
            with suppress(FileNotFoundError):  # a kernel without IPv6
                words += (self._proc / name).read_text().split()
        counts = [int(words[at + 2]) for at, word in enumerate(words) if word in ("TCP:", "TCP6:")]
        return sum(counts) if counts else sys.maxsize


def connections(port: int, proc: Path = PROC, own: Sequence[Network] = ()) -> Counter[str]:
    """How many connections to `port` each network has: an IPv4 address as /32, of IPv6 a /64; HERE has those of `own`.

    Raises OSError.
    """
    suffix = f":{port:04X}"
    found: Counter[str] = Counter()
    for name in ("tcp", "tcp6"):
        table = proc / name
        if name == "tcp6" and not table.exists():  # a kernel without IPv6
            continue
        for line in table.read_text().splitlines()[1:]:
            _, local, remote, state, _ = line.split(maxsplit=4)
            if local.endswith(suffix) and state not in _PASSING:
                found[remote.partition(":")[0]] += 1
    networks: Counter[str] = Counter()
    for written, count in found.items():
        networks[_network(written, own)] += count
    return networks


def _network(written: str, own: Iterable[Network]) -> str:
    """Of an address as the kernel writes it: words of 32 bits, each in the machine's order of bytes."""
    words = [bytes.fromhex(written[at : at + 8]) for at in range(0, len(written), 8)]
    raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    address = ipaddress.ip_address(raw)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in one for one in own):
        return HERE
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return f"{address}/32"
