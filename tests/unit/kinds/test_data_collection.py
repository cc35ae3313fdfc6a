"""`dataCollector` of a deployment: what is taken, which data assets there are, and what replicas are told."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.deployments import BLUE, KEY, come_up, deploy, state
from fakes.examples import EXAMPLES, REGISTRY, prepare
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import TaskSpec
from smalt.kinds.assets.registries import account_of

DATA = f"{WORKSPACE}/data"
FOLDER = "modelDataCollector/churn-scores/blue"


@pytest.fixture
def ready(harness: Harness) -> Harness:
    prepare(harness, KEY)
    return harness


def collector(*names: str, **more: Any) -> dict[str, Any]:
    return {"collections": {name: {"dataCollectionMode": "enabled"} for name in names}, **more}


def tasks(harness: Harness) -> list[TaskSpec]:
    return [task for name, task in harness.engine.tasks.items() if name.startswith("srv-")]


def test_each_collection_is_a_data_asset_and_a_folder_of_every_replica(ready: Harness) -> None:
    deploy(ready, capacity=2, dataCollector=collector("model_inputs", "Own.stage-2", rollingRate="day"))
    come_up(ready)
    assert state(ready) == "Succeeded"
    kept = ready.get(BLUE).json()["properties"]["dataCollector"]
    assert kept["rollingRate"] == "Day"
    for name, one in kept["collections"].items():
        assert one["dataCollectionMode"] == "Enabled", "as the client compares it"
        asset = ready.get(one["dataId"]).json()["properties"]
        assert one["dataId"] == f"{DATA}/churn-scores-blue-{name}/versions/1"
        assert asset["dataUri"] == f"azureml://datastores/workspaceblobstore/paths/{FOLDER}/{name}/"
        assert asset["dataType"] == "uri_folder"
    assert ready.get(f"{DATA}/churn-scores-blue-model_inputs").json()["properties"]["latestVersion"] == "1"
    told = tasks(ready)
    assert [one.server.collector.instance for one in told if one.server and one.server.collector] == [
        one.name for one in told
    ]
    for task in told:
        assert task.server and (spec := task.server.collector)
        places = {one.name: one.target.name for one in task.outputs if one.target}
        assert {one.mode for one in task.outputs} == {"append"} and spec.rolling == "day"
        assert {one.name: places[one.output] for one in spec.collections} == {
            "model_inputs": f"{FOLDER}/model_inputs/",
            "own.stage-2": f"{FOLDER}/Own.stage-2/",
        }
        assert spec.source.endswith("/onlineEndpoints/churn-scores/deployments/blue")
        assert TaskSpec.from_json(task.to_json()) == task


def test_a_collection_may_have_an_asset_and_a_rate_of_its_own(ready: Harness) -> None:
    uri = "azureml://datastores/workspaceblobstore/paths/monitoring/inputs"
    ready.put(f"{DATA}/seen/versions/3", {"properties": {"dataUri": uri, "dataType": "uri_folder"}})
    own = {"dataCollectionMode": "Enabled", "dataId": f"{DATA}/seen/versions/3", "samplingRate": 0.25}
    off = {"dataCollectionMode": "Disabled"}
    headers = {"captureHeaders": ["x-team"]}
    deploy(ready, dataCollector={"collections": {"request": own, "response": off}, "requestLogging": headers})
    (task,) = tasks(ready)
    assert task.server and (spec := task.server.collector)
    assert [(one.name, one.rate) for one in spec.collections] == [("request", 0.25)]
    assert [one.target.name for one in task.outputs if one.target] == ["monitoring/inputs/"]
    assert spec.collections[0].url.endswith("/monitoring/inputs") and spec.headers == ["x-team"]
    kept = ready.get(BLUE).json()["properties"]["dataCollector"]["collections"]
    assert kept == {"request": own, "response": off}
    assert ready.get(f"{DATA}/churn-scores-blue-response").status_code == 404


def test_a_change_of_what_is_collected_is_a_new_revision_and_without_it_nothing_is(ready: Harness) -> None:
    deploy(ready)
    come_up(ready)
    (first,) = tasks(ready)
    assert first.server and first.server.collector is None and first.outputs == []
    deploy(ready, dataCollector=collector("request"))
    come_up(ready)
    assert any(task.server and task.server.collector for task in tasks(ready))
    assert state(ready) == "Succeeded"
    names = set(ready.engine.tasks)
    deploy(ready, dataCollector=collector("request"))
    assert set(ready.engine.tasks) == names, "the same again changes nothing"


@pytest.mark.parametrize(
    ("given", "field", "word"),
    [
        ({}, "properties.dataCollector.collections", "required"),
        ("yes", "properties.dataCollector", "dictionary"),
        (collector("../x"), "properties.dataCollector.collections.../x", "letters"),
        (collector("own", "OWN"), "properties.dataCollector.collections.OWN", "lower case"),
        (collector("own", rollingRate="often"), "properties.dataCollector.rollingRate", "Minute"),
        ({"collections": {"a": {"dataCollectionMode": "on"}}}, "properties.dataCollector.collections.a.dataCollectionMode", "Enabled"),
        ({"collections": {"a": {"samplingRate": 2}}}, "properties.dataCollector.collections.a.samplingRate", "1"),
        (
            {"collections": {"a": {"dataCollectionMode": "Enabled", "dataId": f"{DATA}/none/versions/1"}}},
            "properties.dataCollector.collections.a.dataId", "none",
        ),
        (
            {"collections": {"a": {"dataCollectionMode": "Enabled", "dataId": f"{DATA}/churn/versions/1"}}},
            "properties.dataCollector.collections.a.dataId", "uri_folder",
        ),
        (
            {"collections": {"a": {"dataCollectionMode": "Enabled", "dataId": f"{DATA}/web/versions/1"}}},
            "properties.dataCollector.collections.a.dataId", "no folder",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_collected_is_refused_naming_the_field(
    ready: Harness, given: Any, field: str, word: str
) -> None:
    churn = EXAMPLES["workspaces/data/versions"]
    ready.put(churn.url, churn.body())
    ready.put(f"{DATA}/web/versions/1", {"properties": {"dataUri": "https://example.com/x", "dataType": "uri_folder"}})
    answer = ready.put(BLUE, EXAMPLES[KEY].body(dataCollector=given))
    error = answer.json()["error"]
    assert (answer.status_code, error["target"]) == (400, field), answer.text
    assert word in error["message"]


def test_nothing_is_collected_into_a_registry(ready: Harness) -> None:
    assert ready.put(REGISTRY, EXAMPLES["registries"].body()).status_code == 202
    ready.settle()
    folder = f"{ready.settings.account_url(account_of('shared'))}/data-1/x/"
    shared = f"{REGISTRY}/data/seen/versions/1"
    made = ready.put(shared, {"properties": {"dataUri": folder, "dataType": "uri_folder"}})
    assert made.status_code == 201, made.text
    asked = {"dataCollectionMode": "Enabled", "dataId": "azureml://registries/shared/data/seen/versions/1"}
    answer = ready.put(BLUE, EXAMPLES[KEY].body(dataCollector={"collections": {"request": asked}}))
    assert answer.json()["error"]["target"] == "properties.dataCollector.collections.request.dataId", answer.text
    assert answer.status_code == 400 and "registry" in answer.text


def test_deployments_whose_names_read_alike_have_folders_of_their_own(ready: Harness) -> None:
    endpoints = BLUE.partition("/churn-scores")[0]
    kept = list[str]()
    for name in ("aaa-bbb/deployments/ccc", "aaa/deployments/bbb-ccc", "aaa-bbb/deployments/ccc"):
        ready.put(f"{endpoints}/{name.partition('/')[0]}", {"location": "local", "properties": {"authMode": "Key"}})
        answer = ready.put(f"{endpoints}/{name}", EXAMPLES[KEY].body(dataCollector=collector("request")))
        assert answer.status_code in (200, 201), answer.text
        kept.append(answer.json()["properties"]["dataCollector"]["collections"]["request"]["dataId"])
    assert [one.rpartition("/data/")[2] for one in kept] == [f"aaa-bbb-ccc-request/versions/{n}" for n in (1, 2, 1)]
    uris = [ready.get(one).json()["properties"]["dataUri"] for one in kept]
    assert uris[0].endswith("/aaa-bbb/ccc/request/") and uris[1].endswith("/aaa/bbb-ccc/request/")


def test_a_model_without_code_collects_only_what_there_is(ready: Harness) -> None:
    model = f"{WORKSPACE}/models/flavored/versions/1"
    uri = "azureml://datastores/workspaceblobstore/paths/model"
    ready.put(model, {"properties": {"modelUri": uri, "modelType": "mlflow_model"}})
    body = EXAMPLES[KEY].body(model=model, codeConfiguration=None, dataCollector=collector("model_inputs", "mine"))
    answer = ready.put(BLUE, body)
    assert answer.status_code == 400 and "collections.mine" in answer.json()["error"]["target"], answer.text
    body["properties"]["dataCollector"] = collector("model_inputs", "model_outputs", "request", "response")
    assert ready.put(BLUE, body).status_code in (200, 201)
