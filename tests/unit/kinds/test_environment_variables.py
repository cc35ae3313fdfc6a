"""What an environment says in `variables` is set where it is used: in jobs and in deployments, below what they say themselves."""

from __future__ import annotations

import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.platform import WORKSPACE, Harness

DEPLOYMENT = "workspaces/onlineendpoints/deployments"
CONDA = "dependencies: [pip]\nvariables: {FROM_THE_ENVIRONMENT: 'yes', BOTH: environment}"


@pytest.fixture
def environment(harness: Harness) -> str:
    url = f"{WORKSPACE}/environments/with-variables/versions/1"
    assert harness.put(url, {"properties": {"image": "base", "condaFile": CONDA}}).status_code == 201
    return url


def test_in_a_job(harness: Harness, environment: str) -> None:
    body = {"jobType": "Command", "command": "true", "environmentId": environment}
    own = {"environmentVariables": {"BOTH": "job"}}
    assert harness.put(f"{WORKSPACE}/jobs/j", {"properties": {**body, **own}}).status_code == 201
    harness.settle()
    (task,) = harness.engine.tasks.values()
    assert (task.variables["FROM_THE_ENVIRONMENT"], task.variables["BOTH"]) == ("yes", "job")


def test_in_a_deployment(harness: Harness, environment: str) -> None:
    example = prepare(harness, DEPLOYMENT)
    body = example.body(environmentId=environment, environmentVariables={"BOTH": "deployment"})
    answer = harness.put(EXAMPLES[DEPLOYMENT].url, {**body, "sku": {"name": "Default", "capacity": 1}})
    assert answer.status_code in (200, 201), answer.text
    harness.settle()
    (task,) = [one for one in harness.engine.tasks.values() if one.name.startswith("srv-")]
    assert (task.variables["FROM_THE_ENVIRONMENT"], task.variables["BOTH"]) == ("yes", "deployment")
