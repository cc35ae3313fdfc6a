"""What pages have to stand: HTML, emoji and right-to-left text in names, names without an end, 2,000 parameters, bad bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from live.platform import HOME, Platform

LONG = "n" * 200  # a name in an id
ENDLESS = "w" * 300  # one that people write
NASTY = "<img src=x onerror=alert(1)><b>🐛 👩🏽‍🔬 שלום مرحبا \u202e txet"
PARAMETERS, OF_ONE_CALL = 2000, 100
SCRIPT = b"""
import os, struct, zlib
os.makedirs("outputs/deep", exist_ok=True)
open("outputs/bad.csv", "wb").write(b"na\\xefve;\\xff\\xfe;" + b"c" * 300 + b"\\n1;\\x80\\xe2\\x28;x\\n")
def part(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
wide, high = 8000, 3000
rows = zlib.compress((b"\\0" + b"\\x55" * wide) * high)
head = struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)
open("outputs/big.png", "wb").write(b"\\x89PNG\\r\\n\\x1a\\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b""))
open("outputs/deep/" + "f" * 200 + ".txt", "w").write("<b>" + "t" * 5000)
print("<b>" + "p" * 3000)
"""


def make(platform: Platform) -> None:
    """A resource of each kind that has a page of its own."""
    environment = platform.ensure_environment()
    code = platform.upload_code("hostile", "hostile.py", SCRIPT)
    words = {"displayName": NASTY, "description": ENDLESS, "tags": {"a": ENDLESS[:250], "t" * 200: NASTY}}
    job = {"codeId": code, "experimentName": ENDLESS[:200], **words}
    for name in (LONG, "seen"):
        _made(platform.submit(name, f"python3 hostile.py # {ENDLESS}", **job))
    for name in (LONG, "seen"):
        platform.wait_for(name, "Completed")
    _log(platform, "seen")
    _made(platform.submit("broken", f"echo '{NASTY}{ENDLESS}' >&2; exit 3", displayName=ENDLESS))
    for name, file in ((LONG, "bad.csv"), ("picture", "big.png")):
        platform.put(
            f"data/{name}/versions/1", {"dataType": "uri_file", "dataUri": f"runs:/seen/outputs/{file}", **_asset()}
        )
    platform.put(
        f"models/{LONG}/versions/1", {"modelType": "custom_model", "modelUri": "runs:/seen/outputs/deep", **_asset()}
    )
    platform.put(f"environments/{LONG}/versions/1", {"image": "python:3.11", **_asset()})
    spec = {"type": "command", "command": f"echo {ENDLESS}", "environment": environment, "outputs": {}, "inputs": {}}
    platform.put(f"components/{LONG}/versions/1", {"componentSpec": {**spec, "display_name": NASTY}, **_asset()})
    steps = {"s" * 60: {"type": "command", "componentId": f"azureml:{LONG}:1", "display_name": NASTY}}
    platform.put("jobs/piped", {"jobType": "Pipeline", "jobs": steps, **words})
    platform.put("jobs/swept", _sweep(environment))
    trigger = {"triggerType": "Cron", "expression": "0 0 1 1 *"}
    definition = {"jobType": "Command", "command": "echo", "environmentId": environment}
    action = {"actionType": "CreateJob", "jobDefinition": definition}
    platform.put(
        "schedules/yearly", {"trigger": trigger, "action": action, "displayName": NASTY, "description": ENDLESS}
    )
    scale = {"minNodeCount": 0, "maxNodeCount": 1}
    machine = {"vmSize": "Standard_DS3_v2", "scaleSettings": scale}
    platform.put("computes/wide-farm", {"computeType": "AmlCompute", "properties": machine}, location="local")
    platform.put(
        "onlineEndpoints/seen", {"authMode": "Key", "description": ENDLESS}, location="local", tags={"a": NASTY}
    )
    runs = {
        "environmentId": environment,
        "codeConfiguration": {"codeId": code, "scoringScript": "hostile.py"},
        "instanceType": "Standard_DS3_v2",
    }
    deployment = {"location": "local", "sku": {"name": "Default", "capacity": 1}, "properties": runs}
    _made(platform.call("PUT", "onlineEndpoints/seen/deployments/blue", deployment))
    platform.put("batchEndpoints/seen-nightly", {"authMode": "AADToken", "description": ENDLESS}, location="local")
    _watch(platform)
    _keep_pages(platform)


def _watch(platform: Platform) -> None:
    """An alert that tells an action group."""
    insights = f"{HOME.partition('/providers/')[0]}/providers/Microsoft.Insights"
    group, tail = f"{insights}/actionGroups/{'g' * 200}", "?api-version=2018-03-01"
    told = {"groupShortName": "seen", "enabled": True}
    _made(platform.call("PUT", f"{group}{tail}", {"location": "Global", "properties": told}))
    one = {"name": NASTY, "metricName": "RequestLatency_P99", "operator": "GreaterThan", "threshold": 1e9}
    rule = {
        "scopes": [f"{HOME}/onlineEndpoints/seen"],
        "description": NASTY + ENDLESS,
        "criteria": {"allOf": [{**one, "timeAggregation": "Average"}]},
        "actions": [{"actionGroupId": group}],
    }
    made = {"location": "global", "properties": {"severity": 4, "enabled": True, **rule}}
    _made(platform.call("PUT", f"{insights}/metricAlerts/seen-slow{tail}", made))


def _keep_pages(platform: Platform) -> None:
    """Links that show pages to others, and views of the list of jobs."""
    named = {"displayName": (NASTY + ENDLESS)[:80]}
    link = {**named, "expiresAt": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
    platform.put("sharedLinks/seen-by-all", {"page": "job", "resources": [f"{HOME}/jobs/seen"], **link})
    jobs = [f"{HOME}/jobs/{one}" for one in ("seen", LONG)]
    platform.put("sharedLinks/compared", {"page": "jobs", "resources": jobs, **link})
    for name, shared in (("wide", True), ("own", False)):
        query = f"search={ENDLESS[:100]}&columns=type,tags"
        platform.put(f"savedViews/{name}", {"page": "jobs", "query": query, "shared": shared, **named})


def _made(answer: requests.Response) -> None:
    assert answer.status_code in (200, 201), answer.text


def _asset() -> dict[str, Any]:
    return {"description": NASTY + ENDLESS, "tags": {"a": ENDLESS[:250], "b": NASTY}}


def _sweep(environment: str) -> dict[str, Any]:
    return {
        "jobType": "Sweep",
        "displayName": ENDLESS,
        "trial": {"command": "echo ${{search_space.lr}}", "environmentId": environment},
        "objective": {"goal": "maximize", "primaryMetric": "acc"},
        "searchSpace": {"lr": ["choice", [[NASTY, ENDLESS]]]},
        "samplingAlgorithm": {"samplingAlgorithmType": "Grid"},
        "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": 2, "maxConcurrentTrials": 2},
    }


def _log(platform: Platform, job: str) -> None:
    values = [{"key": f"parameter-{at:04}-{'k' * 100}", "value": NASTY + ENDLESS} for at in range(PARAMETERS)]
    metrics = [{"key": "m" * 200, "value": 1.5, "timestamp": at, "step": at} for at in range(3)]
    for begin in range(0, PARAMETERS, OF_ONE_CALL):
        body = {"run_id": job, "params": values[begin : begin + OF_ONE_CALL], "metrics": metrics if not begin else []}
        answer = platform.call("POST", f"/mlflow/v1.0{HOME}/api/2.0/mlflow/runs/log-batch", body)
        assert answer.status_code == 200, answer.text
