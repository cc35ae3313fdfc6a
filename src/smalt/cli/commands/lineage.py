"""`smalt lineage`: from what a job, data, a model or a deployment came, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from smalt.cli.api import Api, Document, opened
from smalt.cli.root import CliError

_FORMS = "model:NAME:VERSION, data:NAME:VERSION, job:NAME or deployment:ENDPOINT/NAME"
_VERSIONED = {"model": "models", "data": "data"}
_PARAMETERS_MOST = 5
_INDENT = "  "


def run(root: Path | None, what: str, workspace: str, direction: str, depth: int, as_json: bool) -> int:
    with opened(root, workspace) as api:
        found = api.get(f"{_path(api, what)}/lineage", direction=direction, depth=str(depth))
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(lines(found)))
    return 0


def _path(api: Api, what: str) -> str:
    """Below the workspace."""
    kind, _, name = what.removeprefix("azureml:").partition(":")
    if kind in _VERSIONED and name:
        name, _, version = name.partition(":")
        above = f"{_VERSIONED[kind]}/{quote(name, safe='')}"
        version = version or api.get(above)["properties"].get("latestVersion") or ""
        if not version:
            raise CliError(f"{kind} '{name}' has no version that is not archived")
        return f"{above}/versions/{quote(version, safe='')}"
    if kind == "job" and name:
        return f"jobs/{quote(name, safe='')}"
    endpoint, _, deployment = name.partition("/")
    if kind == "deployment" and endpoint and deployment:
        return f"onlineEndpoints/{quote(endpoint, safe='')}/deployments/{quote(deployment, safe='')}"
    raise CliError(f"'{what}' is not known; write {_FORMS}")


def lines(graph: Document) -> Iterator[str]:
    """As a tree of text: the resource, what it came from, what came of it. What was told already is not told again."""
    nodes = {node["key"]: node for node in graph["nodes"]}
    yield _told(nodes[graph["id"]], graph)
    for title, this, other, near in (("came from", "to", "from", -1), ("led to", "from", "to", 1)):
        if graph["direction"] in ("both", "upstream" if near < 0 else "downstream"):
            below = list(_below(graph, nodes, graph["id"], this, other, set(), 1))
            yield f"{title}:" if below else f"{title}: nothing that is known"
            yield from below
    if graph["truncated"]:
        yield "… and more: --depth N follows further, and --json has all that was found"


def _below(
    graph: Document, nodes: Mapping[str, Document], key: str, this: str, other: str, told: set[str], depth: int
) -> Iterator[str]:
    for edge in graph["edges"]:
        if edge[this] != key:
            continue
        node, begin = nodes[edge[other]], _INDENT * depth
        again = edge[other] in told
        yield begin + _told(node, graph) + _how(edge) + (", as above" if again else "")
        if not again:
            told.add(edge[other])
            yield from _below(graph, nodes, edge[other], this, other, told, depth + 1)


def _told(node: Document, graph: Document) -> str:
    origin = node.get("origin") or {}
    said = [f"{_title(node)} ({node.get('state') or 'forgotten'})", *_origin(origin, graph)]
    return ", ".join(said)


def _title(node: Document) -> str:
    parts = node["id"].rpartition("/workspaces/")[2].split("/")[1:]
    match parts:
        case ["jobs", name]:
            return f"job {name}"
        case ["onlineEndpoints" | "onlineendpoints", endpoint, _, name]:
            return f"deployment {endpoint}/{name}"
        case [above, name, _, version]:
            return f"{above.removesuffix('s')} {name}:{version}"
        case _:
            return str(node["id"])


def _origin(origin: Document, graph: Document) -> Iterator[str]:
    code, environment = origin.get("code"), origin.get("environment")
    if isinstance(code, dict):
        yield f"code {str(code.get('hash') or code['id'].rpartition('/codes/')[2])[:12]}"
    if git := _git(origin.get("git") or {}):
        yield f"git {git}"
    if key := (environment or {}).get("key"):
        lock = graph["environments"].get(key)
        yield f"environment {key[:12]}" + (f" with {len(lock)} packages" if lock else "")
    given = [f"{name}={value}" for name, value in (origin.get("parameters") or {}).items()]
    if given:
        yield " ".join(given[:_PARAMETERS_MOST]) + (" …" if len(given) > _PARAMETERS_MOST else "")
    if parent := origin.get("parent"):
        yield f"of job {parent}"


def _git(said: Mapping[str, Any]) -> str:
    known = {key.rpartition(".")[2]: str(value) for key, value in said.items()}
    if not known.get("commit"):
        return ""
    dirty = " with changes" if known.get("dirty", "").lower() == "true" else ""
    return f"{known.get('branch', '')}@{known['commit'][:12]}{dirty}"


def _how(edge: Document) -> str:
    if edge["what"] == "model":
        return (
            f", serves it since {edge['at'][:19]}" if "until" not in edge else f", served it until {edge['until'][:19]}"
        )
    return f", as {edge['what']} {edge['name']}" if edge.get("name") else ""
