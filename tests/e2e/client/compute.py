"""Computes: clusters that scale from zero, instances that are started and stopped, sizes and usage."""

from azure.ai.ml import command
from azure.ai.ml.entities import AmlCompute, ComputeInstance, Environment
from azure.core.exceptions import ResourceNotFoundError
from session import PLAIN_IMAGE, completed, connect, refused, step, unique, until

ml = connect()
cluster, instance = f"cluster-{unique}", f"box-{unique}"

with step("a cluster"):
    made = ml.compute.begin_create_or_update(
        AmlCompute(
            name=cluster, size="Standard_DS3_v2", min_instances=0, max_instances=2, idle_time_before_scale_down=1,
            tier="low_priority", tags={"team": "a"}, description="two at most",
        )
    ).result()  # fmt: skip
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
    until(lambda: not list(ml.compute.list_nodes(cluster)), "no node after 1 s without a job", 15)

with step("what cannot be is refused"):
    with refused("Standard_DS3_v2", status=400):
        ml.compute.begin_create_or_update(AmlCompute(name=f"x-{unique}", size="Standard_DS3_v22")).result()
    with refused(status=400):
        ml.compute.begin_create_or_update(
            AmlCompute(name=f"x-{unique}", size="Standard_DS3_v2", min_instances=3, max_instances=1)
        ).result()

with step("an instance is created, stopped, started, deleted"):
    box = ml.compute.begin_create_or_update(ComputeInstance(name=instance, size="Standard_DS3_v2")).result()
    assert box.state == "Running", box.state
    ml.compute.begin_stop(instance).result()
    assert ml.compute.get(instance).state == "Stopped"
    ml.compute.begin_start(instance).result()
    assert ml.compute.get(instance).state == "Running"
    ml.compute.begin_restart(instance).result()
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
