"""One good document for each kind that clients can PUT; the conformance test fails for a kind that has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.kinds.assets.registries import account_of

CURATED = "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu@latest"
REGISTRY = f"{GROUP}/providers/Microsoft.MachineLearningServices/registries/shared"
SHARED_URI = f"https://{account_of('shared')}.blob.core.smalt/models-1/model"
DATA_URI = "azureml://datastores/workspaceblobstore/paths/LocalUpload/abc/churn.csv"


@dataclass(frozen=True)
class Example:
    """`url` and `body` of a PUT; `needs` are examples to PUT before; `edit` is a property that may change.

    `ended`: what is put before a DELETE is taken.
    """

    url: str
    properties: dict[str, Any]
    needs: tuple[str, ...] = ()
    edit: tuple[str, Any] = ("description", "changed")
    top: tuple[tuple[str, Any], ...] = (("location", "local"),)
    ended: tuple[tuple[str, Any], ...] = ()

    def body(self, **more: Any) -> dict[str, Any]:
        return {**dict(self.top), "properties": {**self.properties, **more}}


EXAMPLES: dict[str, Example] = {
    "resourcegroups": Example(f"{GROUP}-two", {}),
    "workspaces": Example(f"{WORKSPACE}-two", {"friendlyName": "Bank"}),
    "deployments": Example(
        f"{GROUP}/providers/Microsoft.Resources/deployments/dep1",
        {"parameters": {"workspaceName": {"value": "templated"}}, "mode": "Incremental"},
        edit=("mode", "Complete"),
    ),
    "workspaces/datastores": Example(
        f"{WORKSPACE}/datastores/lake",
        {"datastoreType": "AzureBlob", "accountName": "telcolake", "containerName": "raw"},
    ),
    "workspaces/connections": Example(
        f"{WORKSPACE}/connections/feed",
        {
            "category": "PythonFeed",
            "authType": "PAT",
            "target": "https://feed.example/simple",
            "credentials": {"pat": "not-shown"},
            "isSharedToAll": True,
        },
        edit=("metadata", {"team": "risk"}),
    ),
    "workspaces/data": Example(f"{WORKSPACE}/data/churn", {}),
    "workspaces/data/versions": Example(
        f"{WORKSPACE}/data/churn/versions/1", {"dataUri": DATA_URI, "dataType": "uri_file"}
    ),
    "workspaces/codes": Example(f"{WORKSPACE}/codes/c0de", {}),
    "workspaces/codes/versions": Example(
        f"{WORKSPACE}/codes/c0de/versions/1",
        {"codeUri": "azureml://datastores/workspaceblobstore/paths/code", "properties": {"hash_sha256": "abc"}},
    ),
    "workspaces/environments": Example(f"{WORKSPACE}/environments/train", {}),
    "workspaces/environments/versions": Example(
        f"{WORKSPACE}/environments/train/versions/1", {"condaFile": "dependencies: [python=3.11]", "image": "base"}
    ),
    "workspaces/models": Example(f"{WORKSPACE}/models/churn-model", {}),
    "workspaces/models/versions": Example(
        f"{WORKSPACE}/models/churn-model/versions/1",
        {"modelUri": "azureml://datastores/workspaceblobstore/paths/model", "modelType": "mlflow_model"},
    ),
    "workspaces/components": Example(f"{WORKSPACE}/components/prep", {}),
    "workspaces/components/versions": Example(
        f"{WORKSPACE}/components/prep/versions/1", {"componentSpec": {"name": "prep", "command": "true"}}
    ),
    "registries": Example(
        REGISTRY,
        {"regionDetails": [{"location": "local"}]},
        edit=("description", "changed"),
        top=(("location", "local"),),
    ),
    "registries/data": Example(f"{REGISTRY}/data/churn", {}, needs=("registries",)),
    "registries/data/versions": Example(
        f"{REGISTRY}/data/churn/versions/1", {"dataUri": SHARED_URI, "dataType": "uri_file"}, needs=("registries",)
    ),
    "registries/codes": Example(f"{REGISTRY}/codes/c0de", {}, needs=("registries",)),
    "registries/codes/versions": Example(
        f"{REGISTRY}/codes/c0de/versions/1",
        {"codeUri": SHARED_URI, "properties": {"hash_sha256": "abc"}},
        needs=("registries",),
    ),
    "registries/environments": Example(f"{REGISTRY}/environments/train", {}, needs=("registries",)),
    "registries/environments/versions": Example(
        f"{REGISTRY}/environments/train/versions/1",
        {"condaFile": "dependencies: [python=3.11]", "image": "base"},
        needs=("registries",),
    ),
    "registries/models": Example(f"{REGISTRY}/models/churn-model", {}, needs=("registries",)),
    "registries/models/versions": Example(
        f"{REGISTRY}/models/churn-model/versions/1",
        {"modelUri": SHARED_URI, "modelType": "mlflow_model"},
        needs=("registries",),
    ),
    "registries/components": Example(f"{REGISTRY}/components/prep", {}, needs=("registries",)),
    "registries/components/versions": Example(
        f"{REGISTRY}/components/prep/versions/1",
        {"componentSpec": {"name": "prep", "command": "true"}},
        needs=("registries",),
    ),
    "workspaces/computes": Example(
        f"{WORKSPACE}/computes/cpu-cluster",
        {
            "computeType": "AmlCompute",
            "properties": {"vmSize": "STANDARD_DS3_V2", "scaleSettings": {"maxNodeCount": 4, "minNodeCount": 0}},
        },
    ),
    "workspaces/jobs": Example(
        f"{WORKSPACE}/jobs/train-1",
        {"jobType": "Command", "command": "python train.py", "environmentId": CURATED, "experimentName": "churn"},
    ),
    "workspaces/sharedlinks": Example(
        f"{WORKSPACE}/sharedLinks/l1",
        {
            "page": "job",
            "resources": [f"{WORKSPACE}/jobs/train-1"],
            "expiresAt": "2027-01-20T00:00:00Z",
        },
        needs=("workspaces/jobs",),
        edit=("displayName", "for the audit"),
    ),
    "workspaces/comparisons": Example(
        f"{WORKSPACE}/comparisons/few", {"jobs": ["train-1", "train-2"]}, edit=("jobs", ["train-1", "train-2"])
    ),
    "workspaces/savedviews": Example(
        f"{WORKSPACE}/savedViews/v1",
        {"displayName": "what failed", "page": "jobs", "query": "status=Failed"},
        edit=("displayName", "what broke"),
    ),
    "workspaces/schedules": Example(
        f"{WORKSPACE}/schedules/nightly",
        {
            "trigger": {"triggerType": "Cron", "expression": "0 2 * * *", "timeZone": "W. Europe Standard Time"},
            "action": {
                "actionType": "CreateJob",
                "jobDefinition": {"jobType": "Command", "command": "python train.py", "environmentId": CURATED},
            },
        },
        ended=(("isEnabled", False),),
    ),
    "workspaces/onlineendpoints": Example(f"{WORKSPACE}/onlineEndpoints/churn-scores", {"authMode": "Key"}),
    "workspaces/onlineendpoints/deployments": Example(
        f"{WORKSPACE}/onlineEndpoints/churn-scores/deployments/blue",
        {
            "model": "azureml:churn-model:1",
            "environmentId": CURATED,
            "codeConfiguration": {"codeId": f"{WORKSPACE}/codes/c0de/versions/1", "scoringScript": "score.py"},
            "instanceType": "Standard_DS3_v2",
        },
        needs=("workspaces/onlineendpoints", "workspaces/models/versions", "workspaces/codes/versions"),
    ),
    "microsoft.insights/actiongroups": Example(
        f"{GROUP}/providers/Microsoft.Insights/actionGroups/on-call",
        {"groupShortName": "on-call", "enabled": True},
        edit=("groupShortName", "oncall"),
        top=(("location", "Global"),),
    ),
    "microsoft.insights/metricalerts": Example(
        f"{GROUP}/providers/Microsoft.Insights/metricAlerts/slow",
        {
            "severity": 2,
            "scopes": [f"{WORKSPACE}/onlineEndpoints/churn-scores"],
            "evaluationFrequency": "PT1M",
            "windowSize": "PT1M",
            "criteria": {
                "odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
                "allOf": [
                    {
                        "name": "p99",
                        "metricName": "RequestLatency_P99",
                        "operator": "GreaterThan",
                        "threshold": 500,
                        "timeAggregation": "Average",
                        "criterionType": "StaticThresholdCriterion",
                    }
                ],
            },
            "actions": [{"actionGroupId": f"{GROUP}/providers/Microsoft.Insights/actionGroups/on-call"}],
        },
        needs=("workspaces/onlineendpoints", "microsoft.insights/actiongroups"),
        top=(("location", "global"),),
    ),
    "microsoft.insights/autoscalesettings": Example(
        f"{GROUP}/providers/Microsoft.Insights/autoscaleSettings/churn-scale",
        {
            "enabled": True,
            "targetResourceUri": f"{WORKSPACE}/onlineEndpoints/churn-scores/deployments/blue",
            "profiles": [
                {
                    "name": "default",
                    "capacity": {"minimum": "1", "maximum": "3", "default": "1"},
                    "rules": [
                        {
                            "metricTrigger": {
                                "metricName": "CpuUtilizationPercentage",
                                "metricResourceUri": f"{WORKSPACE}/onlineEndpoints/churn-scores/deployments/blue",
                                "timeGrain": "PT1M",
                                "statistic": "Average",
                                "timeWindow": "PT5M",
                                "timeAggregation": "Average",
                                "operator": "GreaterThan",
                                "threshold": 70,
                            },
                            "scaleAction": {
                                "direction": "Increase",
                                "type": "ChangeCount",
                                "value": "1",
                                "cooldown": "PT5M",
                            },
                        }
                    ],
                }
            ],
        },
        needs=("workspaces/onlineendpoints/deployments",),
        edit=("enabled", False),
    ),
    "workspaces/batchendpoints": Example(f"{WORKSPACE}/batchEndpoints/churn-nightly", {"authMode": "aadToken"}),
    "workspaces/batchendpoints/deployments": Example(
        f"{WORKSPACE}/batchEndpoints/churn-nightly/deployments/v1",
        {
            "model": {"referenceType": "Id", "assetId": "azureml:churn-model:1"},
            "environmentId": CURATED,
            "codeConfiguration": {"codeId": f"{WORKSPACE}/codes/c0de/versions/1", "scoringScript": "score.py"},
        },
        needs=("workspaces/batchendpoints", "workspaces/models/versions", "workspaces/codes/versions"),
    ),
    "microsoft.managedidentity/userassignedidentities": Example(
        f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/trainer",
        {},
        edit=("isolationScope", "None"),
    ),
    "microsoft.authorization/locks": Example(
        f"{WORKSPACE}/providers/Microsoft.Authorization/locks/keep",
        {"level": "CanNotDelete", "notes": "of the audit"},
        edit=("notes", "changed"),
    ),
}


def prepare(harness: Harness, key: str) -> Example:
    """PUT what the example needs, and its files; returns the example."""
    example = EXAMPLES[key]
    for needed in example.needs:
        prepare(harness, needed)
        answer = harness.put(EXAMPLES[needed].url, EXAMPLES[needed].body())
        assert answer.status_code in (200, 201, 202), answer.text
        harness.settle()
    if key in ("workspaces/onlineendpoints/deployments", "workspaces/batchendpoints/deployments"):
        store = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore")
        account, container = store.properties["accountName"], store.properties["containerName"]
        for name, text in (("code/score.py", "def run(data): return data"), ("model/MLmodel", "flavors: {}")):
            path = harness.blobs.path(account, container, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return example
