"""The curated environments: definitions of our own, a file each in `curated/`, for names that Azure ships as images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from typing import Any

import yaml

from smalt.arm.errors import ArmError, invalid

_REFERENCE = re.compile(
    r"^(?:azureml:(?!//))?(?:azureml://registries/[^/]+/environments/)?"
    r"(?P<name>[^/@:]+)(?:[@:].*|/(?:versions|labels)/.*)?$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Curated:
    """`names` are all that it answers to, the first is the one to show; `conda_file` is YAML text."""

    names: tuple[str, ...]
    version: str
    image: str
    description: str
    conda_file: str
    tags: Mapping[str, str]

    def properties(self) -> dict[str, Any]:
        """As `Environments.curated` gives it."""
        return {
            "version": self.version,
            "image": self.image,
            "description": self.description,
            "conda_file": self.conda_file,
            "tags": dict(self.tags),
        }


def load_curated() -> tuple[Curated, ...]:
    """Read the definitions; the order is that of the files' names."""
    folder = resources.files("smalt.environments.uv").joinpath("curated")
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".yml")), key=lambda one: one.name)
    return tuple(_read(yaml.safe_load(one.read_text())) for one in files)


def find_curated(definitions: tuple[Curated, ...], reference: str) -> Curated | None:
    """By any name, in any case, with or without `azureml:`, a registry, a version or a label."""
    match = _REFERENCE.match(reference.strip())
    name = (match["name"] if match else reference).lower()
    for one in definitions:
        if name in (known.lower() for known in one.names):
            return one
    return None


def unknown(definitions: tuple[Curated, ...], reference: str) -> ArmError:
    """The error for a name that we do not ship, with the names that come near."""
    names = [name for one in definitions for name in one.names]
    lowered = {name.lower(): name for name in names}
    near = [lowered[one] for one in get_close_matches(reference.lower(), lowered, n=3, cutoff=0.5)]
    shown = (
        f"The nearest: {', '.join(near)}." if near else f"There are: {', '.join(one.names[0] for one in definitions)}."
    )
    return invalid(
        f"The curated environment '{reference}' is not one that this platform ships. {shown}"
        " Or give an image on a plain Python base with a conda_file.",
        "environmentId",
    )


def _read(raw: dict[str, Any]) -> Curated:
    return Curated(
        names=tuple(raw["names"]),
        version=str(raw["version"]),
        image=raw["image"],
        description=" ".join(raw["description"].split()),
        conda_file=yaml.safe_dump(raw["conda_file"], sort_keys=False),
        tags={key: str(value) for key, value in raw["tags"].items()},
    )
