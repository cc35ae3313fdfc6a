"""What `az ml` prints without the SDK is what the SDK prints.

`documents.json` holds documents of the server, each with what azure-ai-ml 1.35.2 gave for it: `_to_dict()`, of a command job
that of the job which its builder becomes; where that has the Python name of an enumeration's member, its value. `tests/e2e/test_e2e_az_ml.py` compares with an SDK that runs.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from smalt.azext_ml.kinds import (
    BATCH_DEPLOYMENT,
    BATCH_ENDPOINT,
    COMPONENT,
    COMPUTE,
    DATA,
    DATASTORE,
    ENVIRONMENT,
    JOB,
    MODEL,
    ONLINE_DEPLOYMENT,
    ONLINE_ENDPOINT,
    REGISTRY,
    SCHEDULE,
    WORKSPACE,
)
from smalt.azext_ml.shapes.common import Unshaped, Where, seconds, short
from smalt.settings import TENANT

PAIRS: dict[str, Any] = json.loads(Path(__file__).with_name("documents.json").read_text())
KINDS = {
    "job": JOB, "data": DATA, "environment": ENVIRONMENT, "model": MODEL, "component": COMPONENT, "compute": COMPUTE,
    "datastore": DATASTORE, "schedule": SCHEDULE, "workspace": WORKSPACE, "online_endpoint": ONLINE_ENDPOINT,
    "online_deployment": ONLINE_DEPLOYMENT, "batch_endpoint": BATCH_ENDPOINT, "batch_deployment": BATCH_DEPLOYMENT,
    "registry": REGISTRY,
}  # fmt: skip
HERE = Where("default", TENANT)


def shaped(name: str, document: Any) -> Any:
    shape = KINDS[PAIRS[name]["kind"]].shape
    assert shape is not None
    return shape(document, HERE)


@pytest.mark.parametrize("name", PAIRS)
def test_as_the_sdk(name: str) -> None:
    assert shaped(name, PAIRS[name]["document"]) == PAIRS[name]["printed"]


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_not_known_is_not_left_out(name: str) -> None:
    """A property that a later server may add is never dropped in silence."""
    document = copy.deepcopy(PAIRS[name]["document"])
    document["properties"]["novelty"] = "x"
    if PAIRS[name]["kind"] == "component" and "componentSpec" in document["properties"]:
        document["properties"]["componentSpec"]["novelty"] = "x"
    with pytest.raises(Unshaped):
        shaped(name, document)


def test_all_kinds_have_a_pair() -> None:
    assert {one["kind"] for one in PAIRS.values()} == set(KINDS)


@pytest.mark.parametrize(("text", "expected"), [("PT1H30M", 5400), ("P1DT1S", 86_401), ("PT0S", 0), (None, None)])
def test_durations(text: str | None, expected: int | None) -> None:
    assert seconds(text) == expected


def test_a_duration_that_is_none() -> None:
    with pytest.raises(Unshaped):
        seconds("soon")


def test_references_are_short_in_their_own_workspace_alone() -> None:
    base = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces"
    assert short(f"{base}/Default/environments/e/versions/3", HERE) == "azureml:e:3"
    assert short(f"{base}/default/computes/c", HERE) == "azureml:c"
    assert short(f"{base}/other/computes/c", HERE) == f"azureml:{base}/other/computes/c"
    assert short("local", HERE) == "local" and short(None, HERE) is None
