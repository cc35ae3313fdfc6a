"""What an instance of a deployment has: its container's resources, the size that it says, or what those without have.

Quantities are Kubernetes' (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/), as far as
they make sense of a process: "100m", "0.5", "512Mi", "2G". Requests are what an instance counts with where it shares a
node, `limits.memory` is what it may use. What is not said is that of the size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from smalt.arm.errors import invalid
from smalt.arm.kind import Document
from smalt.arm.validation import Properties, nearest
from smalt.sched.sizes import GIB, SIZES, UNSAID, is_own, own
from smalt.sched.sizes import size_of as of_name
from smalt.store.document import part

FIELD = "containerResourceRequirements"
REQUESTS, LIMITS = "containerResourceRequests", "containerResourceLimits"
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,9})?|\.\d{1,9})(m|k|M|G|T|Ki|Mi|Gi|Ti)?", re.ASCII)
_UNITS = {
    None: Fraction(1), "m": Fraction(1, 1000), "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9),
    "T": Fraction(10**12), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40),
}  # fmt: skip
_LEAST_BYTES = 16 << 20  # less is a unit that was forgotten
_MOST_CORES, _MOST_BYTES, _MOST_GPUS = 10_000, 1 << 50, 1000


class ContainerResources(Properties):
    cpu: str | None = None
    memory: str | None = None
    gpu: str | None = None


class ContainerResourceRequirements(Properties):
    container_resource_requests: ContainerResources | None = None
    container_resource_limits: ContainerResources | None = None


class _Asked(NamedTuple):
    cpu: Fraction | None
    memory: Fraction | None
    gpu: Fraction | None


def size_of(properties: Mapping[str, Any], on_cluster: bool) -> str:
    """By which name the scheduler knows it; empty: as much as there is. Raises ArmError(400)."""
    said = str(properties.get("instanceType") or "") or (UNSAID.name if on_cluster else "")
    requests, limits = _asked(properties, REQUESTS), _asked(properties, LIMITS)
    if all(one is None for one in (*requests, *limits)):
        return said
    of = of_name(said or UNSAID.name)
    assert of is not None, "a deployment of an unknown size was admitted"
    cpu, memory, gpu = (
        request if request is not None else limit for request, limit in zip(requests, limits, strict=True)
    )
    counts = int(memory) if memory is not None else int(of.memory_gb * GIB)
    most = int(limits.memory) if limits.memory is not None else max(counts, of.most_bytes)
    return own(math.ceil(cpu) if cpu else of.cpus, counts, most, int(gpu) if gpu is not None else of.gpus)


def check(properties: Document) -> None:
    """Raises ArmError(400) where it says a size that there is not, or resources that cannot be."""
    size = properties.get("instanceType")
    if size and size.lower() not in SIZES and size.lower() != UNSAID.name:
        raise invalid(
            f"properties.instanceType: the size '{size}' is not known.{nearest(size.lower(), [*SIZES, UNSAID.name])}",
            "properties.instanceType",
        )
    requests, limits = _asked(properties, REQUESTS), _asked(properties, LIMITS)
    for name, request, limit in zip(_Asked._fields, requests, limits, strict=True):
        if request is not None and limit is not None and (request > limit or (name == "gpu" and request != limit)):
            given = part(part(properties, FIELD), REQUESTS)[name], part(part(properties, FIELD), LIMITS)[name]
            why = "GPUs are not shared: say the same" if name == "gpu" else "a request is no more than its limit"
            raise invalid(
                f"properties.{FIELD}: {given[0]} are requested of {name}, and its limit is {given[1]}; {why}.",
                f"properties.{FIELD}.{REQUESTS}.{name}",
            )
    if not properties.get(FIELD):
        properties.pop(FIELD, None)
        if str(properties.get("endpointComputeType")).lower() == "kubernetes":
            properties[FIELD] = {}  # clients that say Kubernetes read it


def _asked(properties: Mapping[str, Any], which: str) -> _Asked:
    given, field = part(part(properties, FIELD), which), f"properties.{FIELD}.{which}"
    cpu, memory, gpu = (_quantity(given.get(name), f"{field}.{name}") for name in _Asked._fields)
    if cpu is not None and not 0 < cpu <= _MOST_CORES:
        raise invalid(f'{field}.cpu: {given["cpu"]} cores; say some, such as "500m" or "2".', f"{field}.cpu")
    if memory is not None and not _LEAST_BYTES <= memory <= _MOST_BYTES:
        raise invalid(
            f'{field}.memory: {given["memory"]} is {int(memory)} bytes; say some, such as "512Mi" or "2Gi".',
            f"{field}.memory",
        )
    if gpu is not None and not (gpu.denominator == 1 and gpu <= _MOST_GPUS):
        raise invalid(f'{field}.gpu: {given["gpu"]} GPUs; say whole ones, such as "1".', f"{field}.gpu")
    return _Asked(cpu, memory, gpu)


def _quantity(given: str | None, field: str) -> Fraction | None:
    if not given:
        return None
    found = _QUANTITY.fullmatch(str(given).strip())
    if found is None:
        raise invalid(f'{field}: {str(given)[:80]!r} is no quantity such as "500m", "2" or "512Mi".', field)
    number, unit = found.groups()
    return Fraction(number) * _UNITS[unit]


def shown(size: str) -> str:
    """A size that `size_of` gave, for people."""
    known = of_name(size)
    return f"'{known.name}'" if known else "no size"


def field_of(size: str) -> str:
    """Which field says it."""
    return f"properties.{FIELD}" if is_own(size) else "properties.instanceType"
