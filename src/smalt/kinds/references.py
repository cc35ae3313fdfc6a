"""What users write where an asset or a file is meant, resolved to a row, or to a place in the blob store.

Forms: full ARM ids; `azureml:NAME:VERSION`, `azureml:NAME@LABEL`; `azureml://datastores/D/paths/P` (short and long form);
`azureml://jobs/J/outputs/O[/paths/P]`; `azureml://registries/R/TYPE/NAME/(versions|labels)/V`; `runs:/J/P`; URLs of our own
blobs; `wasbs://C@ACCOUNT.blob.SUFFIX/P`; any other http(s) URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, select

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ML, NotAnId, ResourceId
from smalt.arm.platform import Platform
from smalt.arm.validation import nearest
from smalt.kinds.datastore import hosted_account
from smalt.kinds.environment import stands_for
from smalt.kinds.output_data import output_data
from smalt.settings import STORAGE_SUFFIX
from smalt.store import resources
from smalt.store.resources import Row
from smalt.store.tables import resource

_SHORT = re.compile(r"azureml://datastores/([^/]+)/paths/(.*)", re.IGNORECASE | re.DOTALL)
_LONG = re.compile(
    r"azureml://subscriptions/([^/]+)/resource[gG]roups/([^/]+)(?:/providers/[^/]+)?/workspaces/([^/]+)/datastores/([^/]+)/paths/(.*)",
    re.IGNORECASE | re.DOTALL,
)
_JOB = re.compile(
    r"azureml://(?:subscriptions/[^/]+/resourcegroups/[^/]+(?:/providers/[^/]+)?/workspaces/[^/]+/)?"
    r"jobs/([^/]+)/outputs/([^/]+)(?:/paths)?/?(.*)",
    re.IGNORECASE | re.DOTALL,
)
_REGISTRY = re.compile(r"azureml://registries/([^/]+)/([^/]+)/([^/]+)(?:/(versions|labels)/([^/]+))?", re.IGNORECASE)
_NAMED = re.compile(r"(?:azureml:)?([^:@/]+)(?::([^:@/]+)|@([^:@/]+))?$")
_WASBS = re.compile(r"wasbs?://([^@/]+)@([^/.]+)\.blob\.([^/]+)/?(.*)", re.IGNORECASE | re.DOTALL)
TITLES = {
    "data": "data asset",
    "models": "model",
    "environments": "environment",
    "codes": "code",
    "components": "component",
}


@dataclass(frozen=True)
class Place:
    """Where the bytes are: `account`, `container`, `path` of a blob or a folder of ours; or `url` elsewhere."""

    uri: str
    account: str = ""
    container: str = ""
    path: str = ""
    url: str = ""


def asset(connection: Connection, workspace: ResourceId, text: str, type_: str, field: str) -> Row:
    """The version row that `text` names. Raises ArmError(400) naming `field` and the nearest name there is."""
    name, version, label, registry = _parse_asset(workspace, text, type_, field)
    title = TITLES[type_]
    if registry and not (type_ == "environments" and registry.lower() == "azureml"):
        raise invalid(f"{field}: registry '{registry}' is not on this server (asked for {text}).", field)
    above = workspace.child(type_, name)
    row = resources.get(connection, above.key)
    if row is None and type_ == "data":
        row = output_data(connection, above)
    if row is None:
        hint = nearest(name, names(connection, workspace, type_))
        raise invalid(f"{field}: there is no {title} '{name}' in workspace '{workspace.name}'.{hint}", field)
    if version is None and label not in (None, "latest"):
        raise invalid(
            f"{field}: the label '{label}' is not known; use a version or 'latest' (asked for {text}).", field
        )
    wanted = version if version is not None else row.status.get("latest")
    if wanted is None:
        raise invalid(f"{field}: {title} '{name}' has no version that is not archived.", field)
    found = resources.get(connection, above.child("versions", wanted).key)
    if found is None and type_ == "data":
        found = output_data(connection, above.child("versions", wanted))
    if found is None and row.status.get("latest"):
        newest = resources.get(connection, above.child("versions", row.status["latest"]).key)
        found = newest if registry or (newest is not None and stands_for(newest, wanted)) else None
    if found is None:
        known = [child.rsplit("/", 1)[-1] for child in resources.children(connection, above.key)][:20]
        raise invalid(f"{field}: {title} '{name}' has no version '{wanted}'; there are: {', '.join(known)}.", field)
    return found


def _parse_asset(
    workspace: ResourceId, text: str, type_: str, field: str
) -> tuple[str, str | None, str | None, str | None]:
    """(name, version, label, registry)"""
    if found := _REGISTRY.match(text):
        registry, _, name, what, value = found.groups()
        return name, value if what == "versions" else None, value if what == "labels" else "latest", registry
    if text.lower().removeprefix("azureml:").startswith("/subscriptions/"):
        try:
            id_ = ResourceId.parse(text)
        except NotAnId:
            raise invalid(f"{field}: '{text}' is not a resource id.", field) from None
        if id_.workspace.key != workspace.key:
            raise invalid(f"{field}: {id_} is not in workspace '{workspace.name}'.", field)
        return id_.ancestor(type_), id_.ancestor("versions") or None, id_.ancestor("labels") or None, None
    if found := _NAMED.match(text):
        name, version, label = found.groups()
        return name, version, label or ("latest" if version is None else None), None
    raise invalid(f"{field}: '{text}' names no {TITLES[type_]}; write azureml:NAME:VERSION.", field)


def names(connection: Connection, workspace: ResourceId, type_: str) -> list[str]:
    query = select(resource.c.name).where(resource.c.kind == f"workspaces/{type_}", resource.c.parent == workspace.key)
    return list(connection.execute(query.limit(500)).scalars())


def locate(platform: Platform, connection: Connection, workspace: ResourceId, uri: str, field: str) -> Place:
    """Where `uri` leads. Raises ArmError(400) for what cannot be reached from here, or not from this workspace."""
    place = _locate(platform, connection, workspace, uri, field)
    if place.account and place.account not in _accounts(connection, workspace):
        raise invalid(
            f"{field}: the storage account '{place.account}' belongs to no datastore of this workspace.", field
        )
    return place


def _accounts(connection: Connection, workspace: ResourceId) -> set[str]:
    """The storage accounts that a workspace may read: its own, and those of its datastores."""
    keys = [workspace.key, *datastores(connection, workspace)]
    rows = resources.get_many(connection, keys).values()
    own = {str(row.status.get("account")) for row in rows if row.id == workspace.key}
    return own | {name for row in rows if row.id != workspace.key and (name := hosted_account(row.properties))}


def _locate(platform: Platform, connection: Connection, workspace: ResourceId, uri: str, field: str) -> Place:
    if found := _SHORT.match(uri):
        return _in_datastore(connection, workspace, found.group(1), found.group(2), uri, field)
    if found := _LONG.match(uri):
        subscription, group, name, store, path = found.groups()
        other = ResourceId(subscription, group, ML, (("workspaces", name),))
        if other.key != workspace.key:
            raise invalid(f"{field}: {uri} is in another workspace.", field)
        return _in_datastore(connection, workspace, store, path, uri, field)
    if found := _JOB.match(uri):
        return _job_output(platform, connection, workspace, found.group(1), found.group(2), found.group(3), field)
    if uri.lower().startswith("runs:/"):
        job, _, path = uri[len("runs:/") :].lstrip("/").partition("/")
        return _job_output(platform, connection, workspace, job, "artifacts", path, field)
    if found := _WASBS.match(uri):
        container, account, suffix, path = found.groups()
        if suffix.lower() == STORAGE_SUFFIX:
            return Place(uri, account, container, path)
        return Place(uri, url=f"https://{account}.blob.{suffix}/{container}/{path}")
    return _web(platform, uri, field)


def _in_datastore(connection: Connection, workspace: ResourceId, name: str, path: str, uri: str, field: str) -> Place:
    row = resources.get(connection, workspace.child("datastores", name).key)
    if row is None:
        hint = nearest(name, [key.rsplit("/", 1)[-1] for key in datastores(connection, workspace)])
        raise invalid(f"{field}: there is no datastore '{name}' in workspace '{workspace.name}'.{hint}", field)
    account = hosted_account(row.properties)
    if account is None:
        raise invalid(
            f"{field}: datastore '{name}' is storage outside of this platform ({row.properties.get('datastoreType')}), which"
            " jobs here cannot read; copy the data into a blob datastore of this platform.",
            field,
        )
    return Place(uri, account, row.properties["containerName"], path)


def datastores(connection: Connection, workspace: ResourceId) -> list[str]:
    """The keys of a workspace's datastores."""
    query = select(resource.c.id).where(resource.c.kind == "workspaces/datastores", resource.c.parent == workspace.key)
    return list(connection.execute(query).scalars())


def _job_output(
    platform: Platform, connection: Connection, workspace: ResourceId, job: str, output: str, path: str, field: str
) -> Place:
    row = resources.get(connection, workspace.child("jobs", job).key)
    if row is None:
        raise invalid(f"{field}: there is no job '{job}' in workspace '{workspace.name}'.", field)
    tail = path.strip("/")
    if output in ("artifacts", "default"):
        return _locate(platform, connection, workspace, artifacts_uri(job) + tail, field)
    outputs = row.status.get("outputs") or {}
    if output not in outputs:
        known = ", ".join(outputs) or "none"
        raise invalid(f"{field}: job '{job}' has no output '{output}'; it has: {known}.", field)
    base = str(outputs[output]["uri"]).rstrip("/")
    return _locate(platform, connection, workspace, f"{base}/{tail}" if tail else base, field)


def artifacts_uri(job: str) -> str:
    """Where a job's artifacts are, with a slash at the end."""
    return f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{job}/"


def _web(platform: Platform, uri: str, field: str) -> Place:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        raise ArmError(
            400, "ValidationError",
            f"{field}: '{uri[:200]}' is not a place that this platform can read: use azureml://datastores/…, https://… or an asset.",
            target=field,
        )  # fmt: skip
    ours = f"{platform.settings.host}:{platform.settings.port}"
    suffix = f".blob.{STORAGE_SUFFIX}"
    segments = [unquote(one) for one in parts.path.lstrip("/").split("/")]
    if parts.netloc == ours and segments[0].endswith(suffix):
        return Place(uri, segments[0].removesuffix(suffix), segments[1], "/".join(segments[2:]))
    if (parts.hostname or "").endswith(suffix):
        return Place(uri, (parts.hostname or "").removesuffix(suffix), segments[0], "/".join(segments[1:]))
    return Place(uri, url=uri)
