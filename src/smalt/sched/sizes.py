"""Azure's machine sizes, by name: what a node of a cluster or a deployment's instance may use.

Source of the figures: https://learn.microsoft.com/azure/virtual-machines/sizes. A node's disk is the size's temporary
one, where jobs work on Azure; sizes without have a node's 120 GiB for the system.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from smalt.agent.wire import Limits
from smalt.arm.ports import Capacity

GIB = 2**30
_SYSTEM_DISK_GB = 120


@dataclass(frozen=True)
class Size:
    name: str
    family: str
    cpus: int
    memory_gb: float
    gpus: int = 0
    disk_gb: float = _SYSTEM_DISK_GB
    most_gb: float = 0  # of memory that it may use, where that is more than it counts with

    @property
    def most_bytes(self) -> int:
        return int((self.most_gb or self.memory_gb) * GIB)


def _family(family: str, *sizes: tuple[str, int, float], disk_a_cpu: float = 0, disk_a_gb: float = 0) -> list[Size]:
    return [
        Size(name, family, cpus, memory, disk_gb=disk_a_cpu * cpus + disk_a_gb * memory) for name, cpus, memory in sizes
    ]


def _series(name: str, family: str, memory_a_cpu: int, cpus: tuple[int, ...], disk_a_cpu: float = 0) -> list[Size]:
    """Sizes that differ in how much of everything they have; `name` with `#` for the processors."""
    return [
        Size(name.replace("#", str(n)), family, n, n * memory_a_cpu, disk_gb=disk_a_cpu * n or _SYSTEM_DISK_GB)
        for n in cpus
    ]


_D = (2, 4, 8, 16, 32, 48, 64)
_E = (2, 4, 8, 16, 20, 32, 48, 64)
_ALL = [
    *_family(
        "standardDSv2Family",
        ("Standard_DS1_v2", 1, 3.5), ("Standard_DS2_v2", 2, 7), ("Standard_DS3_v2", 4, 14), ("Standard_DS4_v2", 8, 28),
        ("Standard_DS5_v2", 16, 56), ("Standard_DS11_v2", 2, 14), ("Standard_DS12_v2", 4, 28),
        ("Standard_DS13_v2", 8, 56), ("Standard_DS14_v2", 16, 112), ("Standard_DS15_v2", 20, 140),
        disk_a_gb=2,
    ),
    *_family(
        "standardDv2Family",
        ("Standard_D1_v2", 1, 3.5), ("Standard_D2_v2", 2, 7), ("Standard_D3_v2", 4, 14), ("Standard_D4_v2", 8, 28),
        ("Standard_D5_v2", 16, 56), ("Standard_D11_v2", 2, 14), ("Standard_D12_v2", 4, 28), ("Standard_D13_v2", 8, 56),
        ("Standard_D14_v2", 16, 112),
        disk_a_cpu=50,
    ),
    *_series("Standard_D#s_v3", "standardDSv3Family", 4, _D, 8),
    *_series("Standard_D#_v3", "standardDv3Family", 4, _D, 25),
    *_series("Standard_D#s_v4", "standardDSv4Family", 4, _D),
    *_series("Standard_D#s_v5", "standardDSv5Family", 4, _D),
    *_series("Standard_D#as_v4", "standardDASv4Family", 4, _D, 8),
    *_series("Standard_D#a_v4", "standardDAv4Family", 4, _D, 25),
    *_series("Standard_E#s_v3", "standardESv3Family", 8, _E[:-1], 16),
    Size("Standard_E64s_v3", "standardESv3Family", 64, 432, disk_gb=864),
    *_series("Standard_E#s_v4", "standardESv4Family", 8, _E),
    *_series("Standard_E#s_v5", "standardESv5Family", 8, _E),
    *_series("Standard_E#ds_v4", "standardEDSv4Family", 8, _E, 37.5),
    *_series("Standard_F#s_v2", "standardFSv2Family", 2, (2, 4, 8, 16, 32, 48, 64, 72), 8),
    *_series("Standard_FX#mds", "standardFXMDVSFamily", 21, (4, 12, 24, 36, 48), 42),
    Size("Standard_A1_v2", "standardAv2Family", 1, 2, disk_gb=10),
    Size("Standard_A2_v2", "standardAv2Family", 2, 4, disk_gb=20),
    Size("Standard_A4_v2", "standardAv2Family", 4, 8, disk_gb=40),
    Size("Standard_B1s", "standardBSFamily", 1, 1, disk_gb=4),
    Size("Standard_B2s", "standardBSFamily", 2, 4, disk_gb=8),
    Size("Standard_B2ms", "standardBSFamily", 2, 8, disk_gb=16),
    Size("Standard_B4ms", "standardBSFamily", 4, 16, disk_gb=32),
    Size("Standard_NC6", "standardNCFamily", 6, 56, 1, disk_gb=340),
    Size("Standard_NC12", "standardNCFamily", 12, 112, 2, disk_gb=680),
    Size("Standard_NC6s_v2", "standardNCSv2Family", 6, 112, 1, disk_gb=736),
    Size("Standard_NC6s_v3", "standardNCSv3Family", 6, 112, 1, disk_gb=736),
    Size("Standard_NC12s_v3", "standardNCSv3Family", 12, 224, 2, disk_gb=1474),
    Size("Standard_NC24s_v3", "standardNCSv3Family", 24, 448, 4, disk_gb=2948),
    Size("Standard_NC4as_T4_v3", "standardNCASv3_T4Family", 4, 28, 1, disk_gb=176),
    Size("Standard_NC8as_T4_v3", "standardNCASv3_T4Family", 8, 56, 1, disk_gb=352),
    Size("Standard_NC24ads_A100_v4", "standardNCADSA100v4Family", 24, 220, 1, disk_gb=64),
    Size("Standard_ND40rs_v2", "standardNDv2Family", 40, 672, 8, disk_gb=2948),
    Size("Standard_ND96asr_v4", "standardNDASv4_A100Family", 96, 900, 8, disk_gb=6000),
    Size("Standard_NV6", "standardNVFamily", 6, 56, 1, disk_gb=340),
]  # fmt: skip

SIZES: dict[str, Size] = {size.name.lower(): size for size in _ALL}
UNSAID = Size("defaultinstancetype", "", 1, 2)  # Azure's for instances on Kubernetes that say none, by name and memory
_OWN = re.compile(r"own:(\d+):(\d+):(\d+):(\d+)")


def own(cpus: int, memory_bytes: int, most_bytes: int, gpus: int) -> str:
    """What stands for a size where one deployment alone has it, with what its instances may use of memory at most."""
    return f"own:{cpus}:{memory_bytes}:{most_bytes}:{gpus}"


def is_own(name: str) -> bool:
    return _OWN.fullmatch(name) is not None


def size_of(name: str) -> Size | None:
    """Of an instance of a deployment: one of Azure's, the one of those that say none, or one of its own."""
    if found := _OWN.fullmatch(name):
        cpus, memory, most, gpus = map(int, found.groups())
        shown = f"{cpus} cores and {most / GIB:.3g} GiB"
        return Size(shown, "", cpus, memory / GIB, gpus, most_gb=most / GIB)
    return UNSAID if name.lower() == UNSAID.name else SIZES.get(name.lower())


def gpus_of(name: str) -> int:
    size = size_of(name)
    return size.gpus if size else 0


def capacity_of(name: str, machine: Capacity) -> Capacity:
    """What an instance of this size has: at most the machine's memory; all of the machine, where no size is given."""
    size = size_of(name)
    if size is None:
        return machine
    return Capacity(size.cpus, min(size.most_bytes, machine.memory_bytes), size.gpus or machine.gpus)


def limits_of(name: str, machine_memory_bytes: int, setting: str = "", shm_bytes: int = 0) -> Limits:
    """What a node of this size may use: the CPU weight by vCPUs, memory at most what the machine has.

    `setting` is what says the size, for whom it is too little. `shm_bytes` are asked for: no more than the memory.
    """
    size = size_of(name)
    if size is None:
        return Limits(shm_bytes=min(shm_bytes, machine_memory_bytes))
    memory = min(size.most_bytes, machine_memory_bytes)
    by = f" ({setting})" if setting else ""
    return Limits(
        cpu_weight=size.cpus * 100,
        memory_bytes=memory,
        disk_bytes=int(size.disk_gb * GIB),
        shm_bytes=min(shm_bytes, memory),
        memory_is_all=size.most_bytes > memory,
        more=f"Its VM size is {size.name}{by}; a larger one has more.",
    )
