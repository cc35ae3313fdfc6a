"""What jobs read and write, as OpenLineage's datasets.

A version of an asset is `data/NAME` or `models/NAME` in the workspace, with its version as a facet; files that are no
asset are a path in a container, or a URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from sqlalchemy import Connection

from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS
from smalt.arm.platform import Platform
from smalt.kinds.assets import references
from smalt.kinds.assets.references import Place
from smalt.kinds.jobs import lineage as of_jobs
from smalt.kinds.jobs.parallel import tables
from smalt.kinds.jobs.pinned import PINNED
from smalt.openlineage.facets import facets
from smalt.settings import STORAGE_SUFFIX
from smalt.store import lineage
from smalt.store.document import Document, part
from smalt.store.lineage import End
from smalt.store.resources import Row

_EDGES_MOST = 200  # versions that one job's files became
_MODELS = ("mlflow_model", "custom_model", "triton_model")


def namespace(platform: Platform, row: Row) -> str:
    """Of the jobs and assets of a workspace."""
    home = ResourceId.parse(row.written).home
    return f"smalt://{platform.settings.host}:{platform.settings.port}/{home.group}/{home.name}"


def read(platform: Platform, connection: Connection, row: Row) -> list[Document]:
    """The inputs of a job."""
    given, held = part(row.properties, "inputs"), of_jobs.contents(row)
    return [
        _input(platform, row, one, str(part(given, name).get("jobInputType")), held.get(name, {}))
        for name, one in part(part(part(row.spec, OURS), PINNED), "inputs").items()
    ]


def _input(platform: Platform, row: Row, one: Document, type_: str, held: Mapping[str, object]) -> Document:
    place = Place(**one["place"])
    fields = tables.columns(platform, place) if type_ == "mltable" and place.account else []
    if one["asset"]:
        dataset = _asset(platform, row, ResourceId.parse(one["asset"]), type_, place, fields)
    else:
        dataset = _files(place, type_, fields, str(held.get("digest") or ""))
    if held:
        statistics = {"fileCount": held.get("files"), "size": held.get("bytes")}
        dataset["inputFacets"] = facets({"inputStatistics": statistics})
    return dataset


def written(platform: Platform, connection: Connection, row: Row, made: bool) -> list[Document]:
    """The outputs of a job; `made`: with the versions that they have become."""
    pinned, states = part(part(part(row.spec, OURS), PINNED), "outputs"), part(row.status, "outputs")
    found = {name: Place(**one) for name, one in pinned.items()}
    types = {name: str(one.get("jobOutputType") or "uri_folder") for name, one in states.items()}
    ends = lineage.edges(connection, [End(row.id, row.created_at)], False, _EDGES_MOST) if made else []
    versions = [one for one in ends if one.what == lineage.OUTPUT]
    known = lineage.traced(connection, [one.target for one in versions])
    named = {edge.name for edge in versions}
    plain = [_files(place, types.get(name, ""), [], "") for name, place in found.items() if name not in named]
    return plain + [of_version(platform, connection, one.row) for one in known.values()]


def of_version(platform: Platform, connection: Connection, version: Row) -> Document:
    """A version of data or of a model."""
    properties, id_ = version.properties, ResourceId.parse(version.written)
    uri = str(properties.get("modelUri") or properties.get("dataUri") or "")
    type_ = str(properties.get("modelType") or properties.get("dataType") or "")
    try:
        place = references.locate(platform, connection, id_.home, uri, "uri")
    except ArmError:  # its datastore is gone
        place = Place(uri)
    fields = tables.columns(platform, place) if type_ == "mltable" and place.account else []
    return _asset(platform, version, id_, type_, place, fields)


def _asset(
    platform: Platform, row: Row, id_: ResourceId, type_: str, place: Place, fields: list[tuple[str, str]]
) -> Document:
    above = "models" if id_.ancestor("models") else "data"
    where, path = _where(place)
    symlink: Document = {"identifiers": [{"namespace": where, "name": path, "type": "LOCATION"}]}
    return {
        "namespace": namespace(platform, row),
        "name": f"{above}/{id_.ancestor(above)}",
        "facets": facets(
            {
                "version": {"datasetVersion": id_.name},
                "datasetType": _type(type_),
                "dataSource": _source(place),
                "symlinks": symlink if where else None,
                "schema": _schema(fields),
            }
        ),
    }


def _files(place: Place, type_: str, fields: list[tuple[str, str]], digest: str) -> Document:
    where, path = _where(place)
    said = {
        "version": {"datasetVersion": digest} if digest else None,
        "datasetType": _type(type_),
        "dataSource": _source(place),
        "schema": _schema(fields),
    }
    return {"namespace": where, "name": path, "facets": facets(said)}


def _where(place: Place) -> tuple[str, str]:
    """Namespace and name, as OpenLineage calls what is in a blob store or on the web."""
    if place.account:
        return f"wasbs://{place.container}@{place.account}.blob.{STORAGE_SUFFIX}", place.path.strip("/") or "/"
    parts = urlsplit(place.url)
    return (f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path or "/") if place.url else ("", "")


def _source(place: Place) -> Document | None:
    where, path = _where(place)
    return {"name": where, "uri": f"{where}/{quote(path.lstrip('/'))}"} if where else None


def _type(type_: str) -> Document:
    return {"datasetType": "MODEL" if type_ in _MODELS else "TABLE" if type_ == "mltable" else "FILE", "subType": type_}


def _schema(fields: list[tuple[str, str]]) -> Document | None:
    return {"fields": [{"name": name, "type": type_} for name, type_ in fields]} if fields else None
