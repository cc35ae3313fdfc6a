"""Ports for processes that look for each other: a block of PORTS_EACH for a node, which nobody else has on its machine.

Machines that dialled in are told apart by their addresses: several nodes may be on one.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from random import randrange

from sqlalchemy import Connection, outerjoin, select

from smalt.store.database import exclusive
from smalt.store.tables import allocation, node

PORTS_EACH = 8
_FAMILIES = (socket.AF_INET, socket.AF_INET6) if socket.has_dualstack_ipv6() else (socket.AF_INET,)
_BLOCKS = range(20_000, 32_000, PORTS_EACH)  # below the ports that Linux gives out by itself


def free_blocks(connection: Connection, addresses: Sequence[str]) -> list[int]:
    """The first port of each node's block; until they are in `allocation`, the transaction holds the lock.

    `addresses`: of each node's machine; empty: this one. They begin anywhere: another platform on a machine has the
    same ports, and what it gives out listens only later. What else listens is seen on this machine alone.
    """
    exclusive(connection, "ports")
    used, found = _used(connection), list[int]()
    start = randrange(len(_BLOCKS))
    blocks = (*_BLOCKS[start:], *_BLOCKS[:start])
    for place in map(_place, addresses):
        taken = {*used.get(place, ()), *found}
        block = next((one for one in blocks if one not in taken and (place or _unused(one))), None)
        if block is None:
            raise RuntimeError(f"{place or 'this machine'} has no ports left for jobs on several nodes")
        found.append(block)
    return found


def _used(connection: Connection) -> dict[str, set[int]]:
    """By the machine on which they are used."""
    held = select(allocation.c.ports, node.c.address).where(allocation.c.ports.is_not(None))
    found: dict[str, set[int]] = {}
    for row in connection.execute(held.select_from(outerjoin(allocation, node, allocation.c.machine == node.c.name))):
        found.setdefault(_place(row.address or ""), set()).add(row.ports)
    return found


def _place(address: str) -> str:
    return "" if is_loopback(address) else address


def is_loopback(address: str) -> bool:
    """Whether it is met on its own machine alone."""
    return address.startswith("127.")


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
