"""Ports for processes that look for each other: a block of PORTS_EACH for a node, which nobody else here has."""

from __future__ import annotations

import socket
from random import randrange

from sqlalchemy import Connection, select

from smalt.store.database import exclusive
from smalt.store.tables import allocation

PORTS_EACH = 8
_FAMILIES = (socket.AF_INET, socket.AF_INET6) if socket.has_dualstack_ipv6() else (socket.AF_INET,)
_BLOCKS = range(20_000, 32_000, PORTS_EACH)  # below the ports that Linux gives out by itself


def free_blocks(connection: Connection, count: int) -> list[int]:
    """The first port of each of `count` blocks; until they are in `allocation`, the transaction holds the lock.

    They begin anywhere: another platform on this machine has the same ports, and what it gives out listens only later.
    """
    exclusive(connection, "ports")
    used = set(connection.execute(select(allocation.c.ports).where(allocation.c.ports.is_not(None))).scalars())
    start = randrange(len(_BLOCKS))
    blocks = (one for one in (*_BLOCKS[start:], *_BLOCKS[:start]) if one not in used and _unused(one))
    found = [port for port, _ in zip(blocks, range(count), strict=False)]
    if len(found) < count:
        raise RuntimeError("this machine has no ports left for jobs on several nodes")
    return found


def _unused(first: int) -> bool:
    """Whether nobody else listens in the block now, at any address of either family."""
    return all(_free(family, port) for port in range(first, first + PORTS_EACH) for family in _FAMILIES)


def _free(family: socket.AddressFamily, port: int) -> bool:
    with socket.socket(family) as probe:
        if family is socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
