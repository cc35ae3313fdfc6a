"""Which container images are nothing but a Python on a Linux: for those a virtual environment is as good."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Repositories (without registry host for Docker Hub) that bring an interpreter and no packages of their own.
_PLAIN = re.compile(
    r"""^(?:
        mcr\.microsoft\.com/azureml/(?:openmpi|intelmpi|base|minimal-|python|mlflow-|inference-base)[^/]*
      | mcr\.microsoft\.com/azureml/[^/]*-inference
      | mcr\.microsoft\.com/(?:devcontainers|vscode/devcontainers)/(?:python|miniconda|anaconda)
      | python | bitnami/python
      | continuumio/(?:mini|ana)conda3? | condaforge/[a-z0-9-]+ | mambaorg/micromamba
    )$""",
    re.VERBOSE,
)
# These bring no Python, or other packages than ours; with a conda file they are only the ground that it stands on.
_GROUND = re.compile(
    r"^(?:mcr\.microsoft\.com/(?:azureml/curated/[^/]+|aifx/acpt/.+|mirror/docker/library/(?:ubuntu|debian))"
    r"|ubuntu|debian|nvidia/cuda)$"
)
_CURATED = re.compile(r"^mcr\.microsoft\.com/azureml/curated/([^/]+)$")
_WITH_PACKAGES = re.compile(r"^mcr\.microsoft\.com/azureml/((?:minimal-|mlflow-|[^/]*-inference)[^/]*)$")


@dataclass(frozen=True)
class Image:
    """`ground`: a conda file on it can be built here; `plain`: so can the image alone; `curated`: the definition."""

    ground: bool
    plain: bool = False
    curated: str = ""
    python: str = ""  # "3.9" where the image's name says so


def read_image(reference: str) -> Image:
    """What an image is to us; pure, from its name alone."""
    repository, tag = _split(reference.strip().lower())
    curated = _CURATED.match(repository)
    if curated:
        return Image(ground=True, curated=curated.group(1), python=_python(repository))
    packaged = _WITH_PACKAGES.match(repository)
    if packaged:
        bare = packaged.group(1).startswith("minimal-")
        return Image(ground=True, plain=bare, curated=packaged.group(1), python=_python(repository))
    if _PLAIN.match(repository):
        hint = _tag_python(tag) if repository.endswith("python") else ""
        return Image(ground=True, plain=True, python=hint or _python(repository))
    return Image(ground=bool(_GROUND.match(repository)), python=_python(tag))


def _split(reference: str) -> tuple[str, str]:
    repository = reference.split("@", 1)[0]
    tag = ""
    if ":" in repository.rsplit("/", 1)[-1]:
        repository, _, tag = repository.rpartition(":")
    repository = re.sub(r"^(?:(?:index\.|registry-1\.)?docker\.io/)?(?:library/)?", "", repository)
    return repository, tag


def _python(name: str) -> str:
    match = re.search(r"(?:^|[^a-z])py(?:thon)?(3)\.?(\d{1,2})(?!\d)", name)
    return f"{match.group(1)}.{match.group(2)}" if match else ""


def _tag_python(tag: str) -> str:
    match = re.match(r"^(3\.\d+)", tag)
    return match.group(1) if match else ""
