"""Replicas on nodes: the name that the forwarder of a node knows each by, and the address that others are told.

Both sides make the names themselves, so that a node can have none of another's: its certificate is for those right
below its own alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from smalt.agent.wire import NOWHERE, Address, TaskState
from smalt.store.nodes import Machine

_NODES = "nodes.smalt"  # nobody is found by these names: they are what certificates say
PORTS = range(7500, 7600)  # a forwarder takes the first that is free, unless it was told one


def below(node: str) -> str:
    """What the names of a node's replicas end with."""
    return f"{hashlib.sha256(node.encode()).hexdigest()[:16]}.{_NODES}"


def name_of(node: str, task: str) -> str:
    """Of the task that the node knows by this id; as long as a name may be."""
    return f"{hashlib.sha256(task.encode()).hexdigest()[:32]}.{below(node)}"


def reached(state: TaskState, task: str, machine: Machine | None) -> TaskState:
    """As the node has said it, with the address by which it is reached from here.

    A node says the port of its forwarder; where the machine is, the server knows. One that cannot be reached is not
    ready, whatever it says of itself.
    """
    if not state.address:
        return state
    port = 0 if state.address.path else _port(state.address)
    if machine is None or not machine.address or not port:
        return replace(state, address=NOWHERE, ready=False)
    return replace(state, address=Address(f"tls:{name_of(machine.name, task)}@{machine.address}:{port}"))


def _port(address: Address) -> int:
    try:
        return address.port if 0 < address.port < 1 << 16 else 0
    except ValueError:
        return 0
