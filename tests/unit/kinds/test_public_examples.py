"""What the public examples of Azure's repository rely on beyond the protocol's common part."""

from __future__ import annotations

import pytest

from fakes.examples import EXAMPLES
from fakes.platform import WORKSPACE, Harness
from smalt.agent.service_spec import ServiceState
from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError
from smalt.kinds.serving import replicas

LAKE = EXAMPLES["workspaces/datastores"]
PREP = EXAMPLES["workspaces/components/versions"]
GROUP = WORKSPACE.partition("/providers/")[0]


def test_a_component_knows_its_name_and_version(harness: Harness) -> None:
    created = harness.put(PREP.url, PREP.body()).json()["properties"]["componentSpec"]
    assert (created["name"], created["version"]) == ("prep", "1")


def test_a_component_without_a_version_is_the_newest(harness: Harness) -> None:
    harness.put(PREP.url, PREP.body())
    harness.put(f"{WORKSPACE}/components/prep/versions/2", PREP.body())
    assert harness.get(f"{WORKSPACE}/components/prep/versions/azureml_default").json()["name"] == "2"
    assert harness.get(f"{WORKSPACE}/components/none/versions/azureml_default").status_code == 404


def test_a_datastore_is_gone_when_its_deletion_is_answered(harness: Harness) -> None:
    harness.put(LAKE.url, LAKE.body())
    assert harness.send("DELETE", LAKE.url).status_code in (200, 204)
    assert harness.get(LAKE.url).status_code == 404


def test_an_account_stays_its_workspace_s(harness: Harness) -> None:
    harness.put(LAKE.url, LAKE.body())
    harness.settle()
    harness.send("DELETE", LAKE.url)
    assert harness.put(LAKE.url, LAKE.body()).status_code == 201
    assert harness.put(LAKE.url + "2", LAKE.body()).status_code == 201


def test_a_deployment_s_operations_are_found_without_the_provider(harness: Harness) -> None:
    deployment = EXAMPLES["deployments"]
    harness.put(deployment.url, deployment.body())
    harness.settle()
    listed = harness.get(f"{GROUP}/deployments/dep1/operations".replace("resourceGroups", "resourcegroups"))
    assert [one["properties"]["targetResource"]["resourceName"] for one in listed.json()["value"]] == ["templated"]


def test_a_deployed_workspace_keeps_what_the_template_says(harness: Harness) -> None:
    network = {"isolationMode": "AllowInternetOutbound"}
    parameters = {
        name: {"value": value}
        for name, value in (
            ("workspaceName", "templated"),
            ("imageBuildCompute", "cpu"),
            ("managedNetwork", network),
        )
    }
    deployment = EXAMPLES["deployments"]
    harness.put(deployment.url, {"properties": {"parameters": parameters, "mode": "Incremental"}})
    harness.settle()
    made = harness.get(f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/templated").json()["properties"]
    assert (made["imageBuildCompute"], made["managedNetwork"]) == ("cpu", network)


@pytest.mark.parametrize("given", ["score.py", "./score.py", "onlinescoring/score.py"])
def test_a_scoring_script_may_be_named_with_its_folder(harness: Harness, given: str) -> None:
    account = harness.row(WORKSPACE).status["account"]
    code = Ref(account, "azureml", "uploads/onlinescoring/")
    folder = harness.blobs.path(*code)
    folder.mkdir(parents=True)
    (folder / "score.py").write_text("")
    assert replicas._entry_script(harness.platform, code, given) == "score.py"  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(ArmError, match=r"there is no 'other/score\.py'"):
        replicas._entry_script(harness.platform, code, "other/score.py")  # pyright: ignore[reportPrivateUsage]


def test_lists_leave_out_what_has_no_name(harness: Harness) -> None:
    for name, anonymous in (("churn", False), ("0f" * 32, True)):
        body = {"modelUri": "azureml://datastores/workspaceblobstore/paths/m", "isAnonymous": anonymous}
        assert harness.put(f"{WORKSPACE}/models/{name}/versions/1", {"properties": body}).status_code == 201
    assert [one["name"] for one in harness.get(f"{WORKSPACE}/models").json()["value"]] == ["churn"]


@pytest.mark.parametrize("type_", ["AmlCompute", "ComputeInstance"])
def test_a_compute_is_an_operation_to_poll(harness: Harness, type_: str) -> None:
    """The client of 1.31.0 takes the type out of the answer as it reads it: what it reads again must be another answer."""
    url = f"{WORKSPACE}/computes/box"
    for _ in ("made", "updated"):
        answer = harness.put(url, {"location": "local", "properties": {"computeType": type_}})
        assert answer.status_code == 201
        harness.settle()
        for task in harness.engine.states:  # an instance succeeds as soon as its JupyterLab answers
            harness.engine.start(task)
            harness.engine.serve(task, JupyterLab=ServiceState("Running", 4321))
            harness.settle()
        assert harness.get(answer.headers["azure-asyncoperation"]).json()["status"] == "Succeeded"
        assert harness.get(url).json()["properties"]["computeType"] == type_
