"""Computes: clusters that scale from zero, instances that are started and stopped, sizes and usage."""

import shlex
import socket
import time

import requests
from azure.ai.ml import command
from azure.ai.ml.entities import AmlCompute, ComputeInstance, Environment, ScriptReference, SetupScripts
from azure.core.exceptions import ResourceNotFoundError
from session import PLAIN_IMAGE, completed, connect, refused, step, unique, until

ml = connect()
find = socket.getaddrinfo  # not every resolver knows the names below localhost
socket.getaddrinfo = lambda name, *more, **named: find(
    "localhost" if str(name).endswith(".localhost") else name, *more, **named
)
ASKS = """
from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential
ml = MLClient.from_config(DefaultAzureCredential())
print(ml.workspace_name, *(one.name for one in ml.compute.list(compute_type="ComputeInstance")))
"""
cluster, instance = f"cluster-{unique}", f"box-{unique}"

# its environment is built meanwhile
making = ml.compute.begin_create_or_update(ComputeInstance(name=instance, size="Standard_DS3_v2"))

with step("a cluster"):
    made = ml.compute.begin_create_or_update(
        AmlCompute(
            name=cluster,
            size="Standard_DS3_v2",
            min_instances=0,
            max_instances=2,
            idle_time_before_scale_down=1,
            tier="low_priority",
            tags={"team": "a"},
            description="two at most",
        )
    ).result()
    assert made.provisioning_state == "Succeeded" and made.tier == "low_priority"
    assert made.max_instances == 2 and made.min_instances == 0 and made.idle_time_before_scale_down == 1
    assert ml.compute.get(cluster.upper()).name == cluster
    assert cluster in {one.name for one in ml.compute.list(compute_type="amlcompute")}
    made.max_instances = 3
    assert ml.compute.begin_update(made).result().max_instances == 3
    assert list(ml.compute.list_nodes(cluster)) == []

with step("it has a node while a job runs, and none when it was idle"):
    ml.environments.create_or_update(Environment(name=f"plain-for-{unique}", version="1", image=PLAIN_IMAGE))
    job = ml.jobs.create_or_update(
        command(command="sleep 2", environment=f"azureml:plain-for-{unique}:1", compute=cluster)
    )
    (node,) = until(lambda: list(ml.compute.list_nodes(cluster)), "a node")
    node = vars(node)  # this client keeps the names of the wire
    assert node["runId"] == job.name and node["nodeState"] == "running", node
    with refused("busy"):
        ml.compute.begin_delete(cluster).result()
    completed(ml, job.name)
    until(lambda: not list(ml.compute.list_nodes(cluster)), "no node after 1 s without a job")

with step("what cannot be is refused"):
    with refused("Standard_DS3_v2", status=400):
        ml.compute.begin_create_or_update(AmlCompute(name=f"x-{unique}", size="Standard_DS3_v22")).result()
    with refused(status=400):
        ml.compute.begin_create_or_update(
            AmlCompute(name=f"x-{unique}", size="Standard_DS3_v2", min_instances=3, max_instances=1)
        ).result()

with step("an instance runs JupyterLab, which lets its owner in alone"):
    box = making.result()
    assert box.state == "Running" and box.last_operation["operationName"] == "Create", vars(box)
    lab = next(one["endpointUri"] for one in box.services if one["displayName"] == "Jupyter Lab")
    token = ml._credential.get_token("https://management.azure.com/.default").token
    owner = {"Authorization": f"Bearer {token}"}
    began = time.perf_counter()
    assert "jupyter-config-data" in requests.get(lab, headers=owner, timeout=90).text
    print(f"   JupyterLab's page after {time.perf_counter() - began:.3f} s")
    for wrong in ({}, {"Authorization": "token x"}, {"Authorization": "Bearer x"}):
        assert requests.get(lab, headers=wrong, timeout=90).status_code == 401, wrong

with step("it is stopped, and started with a script, in which clients need no login; its files stay"):
    files = f"{lab.removesuffix('/lab')}/api/contents"
    (folder,) = (one["path"] for one in requests.get(f"{files}/Users", headers=owner, timeout=90).json()["content"])
    body = {"type": "file", "format": "text", "content": f"python -c {shlex.quote(ASKS)} > seen.txt"}
    requests.put(f"{files}/{folder}/ask.sh", json=body, headers=owner, timeout=90).raise_for_status()
    ml.compute.begin_stop(instance).result()
    box = ml.compute.get(instance)
    assert box.state == "Stopped" and box.last_operation["operationName"] == "Stop", vars(box)
    assert requests.get(lab, headers=owner, timeout=90).status_code == 409
    script = ScriptReference(path=f"{folder}/ask.sh", timeout_minutes=5)
    box.setup_scripts = SetupScripts(startup_script=script)
    ml.compute.begin_create_or_update(box).result()
    assert ml.compute.get(instance).state == "Stopped"
    ml.compute.begin_start(instance).result()
    box = ml.compute.get(instance)
    assert box.state == "Running" and box.last_operation["operationName"] == "Start", vars(box)
    seen = requests.get(f"{files}/{folder}/seen.txt", headers=owner, timeout=90).json()["content"]
    assert seen.split()[0] == ml.workspace_name and instance in seen.split(), seen

with step("it is deleted while it restarts"):
    ml.compute.begin_restart(instance)
    ml.compute.begin_delete(instance).result()
    with refused(kind=ResourceNotFoundError):
        ml.compute.get(instance)

with step("sizes and usage"):
    sizes = {one.name.lower(): one for one in ml.compute.list_sizes()}
    assert vars(sizes["standard_ds3_v2"])["vCPUs"] == 4, vars(sizes["standard_ds3_v2"])
    assert list(ml.compute.list_usage())

with step("the cluster is deleted"):
    ml.compute.begin_delete(cluster).result()
    assert cluster not in {one.name for one in ml.compute.list()}

print("PASSED")
