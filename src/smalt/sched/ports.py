"""Ports for processes that look for each other: a block of PORTS_EACH for a node, which nobody else here has."""

from __future__ import annotations

import socket

from sqlalchemy import Connection, select

from smalt.store.database import exclusive
from smalt.store.tables import allocation

_PORTS = (20_000, 32_000)  # below those that Linux gives out by itself
PORTS_EACH = 8


def free_blocks(connection: Connection, count: int) -> list[int]:
    """The first port of each of `count` blocks; until they are in `allocation`, the transaction holds the lock."""
    exclusive(connection, "ports")
    used = set(connection.execute(select(allocation.c.ports).where(allocation.c.ports.is_not(None))).scalars())
    blocks = (port for port in range(*_PORTS, PORTS_EACH) if port not in used and _unused(port))
    found = [port for port, _ in zip(blocks, range(count), strict=False)]
    if len(found) < count:
        raise RuntimeError("this machine has no ports left for jobs on several nodes")
    return found


def _unused(port: int) -> bool:
    """Whether nobody else listens there now."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
