"""What is recorded, under Azure's names: of deployments and jobs (their scope), and of the platform itself (no scope).

https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-machinelearningservices-workspaces-metrics
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal[
    "Count",
    "CountPerSecond",
    "MilliSeconds",
    "Seconds",
    "Bytes",
    "BytesPerSecond",
    "Percent",
    "MilliCores",
    "Unspecified",
]
INSTANCE = "instanceId"  # the label of one instance of a deployment, or of one task of a job
TYPE, REASON, STATE = "type", "reason", "State"  # of collected data its collection, and why it is lost; of instances


@dataclass(frozen=True)
class Metric:
    """`total`: how often something happened, so that its sum counts; else its values are looked at.

    `labels`: by what it is told apart. `adds`: what several deployments have at once is their sum, not a mean.
    `levels`: it is recorded by each of these sets of labels, and read of the first that has all that are asked for.
    """

    name: str
    unit: Unit
    title: str
    total: bool = False
    labels: tuple[str, ...] = ()
    adds: bool = False
    levels: tuple[tuple[str, ...], ...] = ()


STATUS, STATUS_CLASS, MODEL_STATUS = "statusCode", "statusCodeClass", "modelStatusCode"
ENVOY_STATUS = "envoy_response_code"  # what Azure calls the status where a deployment is asked
REQUESTS = Metric(
    "RequestsPerMinute", "Count", "Requests answered", True, (STATUS, STATUS_CLASS, MODEL_STATUS, ENVOY_STATUS)
)
NETWORK = Metric("NetworkBytes", "BytesPerSecond", "Bodies of requests and answers, in bytes a second", adds=True)
CONNECTIONS = Metric("ConnectionsActive", "Count", "Connections from the gateway to instances", adds=True)
CONNECTED = Metric(
    "NewConnectionsPerSecond", "CountPerSecond", "New connections from the gateway to instances, a second", adds=True
)
CAPACITY = Metric(
    "DeploymentCapacity",
    "Count",
    "Instances that run",
    labels=(INSTANCE, STATE),
    adds=True,
    levels=((), (STATE,), (INSTANCE, STATE)),
)
CPU_PART = Metric("CpuUtilizationPercentage", "Percent", "Processor time used, of the size's", labels=(INSTANCE,))
MEMORY_PART = Metric("CpuMemoryUtilizationPercentage", "Percent", "Memory used, of the size's", labels=(INSTANCE,))
GPU_PART = Metric("GpuUtilizationPercentage", "Percent", "GPU time used, of the size's", labels=(INSTANCE,))
GPU_MEMORY_PART = Metric(
    "GpuMemoryUtilizationPercentage", "Percent", "GPU memory used, of its GPUs'", labels=(INSTANCE,)
)
GPU_ENERGY = Metric("GpuEnergyJoules", "Unspecified", "Energy that its part of GPUs took, in joules", True, (INSTANCE,))
DISK = Metric(
    "DiskUtilization", "Percent", "How full the disk is that an instance writes to", labels=(INSTANCE, "disk")
)
LATENCY = Metric("RequestLatency", "MilliSeconds", "Time from the gateway's request to the replica's last byte")
CPU = Metric("CpuUtilizationMillicores", "MilliCores", "Processor time used", labels=(INSTANCE,))
MEMORY = Metric("CpuMemoryUtilizationMegabytes", "Unspecified", "Memory used, in MB", labels=(INSTANCE,))
GPU = Metric("GpuUtilizationMilliGPUs", "Unspecified", "GPU time used, in thousandths", labels=(INSTANCE,))
GPU_MEMORY = Metric("GpuMemoryUtilizationMegabytes", "Unspecified", "GPU memory used, in MB", labels=(INSTANCE,))
FAILURES = Metric("ModelFailures", "Count", "Requests that the scoring script or model failed on", True)
COLLECTED = Metric(
    "DataCollectionEventsPerMinute", "Count", "Lines of collected data that were written", True, (INSTANCE, TYPE)
)
UNCOLLECTED = Metric(
    "DataCollectionErrorsPerMinute", "Count", "Lines of collected data that were lost", True, (INSTANCE, REASON, TYPE)
)
WAIT = Metric("ModelWait", "MilliSeconds", "Time from a request's arrival at the replica until its model is called")
CALL = Metric("ModelLatency", "MilliSeconds", "Time of one call of the model, with all requests of its batch")
BATCH = Metric("ModelBatchSize", "Count", "Requests in one call of the model")
IN_FLIGHT = Metric("RequestsInFlight", "Count", "Requests that a replica has not answered yet", labels=(INSTANCE,))
QUEUED = Metric("QueuedJobs", "Count", "Jobs that wait for nodes", labels=("compute",))
ACTIVE = Metric("ActiveNodes", "Count", "Nodes of a cluster that jobs have")
IDLE = Metric("IdleNodes", "Count", "Nodes of a cluster that no job has")
STEP = Metric("ReconcileStepSeconds", "Seconds", "One step of the control loop", labels=("kind",))
WRITE = Metric("WriteTransactionSeconds", "Seconds", "One write transaction, from its begin to its commit")
FEED = Metric("FeedLagSeconds", "Seconds", "From a change to its being sent to a reader that waits for it")

OF_REPLICAS = (
    FAILURES,
    COLLECTED,
    UNCOLLECTED,
    WAIT,
    CALL,
    BATCH,
    IN_FLIGHT,
)  # what each inference server counts of itself
OF_INSTANCES = (CPU, MEMORY, GPU, GPU_MEMORY, CPU_PART, MEMORY_PART, GPU_PART, GPU_MEMORY_PART, GPU_ENERGY, DISK)
OF_DEPLOYMENTS = (REQUESTS, LATENCY, NETWORK, CONNECTIONS, CONNECTED, CAPACITY, *OF_REPLICAS, *OF_INSTANCES)
OF_JOBS = (CPU, MEMORY, GPU, GPU_MEMORY)
OF_COMPUTES = (ACTIVE, IDLE, *OF_JOBS)  # of clusters their nodes, of instances what they use
OF_THE_PLATFORM = (QUEUED, STEP, WRITE, FEED)
KNOWN = {one.name: one for one in (*OF_DEPLOYMENTS, *OF_COMPUTES, *OF_THE_PLATFORM)}
EACH = (50, 90, 95, 99)  # the percentiles of `RequestLatency` that have names of their own: RequestLatency_P95
