"""The checks before a job is taken: compute, inputs, outputs, the command's references.

All errors are reported together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy import Connection

from smalt.arm import instances
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.arm.validation import ASSET_NAME, name_fault, nearest
from smalt.kinds.assets import references
from smalt.kinds.assets.references import Place
from smalt.kinds.assets.registries import shown_id
from smalt.kinds.jobs.log_places import check_apart
from smalt.kinds.jobs.model import FOLDERS, MODES
from smalt.kinds.process_settings import no_nul
from smalt.sched.growth import ray_of
from smalt.sched.sizes import SIZES
from smalt.sched.want import MEDIUM, PRIORITIES
from smalt.store import nodes, resources
from smalt.store.document import part
from smalt.store.resources import Row

Found = TypeVar("Found")
_REFERENCE = re.compile(r"\$\{\{\s*(inputs|outputs)\.([\w.\-]+?)\s*\}\}")
_OPTIONAL = re.compile(r"\$\[\[.*?\]\]", re.DOTALL)
_ASSET_OF = {"mlflow_model": "models", "custom_model": "models", "triton_model": "models"}
_INPUT_TYPES = {"literal", "uri_file", "uri_folder", "mltable", *_ASSET_OF}
_OUTPUT_TYPES = {"uri_file", "uri_folder", "mltable", *_ASSET_OF}
_NAME = re.compile(r"[a-zA-Z_][\w.]{0,254}")
EVERYWHERE = ("local", "serverless")  # computes that every workspace has
SPOT, STANDARD = "Spot", "Standard"
TIERS = ("Null", SPOT, "Basic", STANDARD, "Premium")


@dataclass
class Checks:
    """Collects what is wrong; `done` raises it as one error."""

    errors: list[ArmError] = field(default_factory=list[ArmError])

    def run(self, check: Callable[[], Found]) -> Found | None:
        try:
            return check()
        except ArmError as error:
            self.errors.append(error)
            return None

    def done(self, what: str) -> None:
        errors = list({error.message: error for error in self.errors}.values())
        if len(errors) == 1:
            raise errors[0]
        if errors:
            joined = " ".join(error.message for error in errors[:10])
            raise invalid(f"{len(errors)} things are wrong with {what}: {joined}", errors[0].target, errors)


@dataclass(frozen=True)
class Compute:
    """Where a job runs: the key of its node pool, how many nodes that has at most, and their size.

    `preemptible`: its nodes may be taken back for others. `priority`: among those that wait for them. `elsewhere`: its
    nodes are machines of their own.
    """

    key: str
    most: int
    size: str
    preemptible: bool = False
    priority: int = MEDIUM
    elsewhere: bool = False

    def ours(self) -> Document:
        """What the scheduler is told when the job's turn comes, in the spec's own part."""
        size = SIZES.get(self.size.lower())
        told: Document = {"compute": self.key, "instance_type": self.size, "priority": self.priority}
        return (
            told
            | ({"gpus": size.gpus} if size and size.gpus else {})
            | ({"preemptible": True} if self.preemptible else {})
        )


def compute(
    platform: Platform, connection: Connection, workspace: ResourceId, properties: Document, want: int
) -> Compute:
    """The compute that `computeId` names; none means serverless. Raises ArmError(400)."""
    name = compute_name(_in_workspace(workspace, str(properties.get("computeId") or "serverless")))
    size = str(part(properties, "resources").get("instanceType") or "")
    tier, priority = queued(part(properties, "queueSettings"))
    if name.lower() in EVERYWHERE:
        pool = workspace.child("computes", name.lower()).key
        found = Compute(pool, _machine_nodes(platform), size, tier == SPOT, priority)
    else:
        found = replace(_cluster(connection, workspace, name, size), priority=priority)
        properties["computeId"] = str(workspace.child("computes", name))
    if want > found.most:
        raise invalid(
            f"properties.resources.instanceCount: {want} nodes are asked for, '{name}' has at most {found.most}.",
            "properties.resources.instanceCount",
        )
    machines = nodes.of_compute(connection, found.key)
    on_ray = bool(ray_of(resources.get(connection, found.key)))
    found = replace(found, elsewhere=bool(machines or on_ray))
    if gpus := SIZES[found.size.lower()].gpus if found.size.lower() in SIZES else 0:
        known = [one.gpus for one in machines if one.seen_at]
        have = max(known, default=gpus) if found.elsewhere else platform.engine.capacity().gpus
        if have < (gpus if found.elsewhere else gpus * want):
            each = "a node" if want == 1 or found.elsewhere else f"a node, and {want} nodes are asked for"
            where = "the best of its machines" if found.elsewhere else "this machine"
            raise invalid(
                f"properties.computeId: '{name}' has {gpus} GPUs {each}; {where} has {have}.", "properties.computeId"
            )
    return found


def queued(given: Document) -> tuple[str, int]:
    """Tier and priority in the queue. Raises ArmError(400)."""
    field, tier, priority = "properties.queueSettings", given.get("jobTier") or STANDARD, given.get("priority")
    spelled = {one.lower(): one for one in TIERS}.get(str(tier).lower())
    if spelled is None:
        raise invalid(f"{field}.jobTier: '{tier}' is not known.{nearest(str(tier), TIERS)}", f"{field}.jobTier")
    if priority is not None and priority not in PRIORITIES:
        raise invalid(f"{field}.priority: {priority} is none of 1 (low), 2 (medium), 3 (high).", f"{field}.priority")
    return spelled, priority or MEDIUM


def _in_workspace(workspace: ResourceId, given: str) -> str:
    """`computeId`, if it can be a compute of this workspace."""
    try:
        id_ = ResourceId.parse(given)
    except NotAnId:
        return given
    if id_.kind != "workspaces/computes" or id_.workspace.key != workspace.key:
        raise invalid(
            f"properties.computeId: {given[:200]} is no compute of workspace '{workspace.name}'.",
            "properties.computeId",
        )
    return given


def nodes_most(platform: Platform, connection: Connection, key: str) -> int | None:
    """How many nodes a job's compute has at most, now; None: it is gone.

    It may have been changed since the job was taken.
    """
    if key.rsplit("/", 1)[-1] in EVERYWHERE:
        return _machine_nodes(platform)
    row = resources.get(connection, key)
    return None if row is None or row.deleting else _nodes_of(row)


def _machine_nodes(platform: Platform) -> int:
    """This machine as a pool of nodes: more than it has processors, which they share."""
    return max(4, 2 * platform.engine.capacity().cpus)


def _nodes_of(row: Row) -> int:
    if row.properties.get("computeType") == "ComputeInstance":
        return 1
    machine = part(row.properties, "properties")
    return int(part(machine, "scaleSettings").get("maxNodeCount") or 0)


def compute_name(given: str) -> str:
    """The name in a compute's id, or in `azureml:NAME`."""
    try:
        return ResourceId.parse(given).name
    except NotAnId:
        return given.removeprefix("azureml:")


def _cluster(connection: Connection, workspace: ResourceId, name: str, size: str) -> Compute:
    row = resources.get(connection, workspace.child("computes", name).key)
    if row is None or row.deleting:
        names = [*references.names(connection, workspace, "computes"), *EVERYWHERE]
        raise invalid(
            f"properties.computeId: there is no compute '{name}' in workspace '{workspace.name}'.{nearest(name, names)}"
            " Create it, or leave the compute out to run serverless.",
            "properties.computeId",
        )
    machine = part(row.properties, "properties")
    if instances.is_one(row) and not instances.takes_jobs(row):
        why = f"properties.computeId: compute instance '{name}' is {instances.state(row)}; start it first."
        raise invalid(why, "properties.computeId")
    most = _nodes_of(row)
    if most < 1:
        raise invalid(
            f"properties.computeId: cluster '{name}' has max_instances 0, so no job can run.", "properties.computeId"
        )
    return Compute(row.id, most, machine.get("vmSize") or size, machine.get("vmPriority") == "LowPriority")


@dataclass(frozen=True)
class Source:
    """What an input leads to: the place of its files, their URI, and the id of the asset's version if one is named."""

    uri: str
    place: Place
    asset: str = ""


def inputs(
    platform: Platform, connection: Connection, workspace: ResourceId, properties: Document, checks: Checks
) -> dict[str, Source]:
    """Where each input that is no literal leads, resolved once; what is wrong goes into `checks`.

    An asset is written to `properties` with the version that it has now.
    """
    found: dict[str, Source] = {}
    for name, given in properties["inputs"].items():
        path = f"properties.inputs.{name}"
        type_ = given.get("jobInputType")
        if not _NAME.fullmatch(name):
            checks.errors.append(
                invalid(f"{path}: an input's name has letters, digits and '_' and begins with a letter.", path)
            )
        elif type_ not in _INPUT_TYPES:
            hint = nearest(str(type_), sorted(_INPUT_TYPES))
            checks.errors.append(invalid(f"{path}.jobInputType: '{type_}' is not known.{hint}", f"{path}.jobInputType"))
        elif type_ == "literal":
            checks.run(lambda given=given, path=path: _literal(given.get("value"), f"{path}.value"))
        elif not given.get("uri"):
            checks.errors.append(invalid(f"{path}.uri is missing.", f"{path}.uri"))
        else:
            source = checks.run(
                lambda given=given, path=path: input_source(platform, connection, workspace, given, f"{path}.uri")
            )
            if source is not None:
                found[name] = source
                checks.run(lambda source=source, given=given, path=path: _check_elsewhere(given, source.place, path))
                if MODES.get(str(given.get("mode") or "").lower()) == "rw_mount":
                    checks.run(lambda source=source, path=path: check_apart(source.place, f"{path}.uri"))
                    checks.run(
                        lambda source=source, path=path: references.check_writable(
                            connection, source.place, f"{path}.uri"
                        )
                    )
                written = {**given, "uri": shown_id(source.asset) if source.asset else given["uri"]}
                properties["inputs"] = {**properties["inputs"], name: written}
    return found


def _check_elsewhere(given: Document, place: Place, path: str) -> None:
    """Raises ArmError(400): what is on the web is fetched, one file at a time."""
    mode, type_ = MODES.get(str(given.get("mode") or "").lower()), str(given["jobInputType"])
    if place.account or mode == "direct":
        return
    shown = place.uri.partition("?")[0][:200]  # what comes behind may be a signature
    if mode == "rw_mount":
        why = "is outside of this platform, where nothing is written; use ro_mount or download"
        raise invalid(f"{path}.mode: {shown} {why}.", f"{path}.mode")
    if type_ in FOLDERS:
        why = f"is an address of the web, where no folder ({type_}) can be listed; copy it into a datastore"
        raise invalid(f"{path}.uri: {shown} {why}, or name a file (uri_file).", f"{path}.uri")


def _literal(value: Any, field: str) -> None:
    if value is None:
        raise invalid(f"{field} is missing.", field)
    no_nul(str(value), field)


def input_source(
    platform: Platform, connection: Connection, workspace: ResourceId, given: Document, field: str
) -> Source:
    """Raises ArmError(400) for an asset that is not there, and for files that no job can be given."""
    uri, type_, asset = str(given["uri"]), str(given["jobInputType"]), ""
    if references.is_asset(uri):
        kind = asset_type(uri, type_)
        row = references.asset(connection, workspace, uri, kind, field)
        uri, asset = str(row.properties["modelUri" if kind == "models" else "dataUri"]), row.written
    place = references.locate(platform, connection, workspace, uri, field)
    references.check_folder(place, type_, field)
    return Source(uri, place, asset)


def asset_type(uri: str, input_type: str) -> str:
    """Whether an input names a data asset or a model: its id says so, or else its type."""
    if "/models/" in uri.lower():
        return "models"
    return "data" if "/data/" in uri.lower() else _ASSET_OF.get(input_type, "data")


def outputs(
    platform: Platform, connection: Connection, workspace: ResourceId, job: str, properties: Document, checks: Checks
) -> dict[str, Place]:
    """Where each output goes; what is wrong goes into `checks`."""
    found: dict[str, Place] = {}
    for name, given in properties["outputs"].items():
        path = f"properties.outputs.{name}"
        type_ = given.get("jobOutputType", "uri_folder")
        if not _NAME.fullmatch(name):
            checks.errors.append(
                invalid(f"{path}: an output's name has letters, digits and '_' and begins with a letter.", path)
            )
        elif type_ not in _OUTPUT_TYPES:
            hint = nearest(str(type_), sorted(_OUTPUT_TYPES))
            checks.errors.append(
                invalid(f"{path}.jobOutputType: '{type_}' is not known.{hint}", f"{path}.jobOutputType")
            )
        else:
            uri = output_uri(job, name, given)
            place = checks.run(
                lambda uri=uri, path=path: references.locate(platform, connection, workspace, uri, f"{path}.uri")
            )
            if place is not None:
                found[name] = place
                checks.run(lambda place=place, path=path: check_apart(place, f"{path}.uri", job))
                checks.run(lambda place=place, path=path: references.check_writable(connection, place, f"{path}.uri"))
            if place is not None and not place.account:
                checks.errors.append(invalid(f"{path}.uri: outputs go to a datastore of this platform.", f"{path}.uri"))
            _asset_names(given, path, checks)
    return found


def code(
    platform: Platform, connection: Connection, workspace: ResourceId, properties: Document, checks: Checks
) -> Place | None:
    """Where the job's code is, which is written to `properties` with its version."""
    field, given = "properties.codeId", properties.get("codeId")
    row = checks.run(lambda: references.asset(connection, workspace, given, "codes", field)) if given else None
    if row is None:
        return None
    properties["codeId"] = row.written
    return checks.run(lambda: references.locate(platform, connection, workspace, row.properties["codeUri"], field))


def _asset_names(given: Document, path: str, checks: Checks) -> None:
    """The name and version that an output is registered under are those of an asset."""
    for key in ("assetName", "assetVersion"):
        if given.get(key) and not re.fullmatch(ASSET_NAME, str(given[key])):
            fault = name_fault(str(given[key]), "an asset")
            checks.errors.append(invalid(f"{path}.{key}: {fault}", f"{path}.{key}"))


def output_uri(job: str, name: str, given: Document) -> str:
    """Where an output goes: as given, with its placeholders filled in, or Azure's default place."""
    template = str(given.get("uri") or "")
    if not template:
        if name == "artifacts":
            return references.artifacts_uri(job)
        template = "azureml://datastores/${{default_datastore}}/paths/azureml/${{name}}/${{output_name}}"
        template += "" if given.get("jobOutputType") == "uri_file" else "/"
    values = {"name": job, "output_name": name, "default_datastore": "workspaceblobstore"}
    return re.sub(
        r"\$\{\{\s*(name|output_name|default_datastore)\s*\}\}", lambda found: values[found.group(1)], template
    )


def output_places(job: str, properties: Document) -> dict[str, dict[str, Any]]:
    """What a job's status says of its outputs from the beginning."""
    return {
        name: {"uri": output_uri(job, name, given), "jobOutputType": given.get("jobOutputType", "uri_folder")}
        for name, given in properties["outputs"].items()
    }


def template(properties: Document, checks: Checks) -> None:
    """Every ${{inputs.x}} and ${{outputs.y}} of the command is given; inside $[[ ]] an input may be missing."""
    command = str(properties["command"])
    checks.run(lambda: no_nul(command, "properties.command"))
    required = _OPTIONAL.sub(" ", command)
    for kind, name in _REFERENCE.findall(required):
        known = list(properties[kind])
        if name not in known:
            what = kind[:-1]
            checks.errors.append(
                invalid(
                    f"properties.command: it references the {what} '{name}', which the job does not have."
                    f"{nearest(name, known)}",
                    "properties.command",
                )
            )
