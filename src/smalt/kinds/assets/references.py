"""What users write where an asset or a file is meant, resolved to a row, or to a place in the blob store.

Assets are named by full ARM ids, also as `azureml://subscriptions/…/TYPE/NAME/versions/V`; by
`azureml:NAME:VERSION` and `azureml:NAME@LABEL`; by `azureml://registries/R/TYPE/NAME/(versions|labels)/V`. Files
have an address (`addresses.py`). What is in a registry can be named, and read, from every workspace
(`registries.py`); the registry `azureml` is the environments that each workspace is shipped with.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy import Connection, select

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ML, NotAnId, ResourceId, kind_key, workspace_id
from smalt.arm.platform import Platform
from smalt.arm.validation import nearest
from smalt.kinds.assets import addresses, registries
from smalt.kinds.assets.addresses import Elsewhere, InAccount, InDatastore, NotAnAddress
from smalt.kinds.assets.datastore import hosted_place
from smalt.kinds.assets.output_data import output_data
from smalt.store import resources
from smalt.store.resources import Row
from smalt.store.tables import resource

_REGISTRY = re.compile(r"azureml://registries/([^/]+)/([^/]+)/([^/]+)(?:/(versions|labels)/([^/]+))?", re.IGNORECASE)
_LONG_NAME = re.compile(
    r"azureml:/(/subscriptions/[^/]+/resourcegroups/[^/]+)(?:/providers/[^/]+)?"
    r"(/workspaces/[^/]+/[^/]+/[^/]+/(?:versions|labels)/[^/]+)",
    re.IGNORECASE,
)
_NAMED = re.compile(r"(?:azureml:)?([^:@/]+)(?::([^:@/]+)|@([^:@/]+))?$")
CURATED = "Curated"  # the `environmentType` of the environments that are shipped
_LATEST: ContextVar[dict[str, str] | None] = ContextVar("what latest means", default=None)
TITLES = {
    "data": "data asset",
    "models": "model",
    "environments": "environment",
    "codes": "code",
    "components": "component",
}


@dataclass(frozen=True)
class Place:
    """Where the bytes are: `account`, `container`, `path` of a blob or a folder of ours; or `url` elsewhere.

    `listed`: that is a folder's store by its name (`abfss://…`), of which plain HTTP fetches single files only.
    """

    uri: str
    account: str = ""
    container: str = ""
    path: str = ""
    url: str = ""
    listed: bool = False

    def ref(self, folder: bool) -> Ref:
        """A folder is asked for as one: a blob may have its name too. All of a container has no name."""
        path = self.path.rstrip("/")
        return Ref(self.account, self.container, path + "/" if folder and path else path)

    @property
    def key(self) -> tuple[str, str]:
        """Equal for all spellings of one place."""
        return (
            (f"{self.account}/{self.container}", self.path.rstrip("/")) if self.account else ("", self.url.rstrip("/"))
        )


def stands_for(newest: Row, version: str) -> bool:
    """Azure numbers its curated environments on; the one that is shipped here stands for all of those versions."""
    return newest.properties.get("environmentType") == CURATED and version.isascii() and version.isdigit()


@dataclass(frozen=True)
class AssetName:
    """What a text names: a version, or what a label means now. Without either it is the label `latest`.

    `registry`: of the registry of this name, not of the home that it is written in.
    """

    name: str
    version: str = ""
    label: str = ""
    registry: str = ""


def is_asset(text: str) -> bool:
    """Whether a text names an asset, where files could be addressed too."""
    lowered = text.lower()
    if lowered.startswith("azureml://registries/") or lowered.removeprefix("azureml:").startswith("/subscriptions/"):
        return True
    return ("://" not in text and not lowered.startswith(("/", "file:", "runs:"))) or bool(_LONG_NAME.fullmatch(text))


def parse_asset(home: ResourceId, text: str, type_: str, field: str) -> AssetName:
    """Raises ArmError(400) for what names no asset of this type in this workspace."""
    if found := _REGISTRY.fullmatch(text):
        registry, _, name, what, value = found.groups()
        label = value if what == "labels" else ""
        return AssetName(name, value if what == "versions" else "", label, registry)
    if found := _LONG_NAME.fullmatch(text):
        text = f"{found[1]}/providers/{ML}{found[2]}"
    if text.lower().removeprefix("azureml:").startswith("/subscriptions/"):
        return _in_home(home, text, type_, field)
    if found := _NAMED.fullmatch(text):
        name, version, label = found.groups()
        return AssetName(name, version or "", label or "")
    raise invalid(f"{field}: '{text[:200]}' names no {TITLES[type_]}; write azureml:NAME:VERSION.", field)


def _in_home(home: ResourceId, text: str, type_: str, field: str) -> AssetName:
    try:
        id_ = ResourceId.parse(text)
        its_home = id_.home
    except NotAnId:
        raise invalid(f"{field}: '{text[:200]}' is not the id of a {TITLES[type_]}.", field) from None
    elsewhere = its_home.key != home.key
    if elsewhere and its_home.kind != registries.PATH:
        raise invalid(f"{field}: {id_} is not in {titled(home)}.", field)
    if not id_.ancestor(type_):
        raise invalid(f"{field}: {id_} is not the id of a {TITLES[type_]}.", field)
    registry = its_home.name if elsewhere else ""
    return AssetName(id_.ancestor(type_), id_.ancestor("versions"), id_.ancestor("labels"), registry)


def titled(home: ResourceId) -> str:
    """An asset's home in an error."""
    return f"{'registry' if home.kind == registries.PATH else 'workspace'} '{home.name}'"


def asset(connection: Connection, home: ResourceId, text: str, type_: str, field: str) -> Row:
    """The version row that `text` names. Raises ArmError(400) naming `field` and the nearest name there is."""
    asked = parse_asset(home, text, type_, field)
    name, title = asked.name, TITLES[type_]
    home = _home(connection, home, asked, type_, field)
    above = home.child(type_, name)
    row = resources.get(connection, above.key)
    if row is None and type_ == "data":
        row = output_data(connection, above)
    if row is None:
        hint = nearest(name, names(connection, home, type_))
        raise invalid(f"{field}: there is no {title} '{name}' in {titled(home)}.{hint}", field)
    if not asked.version and asked.label not in ("", "latest"):
        raise invalid(
            f"{field}: the label '{asked.label}' is not known; use a version or 'latest' (asked for {text}).", field
        )
    wanted = asked.version or _latest(type_, row)
    if wanted is None:
        raise invalid(f"{field}: {title} '{name}' has no version that is not archived.", field)
    found = resources.get(connection, above.child("versions", wanted).key)
    if found is None and type_ == "data":
        found = output_data(connection, above.child("versions", wanted))
    if found is None and row.status.get("latest"):
        newest = resources.get(connection, above.child("versions", row.status["latest"]).key)
        is_shipped = asked.registry.lower() == registries.SHIPPED
        found = newest if is_shipped or (newest is not None and stands_for(newest, wanted)) else None
    if found is None:
        versions = resources.children(connection, above.key, f"{above.kind}/versions")
        known = ", ".join(key.rsplit("/", 1)[-1] for key in versions[:20])
        raise invalid(f"{field}: {title} '{name}' has no version '{wanted}'; there are: {known}.", field)
    return found


def _home(connection: Connection, home: ResourceId, asked: AssetName, type_: str, field: str) -> ResourceId:
    """Where an asset that is named in `home` is. Raises ArmError(400) for a registry that there is not."""
    if not asked.registry or (type_ == "environments" and asked.registry.lower() == registries.SHIPPED):
        return home
    found = registries.named(connection, asked.registry)
    if found is None:
        raise invalid(f"{field}: registry '{asked.registry[:100]}' is not on this server.", field)
    return ResourceId.parse(found.written)


@contextmanager
def latest(known: Mapping[str, str] | None = None) -> Generator[dict[str, str]]:
    """Inside, `latest` is what it was when it was asked for first, or as `known` says: what is given is all of that.

    By TYPE/NAME, the version. One inside another goes on with what is known there.
    """
    if (going_on := _LATEST.get()) is not None and known is None:
        yield going_on
        return
    token = _LATEST.set(found := dict(known or {}))
    try:
        yield found
    finally:
        _LATEST.reset(token)


def _latest(type_: str, row: Row) -> str | None:
    """The version that the label means now, or did when it was asked for first."""
    newest, known, name = row.status.get("latest"), _LATEST.get(), f"{type_}/{row.name.lower()}"
    if row.kind.startswith(registries.PATH):
        name = row.id
    if known is None or newest is None:
        return newest
    return known.setdefault(name, newest)


def asked_id(row: Row, home: ResourceId, text: str, type_: str, field: str) -> str:
    """The id of what `text` names, which `asset` found in `row`: with the version asked, if another stands for it.

    A curated environment's `azureml:NAME:VERSION` stays so: clients send it in this form, and expect it in the answer.
    """
    version = parse_asset(home, text, type_, field).version
    short = text.lower().startswith("azureml:") and bool(_NAMED.fullmatch(text))
    if version and short and row.properties.get("environmentType") == CURATED:
        return text
    if not version or version.lower() == row.name.lower():
        return registries.shown_id(row.written)
    return f"{row.written.rpartition('/')[0]}/{version}"


def asset_key(connection: Connection, home: ResourceId, text: str, type_: str) -> str:
    """Equal for all ways to write one version's name; `text` itself where it names none."""
    try:
        asked = parse_asset(home, text, type_, "")
    except ArmError:
        return text
    version, begin = asked.version, ""
    try:
        its_home = _home(connection, home, asked, type_, "")
    except ArmError:
        return text
    if its_home.key != home.key:
        begin = f"{its_home.name}/"
    if not version and asked.label in ("", "latest"):
        above = resources.get(connection, its_home.child(type_, asked.name).key)
        version = str(above.status.get("latest") or "") if above else ""
    return f"{begin}{asked.name}:{version or '@' + asked.label}".lower()


def content_key(connection: Connection, home: ResourceId, text: str) -> str:
    """Equal for code of one content, where the client said that: a registry gets it under a new name each time."""
    try:
        return asset(connection, home, text, "codes", "").lookup or asset_key(connection, home, text, "codes")
    except ArmError:
        return asset_key(connection, home, text, "codes")


def place_key(
    platform: Platform, connection: Connection, workspace: ResourceId, uri: str, type_: str = "data"
) -> tuple[str, ...]:
    """Equal for all ways to write one place, or one asset of `type_` where the text names an asset."""
    if is_asset(uri):
        return ("", asset_key(connection, workspace, uri, type_))
    try:
        return _locate(platform, connection, workspace, uri, "").key
    except ArmError:
        return ("", uri.rstrip("/"))


def names(connection: Connection, home: ResourceId, type_: str) -> list[str]:
    kind = kind_key(*home.type_below(type_))
    query = select(resource.c.name).where(resource.c.kind == kind, resource.c.parent == home.key)
    return list(connection.execute(query.limit(500)).scalars())


def locate(platform: Platform, connection: Connection, workspace: ResourceId, uri: str, field: str) -> Place:
    """Where `uri` leads. Raises ArmError(400) for what cannot be reached from here, or not from this workspace."""
    place = _locate(platform, connection, workspace, uri, field)
    if place.account:
        if not _readable(connection, workspace, place.account):
            whose = "no registry" if workspace.kind == registries.PATH else "no datastore of this workspace"
            raise invalid(f"{field}: the storage account '{place.account}' belongs to {whose}.", field)
        try:
            platform.blobs.check(place.account, place.container, place.path)
        except ArmError as error:
            raise invalid(f"{field}: {error.message}", field) from None
    return place


def model_place(platform: Platform, connection: Connection, home: ResourceId, model: Row, field: str) -> Place:
    """Where a model's files are. Raises ArmError(400), also where that is not in this platform's storage."""
    place = locate(platform, connection, home, str(model.properties["modelUri"]), field)
    if not place.account:
        raise invalid(
            f"{field}: its files are at {place.uri[:200]}, outside of this platform;"
            " register them from a local folder or a datastore.",
            field,
        )
    return place


def check_folder(place: Place, type_: str, field: str) -> None:
    """Raises ArmError(400) where a folder is in an account of somebody else: it cannot be listed from here."""
    if place.listed and type_ != "uri_file":
        raise invalid(
            f"{field}: {place.uri[:200]} is a folder in a storage account outside of this platform,"
            " which cannot be listed from here; copy it into a datastore of this platform.",
            field,
        )


def check_writable(connection: Connection, place: Place, field: str) -> None:
    """Raises ArmError(400) for files of a registry, which jobs read and never write."""
    if place.account and registries.owns(connection, place.account):
        raise invalid(f"{field}: {place.uri[:200]} is in a registry, whose files never change.", field)


def _readable(connection: Connection, workspace: ResourceId, account: str) -> bool:
    """Whether a workspace may read the storage account: it is its own, or a registry's."""
    return account in _accounts(connection, workspace) or registries.owns(connection, account)


def _accounts(connection: Connection, workspace: ResourceId) -> set[str]:
    """Its own storage account, and those of its datastores."""
    keys = [workspace.key, *datastores(connection, workspace)]
    rows = resources.get_many(connection, keys).values()
    own = {str(row.status.get("account")) for row in rows if row.id == workspace.key}
    return own | {place[0] for row in rows if row.id != workspace.key and (place := hosted_place(row))}


def _locate(platform: Platform, connection: Connection, workspace: ResourceId, uri: str, field: str) -> Place:
    here = f"{platform.settings.host}:{platform.settings.port}"
    try:
        address = addresses.parse(uri, here, lambda account: _readable(connection, workspace, account))
    except NotAnAddress as error:
        raise invalid(f"{field}: {error}.", field) from None
    if isinstance(address, InAccount):
        return Place(uri, address.account, address.container, address.path)
    if isinstance(address, Elsewhere):
        return Place(uri, url=address.url, listed=address.listed)
    if address.workspace and workspace_id(*address.workspace).key != workspace.key:
        raise invalid(f"{field}: {uri[:200]} is not in {titled(workspace)}.", field)
    if isinstance(address, InDatastore):
        return _in_datastore(connection, workspace, address.store, address.path, uri, field)
    return _job_output(platform, connection, workspace, address.job, address.output, address.path, field)


def _in_datastore(connection: Connection, workspace: ResourceId, name: str, path: str, uri: str, field: str) -> Place:
    row = resources.get(connection, workspace.child("datastores", name).key)
    if row is None:
        hint = nearest(name, [key.rsplit("/", 1)[-1] for key in datastores(connection, workspace)])
        raise invalid(f"{field}: there is no datastore '{name}' in {titled(workspace)}.{hint}", field)
    place = hosted_place(row)
    if place is None:
        raise invalid(
            f"{field}: datastore '{name}' is storage outside of this platform ({row.properties.get('datastoreType')}),"
            " which jobs here cannot read; copy the data into a blob datastore of this platform.",
            field,
        )
    return Place(uri, *place, path)


def datastores(connection: Connection, workspace: ResourceId) -> list[str]:
    """The keys of a workspace's datastores."""
    query = select(resource.c.id).where(resource.c.kind == "workspaces/datastores", resource.c.parent == workspace.key)
    return list(connection.execute(query).scalars())


def _job_output(
    platform: Platform, connection: Connection, workspace: ResourceId, job: str, output: str, path: str, field: str
) -> Place:
    row = resources.get(connection, workspace.child("jobs", job).key)
    if row is None:
        raise invalid(f"{field}: there is no job '{job}' in {titled(workspace)}.", field)
    tail = path.rstrip("/")
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
