"""Environments: a base image with conda or pip requirements, versioned.

What is built from them is `environment_build.py`. A specification that cannot be built here is still accepted (it may
be meant for another platform): the job that uses it is refused, with the reason.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import yaml
from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Action, Admitted, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentSpec
from smalt.arm.validation import Properties, checked
from smalt.arm.yaml_text import read_yaml
from smalt.kinds.assets import environment_build
from smalt.kinds.assets.feeds import feeds_of
from smalt.kinds.assets.references import CURATED, place_key, stands_for
from smalt.kinds.assets.versions import (
    NAME,
    Fixed,
    VersionProperties,
    admit_version,
    check_files,
    container,
    in_both_homes,
    meaning,
    version_removed,
)
from smalt.store import resources
from smalt.store.resources import Row


class BuildContext(Properties):
    context_uri: str = Field(min_length=1)
    dockerfile_path: str | None = None


class EnvironmentProperties(VersionProperties):
    image: str | None = None
    conda_file: str | None = None
    build: BuildContext | None = None
    inference_config: dict[str, Any] | None = None
    os_type: str | None = None


def specification(connection: Connection, row: Row, workspace: ResourceId, now: float) -> EnvironmentSpec:
    """What the builder needs to know of an environment's version, with the feeds that `workspace` has for it.

    That is who uses it: the environment may be in a registry.
    """
    properties = row.properties
    name = row.parent.rsplit("/", 1)[-1]
    spec = EnvironmentSpec(
        name=f"{name}:{row.name}",
        image=properties.get("image") or "",
        conda_file=properties.get("condaFile") or "",
        curated=_written_name(row) if _is_curated(row) else "",
        build_context=bool(properties.get("build")),
    )
    return replace(spec, feeds=feeds_of(connection, workspace, spec, now))


def _is_curated(row: Row | None) -> bool:
    return row is not None and row.properties.get("environmentType") == CURATED


def _newest(connection: Connection, id_: ResourceId) -> Row | None:
    """The newest version beside `id_`."""
    above = resources.get(connection, id_.parent.key)
    newest = above.status.get("latest") if above else None
    return resources.get(connection, id_.parent.child("versions", newest).key) if newest else None


def _as_version(newest: Row, version: str) -> Row | None:
    """A curated environment under a number that only Azure has: whoever reads it asks for that one again."""
    if not stands_for(newest, version):
        return None
    said = (
        f"{newest.properties.get('description') or ''} Version {newest.name} is shipped here and stands for this one."
    )
    spec = {**newest.spec, "properties": {**newest.properties, "description": said.strip()}}
    return replace(newest, name=version, written=f"{newest.written.rpartition('/')[0]}/{version}", spec=spec)


def _written_name(row: Row) -> str:
    return ResourceId.parse(row.written).parent.name


def check_own(connection: Connection, id_: ResourceId, row: Row | None = None) -> None:
    """Raises ArmError(400) where the version is, or would be, one of a curated environment."""
    if _is_curated(row or _newest(connection, id_)):
        raise invalid(f"'{id_.parent.name}' is a curated environment; register your own under another name.", "name")


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = dict(request.body["properties"])
    check_own(connection, request.id, old)
    if not any(properties.get(field) for field in ("image", "condaFile", "build")):
        raise invalid("An environment needs an image, a conda file or a build context.", "properties.image")
    properties.setdefault("osType", "Linux")
    if properties.get("build"):
        properties["build"] = {"dockerfilePath": "Dockerfile", **properties["build"]}
        if old is None:
            uri, field = properties["build"]["contextUri"], "properties.build.contextUri"
            properties["build"]["contextUri"] = check_files(request, connection, uri, field)
    properties["environmentType"] = "UserCreated"
    spec = {**request.body, "properties": properties}

    def build(given: Any) -> Any:
        uri = str((given or {}).get("contextUri") or "")
        place = place_key(request.platform, connection, request.id.home, uri)
        return given and meaning({**given, "contextUri": list(place)})

    message = "An environment version is fixed: image, conda file and build context cannot be updated."
    fixed = Fixed({"image": meaning, "condaFile": _conda, "build": build}, message)
    return admit_version(request, connection, old, fixed=fixed, spec=spec)


def _conda(text: Any) -> Any:
    """A conda file as what it says: clients read it, and write it back in an order and with quotes of their own."""
    try:
        return read_yaml(text) if text else text
    except (yaml.YAMLError, ValueError, RecursionError):  # so are those with aliases: they are compared as text
        return text


def _view(platform: Platform, row: Row) -> Document:
    return {"isArchived": row.archived}


def _builds(request: Request, row: Row | None) -> tuple[int, Any]:
    """How it stands on this server, for jobs and for deployments, whose environment has the inference server, too."""
    assert row is not None
    platform = request.platform
    with platform.database.read() as connection:
        spec = specification(connection, row, request.id.home, request.now)
    found: Document = {"refused": None, "jobs": None, "deployments": None}
    try:
        found["jobs"] = environment_build.told(platform, platform.environments.plan(spec))
        found["deployments"] = environment_build.told(platform, platform.environments.plan(spec, serving=True))
    except ArmError as error:
        found["refused"] = error.message
    return 200, found


class _Asked(Properties):
    """Of a body that is no resource's."""

    use: Literal["jobs", "deployments"] = "jobs"


def _build(request: Request, row: Row | None) -> tuple[int, Any]:
    """A build now, which the first job or deployment would begin otherwise; `builds` says how it stands."""
    assert row is not None
    platform, asked = request.platform, checked(_Asked, request.body, "", "build")
    if request.id.home.kind == "registries":
        raise invalid("A registry builds nothing: the workspaces that use this environment do.")
    with platform.database.read() as connection:
        spec = specification(connection, row, request.id.home, request.now)
    plan = platform.environments.plan(spec, serving=asked.get("use") == "deployments")
    if platform.environments.built(plan.key) is None:
        with suppress(resources.Exists, resources.Changed), platform.database.write() as connection:  # who came between
            environment_build.begin(platform, plan, connection)
        platform.hub.notify(environment_build.build_id(platform, plan.key))
    return 202, environment_build.told(platform, plan)


KINDS = in_both_homes(
    container("workspaces/environments", "environment"),
    Kind(
        path="workspaces/environments/versions",
        title="environment version",
        properties=EnvironmentProperties,
        admit=_admit,
        view=_view,
        creates_parent=True,
        deleted=version_removed,
        name_pattern=NAME,
        newest_for=_as_version,
        actions={"builds": Action(_builds, method="GET"), "build": Action(_build)},
    ),
)
