"""Packages of models: an environment that holds a model, its scoring script and what both need, all resolved.

`POST …/models/N/versions/V/package` makes a version of an environment. A deployment that names it needs neither model
nor code of its own. What was resolved is in the version's status, which nobody but the platform writes.
https://learn.microsoft.com/azure/machine-learning/concept-package-models
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.above import check_above
from smalt.arm.assets import ensure_container, insert_version
from smalt.arm.errors import conflict, invalid
from smalt.arm.kind import Action, Document, Request
from smalt.arm.ports import EnvironmentPlan
from smalt.arm.validation import ASSET_NAME, Properties, checked, name_fault
from smalt.auth.access import WORKSPACES
from smalt.kinds.assets import environment_build, references
from smalt.kinds.assets.environment import check_own, specification
from smalt.kinds.assets.feeds import feeds_of
from smalt.kinds.assets.model_environment import model_environment
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

PACKAGE = "package"  # the key of the status
_KEPT = ("image", "condaFile", "build")
ONLINE, BATCH = "online", "batch"  # who serves it
_SERVERS = {"AzureMLOnline": ONLINE, "AzureMLBatch": BATCH}
_TARGET = re.compile(
    r"(?:azureml://locations/[^/]+/workspaces/[^/]+/environments/|azureml:)?([^/:@]+)(?:(?:/versions/|:)([^/:@]+))?"
)
_WRITE = f"{WORKSPACES}/environments/versions/write"


class _Code(Properties):
    code_id: str = Field(min_length=1)
    scoring_script: str = Field(min_length=1)


class _Server(Properties):
    server_type: Literal["AzureMLOnline", "AzureMLBatch"]
    code_configuration: _Code | None = None


class _Base(Properties):
    base_environment_source_type: Literal["EnvironmentAsset"]
    resource_id: str = Field(min_length=1)


class _Asked(Properties):
    target_environment_id: str | None = None
    target_environment_name: str | None = None
    base_environment_source: _Base | None = None
    inferencing_server: _Server
    environment_variables: dict[str, str] | None = None
    tags: dict[str, str] | None = None


@dataclass(frozen=True)
class _Resolved:
    """`package` goes into the status of the environment's version, `shown` into its properties."""

    plan: EnvironmentPlan
    package: Document
    shown: Document


def unpacked(environment: Row, properties: Document, server: str) -> Document:
    """A deployment's properties, with model, code and variables of the package that its environment is.

    As they are where that is none, or the deployment names a model or code of its own. Raises ArmError(400) for a
    package that was made for another `server`.
    """
    package = part(environment.status, PACKAGE)
    if not package or properties.get("model") or properties.get("codeConfiguration"):
        return properties
    if package["server"] != server:
        field, names = "properties.environmentId", {one: name for name, one in _SERVERS.items()}
        made, wanted = names[package["server"]], names[server]
        message = f"{field}: this package is for {made} and not for {wanted}; package the model with that serverType."
        raise invalid(message, field)
    variables = part(package, "variables") | part(properties, "environmentVariables")
    more = {"model": package["model"], "codeConfiguration": package["code"], "environmentVariables": variables or None}
    return {**properties, **{name: value for name, value in more.items() if value}}


def plan_of(environment: Row) -> EnvironmentPlan | None:
    """What a package resolved to; None: the environment is none."""
    found = part(environment.status, PACKAGE).get("plan")
    return EnvironmentPlan(**found) if found else None


def _package(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    platform, home = request.platform, request.id.home
    platform.grants.check(request.principal, _WRITE, home.key)
    asked = checked(_Asked, request.body, "", "package")
    with platform.database.read() as connection:
        resolved = _resolve(request, connection, row, asked)
    name, version = _target(asked)
    with platform.database.write() as connection:
        above = home.child("environments", name)
        check_above(connection, request.kinds, above, request.kinds[above.kind])
        container = ensure_container(connection, above, request.now, request.principal.name)
        id_ = above.child("versions", version or str(container.status.get("next", 1)))
        check_own(connection, id_)
        if resources.get(connection, id_.key) is not None:
            raise conflict(
                f"Environment '{name}' has a version {id_.name} already; give another.", "targetEnvironmentId"
            )
        insert_version(
            connection,
            id_,
            {**resolved.shown, "tags": asked.get("tags") or {}},
            type_="",
            now=request.now,
            by=request.principal.name,
            status={PACKAGE: resolved.package},
        )
        built = platform.environments.built(resolved.plan.key) is not None
        if not built:
            environment_build.require(platform, resolved.plan, id_.key)(connection)
    platform.hub.notify(environment_build.build_id(platform, resolved.plan.key))
    return 200, {
        "buildId": resolved.plan.key,
        "buildState": "Succeeded" if built else "Running",
        "targetEnvironmentId": str(id_),
        "targetEnvironmentName": name,
        "targetEnvironmentVersion": id_.name,
        "inferencingServer": asked["inferencingServer"],
        "environmentVariables": asked.get("environmentVariables") or {},
        "tags": asked.get("tags") or {},
    }


def _resolve(request: Request, connection: Connection, model: Row, asked: Document) -> _Resolved:
    """Raises ArmError(400)."""
    platform, home = request.platform, request.id.home
    place = references.model_place(platform, connection, home, model, "modelUri")
    code = part(asked["inferencingServer"], "codeConfiguration")
    if not code and model.properties.get("modelType") != "mlflow_model":
        field = "inferencingServer.codeConfiguration"
        raise invalid(f"{field}: a scoring script is needed unless the model is an mlflow_model.", field)
    if code:
        field = "inferencingServer.codeConfiguration.codeId"
        found = references.asset(connection, home, _long(code["codeId"]), "codes", field)
        code = {"codeId": found.written, "scoringScript": code["scoringScript"]}
    base = part(asked, "baseEnvironmentSource").get("resourceId")
    if base:
        field = "baseEnvironmentSource.resourceId"
        environment = references.asset(connection, home, _long(base), "environments", field)
        spec, shown = specification(connection, environment, home, request.now), environment.properties
    elif model.properties.get("modelType") != "mlflow_model":
        field = "baseEnvironmentSource"
        raise invalid(f"{field}: an environment is needed unless the model is an mlflow_model.", field)
    else:
        spec = model_environment(platform, place.ref(folder=False), "baseEnvironmentSource")
        spec = replace(spec, feeds=feeds_of(connection, home, spec, request.now))
        shown = {"condaFile": spec.conda_file or spec.pip_requirements}
    plan = platform.environments.plan(spec, serving=True)
    package: Document = {
        "server": _SERVERS[asked["inferencingServer"]["serverType"]],
        "model": model.written,
        "code": code or None,
        "variables": asked.get("environmentVariables") or {},
        "plan": plan.document(),
    }
    kept = {name: shown[name] for name in _KEPT if shown.get(name)}
    said = f"Model {request.id.parent.name}:{request.id.name}, with what serves it."
    return _Resolved(plan, package, {**kept, "osType": "Linux", "environmentType": "UserCreated", "description": said})


def _target(asked: Document) -> tuple[str, str]:
    """Name and version; '' is the next. Raises ArmError(400)."""
    field = "targetEnvironmentId" if asked.get("targetEnvironmentId") else "targetEnvironmentName"
    found = _TARGET.fullmatch(str(asked.get(field) or ""))
    if found is None:
        raise invalid(f"{field}: name the environment that the package is to be, as azureml:NAME:VERSION.", field)
    name, version = found[1], found[2] or ""
    for what, one in (("name", name), ("version", version)):
        if one and not re.fullmatch(ASSET_NAME, one):
            raise invalid(f"{field}: {name_fault(one, f'this {what} of an environment')}", field)
    return name, version


def _long(text: str) -> str:
    """An id as the client writes it here: `azureml:/` before it."""
    return text.removeprefix("azureml:/") if text.lower().startswith("azureml://subscriptions") else text


PACKAGED = Action(_package)
