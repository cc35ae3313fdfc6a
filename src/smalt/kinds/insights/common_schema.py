"""What webhooks are sent: Azure's common alert schema.

https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-common-schema
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from smalt.arm.envelope import timestamp
from smalt.arm.ids import ResourceId
from smalt.kinds.insights.conditions import Condition, Found
from smalt.store.document import Document
from smalt.store.resources import Row

_WORDS = {
    "GreaterThan": "above",
    "GreaterThanOrEqual": "at least",
    "LessThan": "below",
    "LessThanOrEqual": "at most",
    "Equals": "as much as",
}


@dataclass(frozen=True)
class Met:
    """All conditions of an alert hold for one of its scopes: each with the value that did it."""

    scope: str
    parts: Sequence[tuple[Condition, Found]] = field(default_factory=tuple[tuple[Condition, Found], ...])

    @property
    def reason(self) -> str:
        return " and ".join(
            f"{one.metric} {_labels(found)}is {found.value:.6g}, {_words(one)}" for one, found in self.parts
        )


def _words(one: Condition) -> str:
    return f"{_WORDS.get(one.operator, one.operator)} {one.threshold:g}"


def _labels(found: Found) -> str:
    return f"({', '.join(f'{name} {value}' for name, value in found.labels)}) " if found.labels else ""


def notice(row: Row, fired: Mapping[str, object], met: Met | None, now: float, more: Mapping[str, str]) -> Document:
    """`fired`: as it is kept; `met`: None where it is resolved. `more`: what the alert adds for a receiver."""
    begun = float(str(fired["at"]))
    subscription = ResourceId.parse(row.written).subscription
    essentials: Document = {
        "alertId": f"/subscriptions/{subscription}/providers/Microsoft.AlertsManagement/alerts/{fired['id']}",
        "alertRule": row.name,
        "alertRuleID": row.written,
        "severity": f"Sev{row.properties['severity']}",
        "signalType": "Metric",
        "monitorCondition": "Fired" if met else "Resolved",
        "monitoringService": "Platform",
        "alertTargetIDs": [fired["scope"]],
        "configurationItems": [str(fired["scope"]).rpartition("/")[2]],
        "originAlertId": fired["id"],
        "firedDateTime": timestamp(begun),
        "description": row.properties.get("description") or "",
        "essentialsVersion": "1.0",
        "alertContextVersion": "1.0",
    }
    if met is None:
        essentials["resolvedDateTime"] = timestamp(now)
    own = {"reason": fired["reason"], **({"lastChange": fired["cause"]} if fired.get("cause") else {})}
    context = {
        "properties": None,
        "conditionType": row.properties["criteria"].get("odata.type", "").rpartition(".")[2]
        or "SingleResourceMultipleMetricCriteria",
        "condition": {
            "windowSize": row.properties["windowSize"],
            "allOf": [_part(one, value) for one, value in met.parts] if met else [],
            "windowEndTime": timestamp(now),
        },
    }
    data = {"essentials": essentials, "alertContext": context, "customProperties": {**more, **own}}
    return {"schemaId": "azureMonitorCommonAlertSchema", "data": data}


def _part(one: Condition, found: Found) -> Document:
    return {
        "metricName": one.metric,
        "metricNamespace": "Microsoft.MachineLearningServices/workspaces",
        "operator": one.operator,
        "threshold": f"{one.threshold:g}",
        "timeAggregation": one.aggregation,
        "dimensions": [{"name": name, "value": value} for name, value in found.labels],
        "metricValue": found.value,
    }
