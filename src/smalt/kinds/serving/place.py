"""Of several servers one serves all endpoints: the one that has the gateway's row. Its machine has their replicas.

The first that has something to serve takes it; where that one is lost, the next. What it served is then started anew,
because a deployment finds none of its replicas.
"""

from __future__ import annotations

from smalt.agent.wire import Address
from smalt.arm.kind import Document, Step
from smalt.arm.platform import Platform
from smalt.arm.ports.serving import ENDPOINTS, GATEWAY
from smalt.store import resources
from smalt.store.database import exclusive
from smalt.store.resources import Row


def moved(platform: Platform, row: Row) -> Step | None:
    """The step that gives an endpoint, a deployment or the gateway to the server that serves; None: it is here."""
    if not platform.servers.me:
        return None
    home = _home(platform) or _take(platform)
    return None if row.home == home == platform.servers.me else Step(row.state, row.status, after=0, home=home)


def _home(platform: Platform) -> str:
    """Who serves; empty: nobody that lives."""
    with platform.database.read() as connection:
        gateway = resources.get(connection, GATEWAY)
    home = gateway.home if gateway else None
    return "" if home is None or platform.servers.lost(home) else home


def withdraw(platform: Platform) -> bool:
    """Empty this server's gateway where another serves: its routes lead to replicas that have ended.

    False: Envoy has not taken that over yet.
    """
    if _home(platform) in ("", platform.servers.me):
        return True
    with platform.database.write() as connection:
        exclusive(connection, GATEWAY)  # nobody takes it meanwhile
        gateway = resources.get(connection, GATEWAY)
        if gateway is None or gateway.home in (None, platform.servers.me):
            return True
        version = platform.gateway.apply([])
    return platform.gateway.in_force(version)


def _take(platform: Platform) -> str:
    with platform.database.write() as connection:
        exclusive(connection, GATEWAY)
        gateway, now, me = resources.get(connection, GATEWAY), platform.clock(), platform.servers.me
        if gateway is None:
            resources.insert(
                connection,
                key=GATEWAY,
                written=GATEWAY,
                kind="gateways",
                parent="",
                name="main",
                spec={},
                status={},
                state="Creating",
                now=now,
                by="smalt",
                due_at=now,
                home=me,
            )
            return me
        if gateway.home not in (None, me) and not platform.servers.lost(gateway.home, connection):
            return str(gateway.home)  # another came first
        resources.settle_at(connection, GATEWAY, me)
        resources.settle_all_at(connection, ENDPOINTS, me)  # no step of theirs may be due
        resources.merge_status(connection, GATEWAY, {"looked_at_all": 0})
        resources.poke(connection, [GATEWAY], now)
        return me


def addresses_here(platform: Platform, live: Document) -> dict[str, Address]:
    """Of what a deployment has live, by replica. What another server's machine has is nobody's address on this one."""
    return dict(live.get("addresses", {})) if live.get("server") in (None, "", platform.servers.me) else {}
