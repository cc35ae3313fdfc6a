"""Azure's machine sizes, by name: what a node of a cluster or a deployment's instance may use.

Source of the figures: https://learn.microsoft.com/azure/virtual-machines/sizes
"""

from __future__ import annotations

from dataclasses import dataclass

from smalt.agent.wire import Limits


@dataclass(frozen=True)
class Size:
    name: str
    family: str
    cpus: int
    memory_gb: float
    gpus: int = 0


def _family(family: str, *sizes: tuple[str, int, float]) -> list[Size]:
    return [Size(name, family, cpus, memory) for name, cpus, memory in sizes]


_ALL = [
    *_family(
        "standardDSv2Family",
        ("Standard_DS1_v2", 1, 3.5), ("Standard_DS2_v2", 2, 7), ("Standard_DS3_v2", 4, 14), ("Standard_DS4_v2", 8, 28),
        ("Standard_DS5_v2", 16, 56), ("Standard_DS11_v2", 2, 14), ("Standard_DS12_v2", 4, 28),
        ("Standard_DS13_v2", 8, 56), ("Standard_DS14_v2", 16, 112), ("Standard_DS15_v2", 20, 140),
    ),
    *_family(
        "standardDv2Family",
        ("Standard_D1_v2", 1, 3.5), ("Standard_D2_v2", 2, 7), ("Standard_D3_v2", 4, 14), ("Standard_D4_v2", 8, 28),
        ("Standard_D5_v2", 16, 56), ("Standard_D11_v2", 2, 14), ("Standard_D12_v2", 4, 28), ("Standard_D13_v2", 8, 56),
        ("Standard_D14_v2", 16, 112),
    ),
    *(Size(f"Standard_D{n}s_v3", "standardDSv3Family", n, n * 4) for n in (2, 4, 8, 16, 32, 48, 64)),
    *(Size(f"Standard_D{n}_v3", "standardDv3Family", n, n * 4) for n in (2, 4, 8, 16, 32, 48, 64)),
    *(Size(f"Standard_D{n}s_v4", "standardDSv4Family", n, n * 4) for n in (2, 4, 8, 16, 32, 48, 64)),
    *(Size(f"Standard_D{n}s_v5", "standardDSv5Family", n, n * 4) for n in (2, 4, 8, 16, 32, 48, 64)),
    *(Size(f"Standard_D{n}as_v4", "standardDASv4Family", n, n * 4) for n in (2, 4, 8, 16, 32, 48, 64)),
    *(Size(f"Standard_D{n}a_v4", "standardDAv4Family", n, n * 4) for n in (2, 4, 8, 16, 32, 48, 64)),
    *(Size(f"Standard_E{n}s_v3", "standardESv3Family", n, n * 8) for n in (2, 4, 8, 16, 20, 32, 48, 64)),
    *(Size(f"Standard_E{n}s_v4", "standardESv4Family", n, n * 8) for n in (2, 4, 8, 16, 20, 32, 48, 64)),
    *(Size(f"Standard_E{n}s_v5", "standardESv5Family", n, n * 8) for n in (2, 4, 8, 16, 20, 32, 48, 64)),
    *(Size(f"Standard_E{n}ds_v4", "standardEDSv4Family", n, n * 8) for n in (2, 4, 8, 16, 20, 32, 48, 64)),
    *(Size(f"Standard_F{n}s_v2", "standardFSv2Family", n, n * 2) for n in (2, 4, 8, 16, 32, 48, 64, 72)),
    *(Size(f"Standard_FX{n}mds", "standardFXMDVSFamily", n, n * 21) for n in (4, 12, 24, 36, 48)),
    Size("Standard_A1_v2", "standardAv2Family", 1, 2),
    Size("Standard_A2_v2", "standardAv2Family", 2, 4),
    Size("Standard_A4_v2", "standardAv2Family", 4, 8),
    Size("Standard_B1s", "standardBSFamily", 1, 1),
    Size("Standard_B2s", "standardBSFamily", 2, 4),
    Size("Standard_B2ms", "standardBSFamily", 2, 8),
    Size("Standard_B4ms", "standardBSFamily", 4, 16),
    Size("Standard_NC6", "standardNCFamily", 6, 56, 1),
    Size("Standard_NC12", "standardNCFamily", 12, 112, 2),
    Size("Standard_NC6s_v2", "standardNCSv2Family", 6, 112, 1),
    Size("Standard_NC6s_v3", "standardNCSv3Family", 6, 112, 1),
    Size("Standard_NC12s_v3", "standardNCSv3Family", 12, 224, 2),
    Size("Standard_NC24s_v3", "standardNCSv3Family", 24, 448, 4),
    Size("Standard_NC4as_T4_v3", "standardNCASv3_T4Family", 4, 28, 1),
    Size("Standard_NC8as_T4_v3", "standardNCASv3_T4Family", 8, 56, 1),
    Size("Standard_NC24ads_A100_v4", "standardNCADSA100v4Family", 24, 220, 1),
    Size("Standard_ND40rs_v2", "standardNDv2Family", 40, 672, 8),
    Size("Standard_ND96asr_v4", "standardNDASv4_A100Family", 96, 900, 8),
    Size("Standard_NV6", "standardNVFamily", 6, 56, 1),
]  # fmt: skip

SIZES: dict[str, Size] = {size.name.lower(): size for size in _ALL}


def limits_of(name: str, machine_memory_bytes: int) -> Limits:
    """What a node of this size may use: the CPU weight by vCPUs, memory at most what the machine has."""
    size = SIZES.get(name.lower())
    if size is None:
        return Limits()
    return Limits(cpu_weight=size.cpus * 100, memory_bytes=min(int(size.memory_gb * 2**30), machine_memory_bytes))
