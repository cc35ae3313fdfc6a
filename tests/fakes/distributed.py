"""What the ranks of distributed jobs run in tests: each says its rank, its local rank, its node, and the sum of all."""

from __future__ import annotations

from typing import Any

ALL_REDUCE = """
import os, socket, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
at = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
own = rank + 1
if rank == 0:
    with socket.create_server(at) as server:
        peers = [server.accept()[0].makefile("rw") for _ in range(world - 1)]
    total = own + sum(int(one.readline()) for one in peers)
    for one in peers:
        one.write(f"{total}\\\\n")
        one.flush()
else:
    until = time.monotonic() + 150
    while True:
        try:
            peer = socket.create_connection(at, 30).makefile("rw")
            break
        except ConnectionRefusedError:  # the first is still starting
            assert time.monotonic() < until
            time.sleep(0.02)
    peer.write(f"{own}\\\\n")
    peer.flush()
    total = int(peer.readline())
print(rank, os.environ["LOCAL_RANK"], os.environ["NODE_RANK"], total)
""".replace("\\\\n", "\\n")
MPI = """
import os
from mpi4py import MPI
world = MPI.COMM_WORLD
assert world.rank == int(os.environ["RANK"]) and world.size == int(os.environ["WORLD_SIZE"])
print(world.rank, os.environ["LOCAL_RANK"], os.environ["NODE_RANK"], world.allreduce(world.rank + 1))
"""


def fields(node: Any, variables: dict[str, str]) -> dict[str, Any]:
    """Of the task of a node, as `ranks.nodes` gives it, what it says of that."""
    said = {name: getattr(node, name) for name in ("command", "log", "ranks", "mpi", "ray")}
    return {**said, "variables": {**node.variables, **variables}, "timeout_s": 100}
