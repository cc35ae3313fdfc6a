"""Who may send what through the edge: which routes exist, what each needs permission for, which may be sent twice.

MLflow's server has more than tracking: an assistant that runs commands on the server, webhooks that call out, gateways,
a list of all workspaces. What is not named here is not there.
"""

from __future__ import annotations

import re

_ML = "Microsoft.MachineLearningServices/workspaces"
_API = re.compile(r"/(?:ajax-)?api/\d\.0/(?:preview/)?mlflow/([^/]+)(?:/(.*))?", re.DOTALL)
_REGISTRY = frozenset({"registered-models", "model-versions"})
_TRACKING = frozenset(
    {
        "artifacts",
        "datasets",
        "experiments",
        "get-online-trace-details",
        "get-trace-artifact",
        "issues",
        "label-schemas",
        "logged-models",
        "metrics",
        "review-queues",
        "runs",
        "scorers",
        "server-info",
        "traces",
        "ui-telemetry",
        "unified-traces",
        "upload-artifact",
    }
)
_PLAIN = re.compile(
    r"/|/version|/health|/graphql|/get-artifact|/model-versions/get-artifact|/v1/traces|/static-files/.+"
)
_READING_POST = re.compile(
    r"(.*/)?(search(-[a-z-]+)?|get-[a-z-]+|batch-?get[a-zA-Z]*|metrics|calculate[a-z-]*|list|query[a-z-]*)",
    re.IGNORECASE,
)
_READ = ("/graphql", "/list", "/full")  # the last two are of the metric service (`run_metrics.py`)
_SETTING_POST = re.compile(r"log-(metric|parameter|batch|batch-async|inputs)|update|set-([a-z]+-)?tag")


def is_known(rest: str) -> bool:
    """Whether the decoded path below a workspace is served. Dot segments never are."""
    if any(part in ("..", ".") for part in rest.split("/")):
        return False
    found = _API.fullmatch(rest)
    if found:
        return found[1] in _REGISTRY or found[1] in _TRACKING
    return _PLAIN.fullmatch(rest) is not None


def action(method: str, rest: str) -> str:
    """The ARM action that a request needs: `…/workspaces/{experiments|models}/{read|write|delete}`."""
    found = _API.fullmatch(rest)
    what = "models" if found and found[1] in _REGISTRY else "experiments"
    if method in ("GET", "HEAD", "OPTIONS") or rest in _READ:
        return f"{_ML}/{what}/read"
    if method == "POST" and found and _READING_POST.fullmatch(found[2] or found[1]):
        return f"{_ML}/{what}/read"
    return f"{_ML}/{what}/{'delete' if method == 'DELETE' else 'write'}"


def is_repeatable(method: str, rest: str) -> bool:
    """Whether MLflow is as it would be after one such request when it got two.

    That is so for reads, and what is set or logged by key.
    """
    if action(method, rest).endswith("/read"):
        return True
    found = _API.fullmatch(rest)
    return method == "POST" and found is not None and _SETTING_POST.fullmatch(found[2] or "") is not None
