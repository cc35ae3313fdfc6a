"""This machine's NVIDIA GPUs as their driver describes them: index → UUID → minor number, without its library.

`/proc/driver/nvidia/gpus/{bus id}/information` has a line each for the UUID, the bus and the minor number, the `N` of
`/dev/nvidiaN`. Indices are by bus, as with `CUDA_DEVICE_ORDER=PCI_BUS_ID` and in nvidia-smi; minor numbers need not be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")
_UUID = re.compile(r"(GPU|MIG)-[0-9a-f-]{36}")


@dataclass(frozen=True)
class Gpu:
    """`uuid` is empty where the driver does not tell it yet."""

    uuid: str
    minor: int


def machine_gpus(driver: Path = DRIVER) -> list[Gpu]:
    """By index; empty where there is no driver."""
    return [_gpu((one / "information").read_text(), index) for index, one in enumerate(sorted(_folders(driver)))]


def chosen(text: str, count: int, driver: Path = DRIVER) -> list[int]:
    """The indices that `text` names of the machine's `count` GPUs: indices or UUIDs with ',' between; empty: none.

    Raises ValueError, in words.
    """
    uuids = {one.uuid: index for index, one in enumerate(machine_gpus(driver)) if one.uuid}
    found: list[int] = []
    for one in filter(None, (word.strip() for word in text.split(","))):
        index = int(one) if one.isdecimal() else uuids.get(one, count)
        if index >= count:
            raise ValueError(f"'{one}' is none of the {count} GPUs of this machine")
        if index in found:
            raise ValueError(f"'{one}' is named twice")
        found.append(index)
    return found


def _folders(driver: Path) -> list[Path]:
    return [one for one in driver.iterdir() if (one / "information").is_file()] if driver.is_dir() else []


def _gpu(text: str, index: int) -> Gpu:
    lines = (line.partition(":") for line in text.splitlines())
    told = {key.strip(): value.strip() for key, _, value in lines}
    uuid, minor = told.get("GPU UUID", ""), told.get("Device Minor", "")
    return Gpu(uuid if _UUID.fullmatch(uuid) else "", int(minor) if minor.isdigit() else index)
