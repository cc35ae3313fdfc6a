"""What a region offers: machine sizes and how much of them is used. The one region is this platform.

Sizes are Azure's names with their vCPUs, memory and disk; here they set what a node may use of this machine.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from smalt.arm.ids import ML, Scope
from smalt.arm.kind import Action, Kind, Request
from smalt.kinds.computes import quota
from smalt.sched import quotas
from smalt.sched.sizes import SIZES
from smalt.settings import REGION
from smalt.store.resources import Row
from smalt.store.tables import allocation

_NO_LIMIT = -1  # the machine shares what it has


def _vm_sizes(request: Request, _: Row | None) -> tuple[int, Any]:
    sizes = [
        {
            "name": size.name,
            "family": size.family,
            "vCPUs": size.cpus,
            "gpus": size.gpus,
            "osVhdSizeMB": 1047552,
            "maxResourceVolumeMB": int(size.disk_gb * 1024),
            "memoryGB": size.memory_gb,
            "lowPriorityCapable": True,
            "premiumIO": True,
            "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
        }
        for size in SIZES.values()
    ]
    return 200, {"value": sizes}


def _usages(request: Request, _: Row | None) -> tuple[int, Any]:
    with request.platform.database.read() as connection:
        nodes = connection.execute(
            select(func.count()).where(allocation.c.compute_id.contains("/computes/"))
        ).scalar_one()
        families = quotas.used(connection)
    capacity = request.platform.engine.capacity()
    base = f"/subscriptions/{request.id.subscription}/providers/{ML}/locations/{REGION}/usages"
    rows = [
        ("Cluster nodes", "totalNodes", nodes, 1000),
        ("Machine vCPUs", "machineCpus", 0, capacity.cpus),
        ("Machine GPUs", "machineGpus", 0, capacity.gpus),
        *((family, family, used, _NO_LIMIT) for family, used in sorted(families.items())),
    ]
    return 200, {
        "value": [
            {
                "id": f"{base}/{key}",
                "type": f"{ML}/usages",
                "unit": "Count",
                "currentValue": used,
                "limit": limit,
                "name": {"value": key, "localizedValue": title},
            }
            for title, key, used, limit in rows
        ]
    }


KIND = Kind(
    path="locations",
    title="location",
    scopes=frozenset({Scope.SUBSCRIPTION, Scope.GROUP}),
    actions={
        "vmSizes": Action(_vm_sizes, method="GET", needs_row=False),
        "quotas": Action(quota.read, method="GET", needs_row=False),
        "updateQuotas": Action(quota.update, needs_row=False),
        "usages": Action(_usages, method="GET", needs_row=False),
    },
)
