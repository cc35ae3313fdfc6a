"""A job's code, as a driver: a task on each node of its own cluster, which is all there from the beginning."""

import os
import socket

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ray.init()
nodes = [one["NodeID"] for one in ray.nodes() if one["Alive"]]
assert len(nodes) == int(os.environ["AZUREML_NODE_COUNT"]), ray.nodes()


@ray.remote(num_cpus=1)
def where() -> tuple[str, str]:
    return ray.get_runtime_context().get_node_id(), f"{os.environ['AZUREML_RUN_ID']} on {socket.gethostname()}"


on_each = [NodeAffinitySchedulingStrategy(one, soft=False) for one in nodes]
found = ray.get([where.options(scheduling_strategy=one).remote() for one in on_each])
assert [one for one, _ in found] == nodes, found
assert all(said.startswith(f"{os.environ['AZUREML_RUN_ID']} ") for _, said in found), found
print("\n".join(sorted(said for _, said in found)))
