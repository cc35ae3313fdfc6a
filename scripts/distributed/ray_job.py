"""A job's code, as a driver: a task on each node of its own cluster, which is all there from the beginning."""

import os
import socket

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ray.init()
nodes = [one["NodeID"] for one in ray.nodes() if one["Alive"]]
assert len(nodes) == int(os.environ["AZUREML_NODE_COUNT"]), ray.nodes()


@ray.remote(num_cpus=1)
def where() -> str:
    return f"{os.environ['AZUREML_RUN_ID']} on {socket.gethostname()}"


found = ray.get(
    [where.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one, soft=False)).remote() for one in nodes]
)
assert all(one.startswith(f"{os.environ['AZUREML_RUN_ID']} ") for one in found) and len(set(found)) == len(nodes), found
print("\n".join(sorted(found)))
