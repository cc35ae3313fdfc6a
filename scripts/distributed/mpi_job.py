"""A job's code: mpi4py's all-reduce and all-gather over all ranks."""

import os
import socket

from mpi4py import MPI

world = MPI.COMM_WORLD
assert world.allreduce(world.rank + 1) == world.size * (world.size + 1) // 2
hosts = world.allgather((socket.gethostname(), os.environ["NODE_RANK"]))
assert world.rank == int(os.environ["RANK"]) and world.size == int(os.environ["WORLD_SIZE"])
print(f"rank {world.rank} of {world.size} on {len(set(hosts))} nodes")
