"""A rule that watches an endpoint: the form, lines for `az`, SDK code, and what is sent.

https://learn.microsoft.com/cli/azure/monitor/metrics/alert
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pprint import pformat
from typing import Any

from smalt.arm.ids import ResourceId
from smalt.store.document import Document
from smalt.studio.documents.written import Fault, Faulty

SINGLE = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
WINDOWS = {"PT1M": "1 minute", "PT5M": "5 minutes", "PT15M": "15 minutes", "PT30M": "30 minutes", "PT1H": "1 hour",
           "PT6H": "6 hours", "P1D": "1 day"}  # fmt: skip
FREQUENCIES = {name: WINDOWS[name] for name in ("PT1M", "PT5M", "PT15M", "PT30M", "PT1H")}
SEVERITIES = {"0": "critical", "1": "error", "2": "warning", "3": "informational", "4": "verbose"}
KEPT = "kept"  # conditions and scopes stay as they are: they are none of this form's
_SHORT = re.compile(r"[^a-z0-9-]")
_AZ = {"Average": "avg", "Total": "total"}, {"GreaterThan": ">", "LessThan": "<"}


@dataclass(frozen=True)
class Watch:
    """One condition that people want. `threshold` None: whoever makes the rule gives it."""

    label: str
    metric: str
    aggregation: str
    operator: str
    threshold: float | None = None
    dimensions: Sequence[Document] = ()

    def criteria(self, name: str, threshold: float) -> Document:
        one = {
            "criterionType": "StaticThresholdCriterion",
            "name": name,
            "metricName": self.metric,
            "operator": self.operator,
            "threshold": threshold,
            "timeAggregation": self.aggregation,
            "dimensions": list(self.dimensions),
        }
        return {"odata.type": SINGLE, "allOf": [one]}

    def is_of(self, criteria: Mapping[str, Any]) -> bool:
        """Whether conditions as the API has them are this one."""
        first, *others = criteria["allOf"]
        mine, other = self.criteria("", 0)["allOf"][0], {"dimensions": [], **first}
        same = all(other.get(key) == value for key, value in mine.items() if key not in ("name", "threshold"))
        return same and not others and self.threshold in (None, first["threshold"])


_REQUESTS = "RequestsPerMinute"
_FIVES: Document = {"name": "statusCodeClass", "operator": "Include", "values": ["5xx"]}
_SCRIPT = "The model fails: requests that the scoring script or the model failed on (424)"
WATCHES = {
    "latency": Watch("It is slow: latency (p99)", "RequestLatency_P99", "Average", "GreaterThan"),
    "errors": Watch("It fails: answers with 5xx", _REQUESTS, "Total", "GreaterThan", dimensions=(_FIVES,)),
    "failures": Watch(_SCRIPT, "ModelFailures", "Total", "GreaterThan"),
    "silence": Watch("No traffic: not one request", _REQUESTS, "Total", "LessThan", 1),
}


def document(fields: Mapping[str, str], kept: bool = False) -> Document:
    """What the form says, checked as far as that needs no platform: names as its fields. Raises Faulty.

    `kept`: the rule is there, and may keep its conditions.
    """
    found: Document = {name: fields.get(name, "").strip() for name in ("name", "endpoint", "deployment", "description")}
    found["watch"] = fields.get("watch", "latency")
    needed = ["name"] if found["watch"] == KEPT else ["name", "endpoint"]
    faults = [Fault((one,), f"{one}: this is missing.") for one in needed if not found[one]]
    watch = WATCHES.get(found["watch"])
    if watch is None and not (kept and found["watch"] == KEPT):
        faults.append(Fault(("watch",), f"watch: this is one of {', '.join(WATCHES)}."))
    if watch is not None:
        given = _number(fields.get("threshold", ""))
        found["threshold"] = given if watch.threshold is None else watch.threshold
        if found["threshold"] is None:
            faults.append(Fault(("threshold",), "threshold: give a number that is not below 0."))
    for name, default in (("window", "PT5M"), ("every", "PT1M"), ("severity", "2")):
        found[name] = fields.get(name, "").strip() or default
    if found["severity"] not in SEVERITIES:
        faults.append(Fault(("severity",), f"severity: this is one of {', '.join(SEVERITIES)}."))
    found |= {name: fields.get(name, "").strip() for name in ("webhook", "schedule")}
    found["groups"] = sorted(one.removeprefix("group.") for one in fields if one.startswith("group."))
    if faults:
        raise Faulty(faults)
    return found


def scope(document: Mapping[str, Any], workspace: ResourceId) -> str:
    below = workspace.child("onlineEndpoints", document["endpoint"])
    return str(below.child("deployments", document["deployment"]) if document["deployment"] else below)


def properties(document: Mapping[str, Any], workspace: ResourceId, actions: Sequence[Document]) -> Document:
    """Those of the rule that the API takes; without conditions and scopes where they are kept."""
    found: Document = {
        "description": document["description"],
        "severity": int(document["severity"]),
        "windowSize": document["window"],
        "evaluationFrequency": document["every"],
        "actions": list(actions),
    }
    if document["watch"] != KEPT:
        watch = WATCHES[document["watch"]]
        found["scopes"] = [scope(document, workspace)]
        found["criteria"] = watch.criteria(document["watch"], document["threshold"])
    return found


def group(document: Mapping[str, Any], workspace: ResourceId) -> Document | None:
    """The properties of an action group of its own; None: it needs none."""
    told, run = document["webhook"], document["schedule"]
    if not told and not run:
        return None
    found: Document = {"groupShortName": short_name(document["name"]), "enabled": True}
    if told:
        found["webhookReceivers"] = [{"name": "webhook", "serviceUri": told, "useCommonAlertSchema": True}]
    if run:
        named = str(workspace.child("schedules", run))
        found["automationRunbookReceivers"] = [{"name": "job", "webhookResourceId": named}]
    return found


def short_name(name: str) -> str:
    """Of an action group: at most 12 characters."""
    return _SHORT.sub("", name.lower())[:12] or "alert"


def az(document: Mapping[str, Any], workspace: ResourceId, own: str, actions: Sequence[Document]) -> str:
    """The lines of a shell that make it by `az`. `own`: the name of the action group that comes with it."""
    lines = [_az_group(document, workspace, own)] if own else []
    watch = WATCHES[document["watch"]]
    condition = f"{_AZ[0][watch.aggregation]} {watch.metric} {_AZ[1][watch.operator]} {document['threshold']:.15g}"
    for one in watch.dimensions:
        condition += f" where {one['name']} includes {' or '.join(one['values'])}"
    options = {
        "resource-group": workspace.group,
        "name": document["name"],
        "scopes": scope(document, workspace),
        "condition": condition,
        "window-size": _az_time(document["window"]),
        "evaluation-frequency": _az_time(document["every"]),
        "severity": document["severity"],
    }
    words = ["az", "monitor", "metrics", "alert", "create", *_options(options)]
    words += ["--description", document["description"]] if document["description"] else []
    for one in actions:
        words += ["--action", one["actionGroupId"]]
    return "\n\n".join([*lines, _shell(words)]) + "\n"


def sdk_code(name: str, url: str, workspace: ResourceId, body: Document, own: str, group_body: Document | None) -> str:
    """The lines of Python that make it by azure-mgmt-monitor. `url`: the platform's."""
    of = workspace.group
    lines = [
        "from azure.identity import DefaultAzureCredential",
        "from azure.mgmt.monitor import MonitorManagementClient",
        "",
        f"url = {url!r}",
        "monitor = MonitorManagementClient(",
        f"    DefaultAzureCredential(), {workspace.subscription!r}, base_url=url,"
        ' credential_scopes=[f"{url}/.default"]',
        ")",
    ]
    for kind, named, document in (("action_groups", own, group_body), ("metric_alerts", name, body)):
        if document is not None:
            shown = pformat(document, width=100, sort_dicts=False)
            lines += [f"document = {shown}", f"monitor.{kind}.create_or_update({of!r}, {named!r}, document)"]
    return "\n".join(lines) + "\n"


def rest(path: str, body: Document) -> str:
    return f"PUT {path}\n\n{json.dumps(body, indent=2, ensure_ascii=False)}\n"


def _number(text: str) -> float | None:
    try:
        found = float(text.strip())
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _az_group(document: Mapping[str, Any], workspace: ResourceId, own: str) -> str:
    options = {"resource-group": workspace.group, "name": own, "short-name": short_name(document["name"])}
    words = ["az", "monitor", "action-group", "create", *_options(options)]
    if document["webhook"]:
        words += ["--action", "webhook", "webhook", document["webhook"], "usecommonalertschema"]
    if document["schedule"]:
        named = str(workspace.child("schedules", document["schedule"]))
        words += ["--action", "automationrunbook", "job", named, document["schedule"], named, named]
    return _shell(words)


def _options(given: Mapping[str, str]) -> list[str]:
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def _az_time(window: str) -> str:
    """`PT5M` as `az` has it: `5m`."""
    return window.removeprefix("P").removeprefix("T").lower()


def _shell(words: Sequence[str]) -> str:
    """Options on lines of their own."""
    return "".join((" \\\n  " if one.startswith("--") else " ") + shlex.quote(one) for one in words).lstrip()
