"""`smalt check`: whether an endpoint is ready for production, item by item, with what helps.

Each item looks at what the platform itself says of the endpoint: its deployments that take requests, the rules around
them, what was done to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from smalt.cli.api import Api, Document, opened
from smalt.store.document import part

_INSIGHTS = "providers/Microsoft.Insights"
_INSIGHTS_VERSIONS = {"metricAlerts": "2018-03-01", "autoscaleSettings": "2022-10-01"}
_SECRET_WORDS = frozenset(
    [
        "key",
        "apikey",
        "accesskey",
        "secret",
        "secrets",
        "password",
        "passwd",
        "passphrase",
        "pgpassword",
        "pwd",
        "pw",
        "token",
        "credential",
        "credentials",
        "connectionstring",
        "sas",
    ]
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PLAIN_VALUE = re.compile(r"[+-]?\d+(\.\d+)?|true|false|yes|no|on|off|none", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"AccountKey=|SharedAccessKey=|-----BEGIN|[?&]sig=|^eyJ[\w-]+\.[\w-]+\.|://[^/\s:@]+:[^/\s@]+@"
    r"|^(sk|gh[pousr])[-_]\w{20}"
)
_ROLLED_BACK = "rolled back"  # the reason of such a change


@dataclass(frozen=True)
class Item:
    """`found`: what is there, in words; `remedy`: what helps, where it is not `ok`."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Facts:
    """Documents as the platform's API gives them; `serving`: the deployments that take requests or copies of
    them; `rollbacks`: when it was rolled back."""

    endpoint: Document
    serving: list[Document]
    alerts: list[Document]
    autoscale: list[Document]
    rollbacks: list[str]

    def ids(self) -> set[str]:
        return {one["id"].lower() for one in (self.endpoint, *self.serving)}


def run(root: Path | None, endpoint: str, workspace: str, as_json: bool) -> int:
    """0 where all items are fulfilled, else 1."""
    with opened(root, workspace) as api:
        found = items(_facts(api, endpoint))
    if as_json:
        print(
            json.dumps(
                {"endpoint": endpoint, "ok": all(one.ok for one in found), "items": [asdict(one) for one in found]}
            )
        )
    else:
        print("\n".join(lines(found)))
    return 0 if all(one.ok for one in found) else 1


def lines(found: list[Item]) -> Iterator[str]:
    for one in found:
        yield f"{'pass' if one.ok else 'FAIL'}  {one.name}: {one.found}"
        if not one.ok:
            yield f"      → {one.remedy}"
    failed = sum(not one.ok for one in found)
    yield f"{failed} of {len(found)} items are missing" if failed else f"all {len(found)} items are there"


def items(facts: Facts) -> list[Item]:
    return [item(facts) for item in _ITEMS]


def _facts(api: Api, name: str) -> Facts:
    path = f"onlineEndpoints/{quote(name, safe='')}"
    endpoint = api.get(path)
    shares = part(endpoint["properties"], "traffic") | part(endpoint["properties"], "mirrorTraffic")
    taking = {one.lower() for one, share in shares.items() if share}
    deployments = list(_listed(api, f"{path}/deployments"))
    group = api.workspace.partition("/providers/")[0]
    rules = {
        kind: list(_listed(api, f"{group}/{_INSIGHTS}/{kind}", **{"api-version": version}))
        for kind, version in _INSIGHTS_VERSIONS.items()
    }
    return Facts(
        endpoint,
        [one for one in deployments if one["name"].lower() in taking],
        rules["metricAlerts"],
        rules["autoscaleSettings"],
        list(_rollbacks(api, path)),
    )


def _redundancy(facts: Facts) -> Item:
    few = [one["name"] for one in facts.serving if part(one, "sku").get("capacity", 1) < 2]
    if facts.serving and not few:
        counts = ", ".join(f"{one['name']} {part(one, 'sku').get('capacity', 1)}" for one in facts.serving)
        return Item("redundancy", True, f"instances: {counts}")
    found = f"{_named(few)} with one instance" if few else "no deployment takes requests"
    remedy = "instance_count=2 or more" if few else "give a deployment traffic"
    return Item("redundancy", False, found, remedy)


def _autoscale(facts: Facts) -> Item:
    ruled = {
        str(part(one, "properties").get("targetResourceUri")).lower()
        for one in facts.autoscale
        if part(one, "properties").get("enabled", True)
    }
    fixed = [
        one["name"]
        for one in facts.serving
        if part(one["properties"], "scaleSettings").get("scaleType") != "TargetUtilization"
        and one["id"].lower() not in ruled
    ]
    remedy = "`az monitor autoscale create` with the deployment as resource"
    return _each("autoscale", facts, fixed, "each has a rule", "without a rule", remedy)


def _probes(facts: Facts) -> Item:
    bare = [
        one["name"]
        for one in facts.serving
        if not (one["properties"].get("livenessProbe") and one["properties"].get("readinessProbe"))
    ]
    remedy = "liveness_probe and readiness_probe of the deployment"
    return _each("probes", facts, bare, "liveness and readiness are set", "without both probes", remedy)


def _rollback(facts: Facts) -> Item:
    if facts.rollbacks:
        return Item("rollback", True, f"drilled, last at {facts.rollbacks[-1][:16]}")
    return Item("rollback", False, "it was never drilled", "try `smalt endpoint rollback` once, and go forward again")


def _collection(facts: Facts) -> Item:
    def collects(one: Document) -> bool:
        found = part(part(one["properties"], "dataCollector"), "collections")
        enabled = {name for name, said in found.items() if str(said.get("dataCollectionMode")).lower() == "enabled"}
        return {"model_inputs", "model_outputs"} <= enabled

    none = [one["name"] for one in facts.serving if not collects(one)]
    remedy = "data_collector=DataCollector(…) with model_inputs and model_outputs"
    return _each(
        "collection", facts, none, "inputs and outputs are collected", "without inputs and outputs collected", remedy
    )


def _alerts(facts: Facts) -> Item:
    mine = [
        one["name"]
        for one in facts.alerts
        if part(one, "properties").get("enabled", True)
        and part(one, "properties").get("actions")
        and facts.ids() & {str(scope).lower() for scope in part(one, "properties").get("scopes") or ()}
    ]
    remedy = "`az monitor metrics alert create` with the endpoint as scope and an action"
    return Item(
        "alerts", bool(mine), _named(mine) if mine else "nobody is told when it fails", remedy if not mine else ""
    )


def _secrets(facts: Facts) -> Item:
    found = [
        f"{name} of {one['name']}"
        for one in facts.serving
        for name, value in part(one["properties"], "environmentVariables").items()
        if value and (_names_a_secret(name, str(value)) or _SECRET_VALUE.search(str(value)))
    ]
    remedy = (
        "read it with the deployment's identity from a connection or a vault; everyone who reads the deployment sees it"
    )
    return Item(
        "no secrets", not found, _named(found) if found else "none among the variables", remedy if found else ""
    )


def _names_a_secret(name: str, value: str) -> bool:
    """By the whole words of a name: KEYBOARD_LAYOUT is none, and neither is a number or a switch."""
    words = [one.lower() for one in _WORD.findall(name)]
    pairs = {first + second for first, second in pairwise(words)}
    return bool(_SECRET_WORDS & {*words, *pairs}) and not _PLAIN_VALUE.fullmatch(value.strip())


def _model(facts: Facts) -> Item:
    """A model that is registered: its files are those of the audit trail."""
    loose = [one["name"] for one in facts.serving if not one["properties"].get("model")]
    remedy = "register the model, and name it in the deployment"
    return _each(
        "model", facts, loose, "registered, with its lineage (`smalt lineage`)", "without a registered model", remedy
    )


_ITEMS: tuple[Callable[[Facts], Item], ...] = (
    _redundancy, _autoscale, _probes, _rollback, _collection, _alerts, _secrets, _model
)  # fmt: skip


def _each(name: str, facts: Facts, without: list[str], good: str, bad: str, remedy: str) -> Item:
    """What every deployment that takes requests has to have."""
    if not facts.serving:
        return Item(name, False, "no deployment takes requests", "give a deployment traffic")
    return Item(name, not without, f"{_named(without)} {bad}" if without else good, remedy if without else "")


def _named(names: list[str]) -> str:
    return ", ".join(names)


def _listed(api: Api, path: str, **query: str) -> Iterator[Document]:
    """All pages of a list."""
    page = api.get(path, **query)
    while True:
        yield from page["value"]
        if not page.get("nextLink"):
            return
        url = urlsplit(page["nextLink"])
        page = api.get(url.path, **dict(parse_qsl(url.query)))


def _rollbacks(api: Api, path: str) -> Iterator[str]:
    """When the endpoint or a deployment was rolled back, as far as the feed of changes goes back; oldest first."""
    after: dict[str, str] = {}
    while True:
        page = api.get(f"{path}/changes", what="updated", **after, **{"$top": "1000"})
        yield from (one["at"] for one in page["value"] if one.get("reason") == _ROLLED_BACK)
        if not page.get("nextLink"):
            return
        after = {"after": page["cursor"]}
