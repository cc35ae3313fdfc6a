"""What kinds need from the rest of the platform, as Protocols by plane; `app.py` plugs the implementations in.

Each has a contract suite in `tests/contract/` that every implementation passes.
"""

from __future__ import annotations

from smalt.arm.ports.compute import (
    Applied,
    BuiltEnvironment,
    Capacity,
    Engine,
    EnvironmentPlan,
    Environments,
    EnvironmentSpec,
    Feed,
    Isolation,
    Login,
    NodePlace,
    NodeProvider,
    ProvidedNode,
    Usage,
    WantedNode,
)
from smalt.arm.ports.identity import Grants, IdentityHeaders, Principal, Tokens
from smalt.arm.ports.serving import Counted, DeploymentRoute, EndpointRoute, Gateway, Traffic
from smalt.arm.ports.storage import AccountKey, AccountKeys, BlobFiles, BlobReader, Blobs, Carried, Carrier, LocalBlobs
from smalt.arm.ports.tracking import (
    MlflowModels,
    ModelRegistry,
    ModelVersion,
    NotReady,
    RunChanges,
    RunSpec,
    TrackedRun,
    TrackedRuns,
    Tracking,
)

__all__ = [
    "AccountKey",
    "AccountKeys",
    "Applied",
    "BlobFiles",
    "BlobReader",
    "Blobs",
    "BuiltEnvironment",
    "Capacity",
    "Carried",
    "Carrier",
    "Counted",
    "DeploymentRoute",
    "EndpointRoute",
    "Engine",
    "EnvironmentPlan",
    "EnvironmentSpec",
    "Environments",
    "Feed",
    "Gateway",
    "Grants",
    "IdentityHeaders",
    "Isolation",
    "LocalBlobs",
    "Login",
    "MlflowModels",
    "ModelRegistry",
    "ModelVersion",
    "NodePlace",
    "NodeProvider",
    "NotReady",
    "Principal",
    "ProvidedNode",
    "RunChanges",
    "RunSpec",
    "Tokens",
    "TrackedRun",
    "TrackedRuns",
    "Tracking",
    "Traffic",
    "Usage",
    "WantedNode",
]
