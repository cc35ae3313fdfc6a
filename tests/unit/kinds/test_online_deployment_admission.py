"""What of an endpoint and its deployments is taken, refused and kept."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.deployments import BLUE, ENDPOINT, KEY, come_up, deploy, state, traffic
from fakes.examples import EXAMPLES, prepare
from fakes.platform import WORKSPACE, Harness


@pytest.fixture
def ready(harness: Harness) -> Harness:
    prepare(harness, KEY)
    return harness


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        ({"blue": 70, "red": 30}, "red"),
        ({"blue": 70}, "70"),
        ({"blue": -10}, "-10"),
        ({"blue": 140}, "140"),
    ],
)
def test_wrong_traffic_is_refused(ready: Harness, shares: dict[str, int], word: str) -> None:
    deploy(ready)
    come_up(ready)
    answer = traffic(ready, **shares)
    assert answer.status_code == 400 and "properties.traffic" in answer.text and word in answer.text


def test_a_name_is_taken_once_on_a_server(ready: Harness) -> None:
    other = ENDPOINT.replace("/bank/", "/second/")
    ready.put(other.split("/onlineEndpoints")[0], {"properties": {}})
    ready.settle()
    answer = ready.put(other, {"properties": {"authMode": "Key"}})
    assert answer.status_code == 409 and "unique" in answer.text


def test_keys_are_kept_and_renewed_one_at_a_time(ready: Harness) -> None:
    keys = ready.send("POST", f"{ENDPOINT}/listKeys").json()
    assert set(ready.gateway.route("churn-scores").keys) == set(keys.values())
    assert "primaryKey" not in ready.get(ENDPOINT).text
    ready.send("POST", f"{ENDPOINT}/regenerateKeys", {"keyType": "Primary"})
    ready.settle()
    renewed = ready.send("POST", f"{ENDPOINT}/listKeys").json()
    assert renewed["primaryKey"] != keys["primaryKey"] and renewed["secondaryKey"] == keys["secondaryKey"]
    assert set(ready.gateway.route("churn-scores").keys) == set(renewed.values())
    assert ready.send("POST", f"{ENDPOINT}/regenerateKeys", {"keyType": "Third"}).status_code == 400


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model": "azureml:nothing:1"}, "properties.model"),
        ({"instanceType": "Standard_DS3_v22"}, "properties.instanceType"),
        ({"environmentId": "azureml:none:1"}, "properties.environmentId"),
        ({"codeConfiguration": {"codeId": "azureml:none:1", "scoringScript": "score.py"}}, "codeId"),
        ({"codeConfiguration": None, "model": None}, "properties.codeConfiguration"),
        ({"readinessProbe": {"period": "soon"}}, "readinessProbe.period"),
        ({"readinessProbe": {"period": "PT0S"}}, "readinessProbe.period"),
        ({"livenessProbe": {"period": 10}}, "properties.livenessProbe.period"),
        ({"livenessProbe": {"initialDelay": "PT1.2.3S"}}, "properties.livenessProbe.initialDelay"),
        ({"livenessProbe": {"failureThreshold": 0}}, "properties.livenessProbe.failureThreshold"),
        ({"livenessProbe": "often"}, "properties.livenessProbe"),
        ({"requestSettings": "fast"}, "properties.requestSettings"),
        ({"requestSettings": {"requestTimeout": 5000}}, "properties.requestSettings.requestTimeout"),
        ({"requestSettings": {"requestTimeout": "PT0S"}}, "properties.requestSettings.requestTimeout"),
        ({"requestSettings": {"requestTimeout": "PT0.0001S"}}, "properties.requestSettings.requestTimeout"),
        ({"requestSettings": {"requestTimeout": "P99999999999D"}}, "properties.requestSettings.requestTimeout"),
        ({"requestSettings": {"requestTimeout": "PT1H1S"}}, "properties.requestSettings.requestTimeout"),
        ({"requestSettings": {"maxQueueWait": [1]}}, "properties.requestSettings.maxQueueWait"),
        ({"requestSettings": {"maxConcurrentRequestsPerInstance": "abc"}}, "maxConcurrentRequestsPerInstance"),
        ({"requestSettings": {"maxConcurrentRequestsPerInstance": 0}}, "maxConcurrentRequestsPerInstance"),
        ({"environmentVariables": {"N": {"a": 1}}}, "properties.environmentVariables.N"),
        ({"environmentVariables": "N=1"}, "properties.environmentVariables"),
        ({"codeConfiguration": "score.py"}, "properties.codeConfiguration"),
        ({"model": 5}, "properties.model"),
    ],
)
def test_wrong_deployments_are_refused_naming_the_field(ready: Harness, change: dict[str, Any], word: str) -> None:
    answer = ready.put(BLUE, EXAMPLES[KEY].body(**change))
    assert answer.status_code == 400 and word in answer.json()["error"]["message"], answer.text


@pytest.mark.parametrize(
    ("url", "change", "field"),
    [
        (BLUE, {"sku": "x"}, "sku"),
        (BLUE, {"sku": {"capacity": "many"}}, "sku.capacity"),
        (BLUE, {"sku": {"capacity": True}}, "sku.capacity"),
        (BLUE, {"identity": "x"}, "identity"),
        (ENDPOINT, {"identity": ["x"]}, "identity"),
        (ENDPOINT, {"properties": {"keys": "abc"}}, "properties.keys"),
        (ENDPOINT, {"properties": {"traffic": "blue"}}, "properties.traffic"),
        (ENDPOINT, {"properties": {"traffic": {"blue": "half"}}}, "properties.traffic.blue"),
    ],
)
def test_what_should_be_an_object_or_a_number_is_refused(
    ready: Harness, url: str, change: dict[str, Any], field: str
) -> None:
    answer = ready.put(url, {**EXAMPLES[KEY].body(), **change})
    assert answer.status_code == 400 and answer.json()["error"]["target"] == field, answer.text
    assert field in answer.json()["error"]["message"]


def test_an_hour_for_a_request_is_possible_and_numbers_are_taken_as_text(ready: Harness) -> None:
    settings = {"requestTimeout": "PT1H", "maxConcurrentRequestsPerInstance": "3"}
    variables = {"N": 2, "X": 0.5, "S": "s", "NONE": None}
    deploy(ready, requestSettings=settings, environmentVariables=variables, mine={"kept": 1})
    come_up(ready)
    assert state(ready) == "Succeeded"
    (route,) = ready.gateway.route("churn-scores").deployments
    assert (route.timeout_s, route.max_concurrent) == (3600, 3)
    (task,) = (task for name, task in ready.engine.tasks.items() if name.startswith("srv-"))
    assert {name: task.variables.get(name) for name in variables} == {"N": "2", "X": "0.5", "S": "s", "NONE": None}
    assert '"Smalt"' in task.documents[task.variables["ARM_CLOUD_METADATA_URL"]]
    assert ready.get(BLUE).json()["properties"]["mine"] == {"kept": 1}


def test_an_older_client_does_not_erase_what_it_does_not_know(ready: Harness) -> None:
    collector = {"collections": {"model_inputs": {"dataCollectionMode": "Enabled"}}}
    deploy(ready, dataCollector=collector)
    ready.put(BLUE + "?api-version=2022-02-01-preview", EXAMPLES[KEY].body())
    assert ready.get(BLUE).json()["properties"]["dataCollector"]["collections"].keys() == {"model_inputs"}
    ready.put(BLUE + "?api-version=2023-04-01-preview", EXAMPLES[KEY].body())
    assert "dataCollector" not in ready.get(BLUE).json()["properties"]


def test_the_environment_is_planned_once_when_the_deployment_is_admitted(
    ready: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[bool] = []
    plan = ready.environments.plan
    monkeypatch.setattr(
        ready.environments, "plan", lambda spec, serving: (planned.append(serving), plan(spec, serving))[1]
    )
    deploy(ready)
    come_up(ready)
    assert state(ready) == "Succeeded" and planned == [True]
    assert "smalt" not in ready.get(BLUE).json()


def test_what_an_endpoint_is_not_opened_by_is_neither_given_nor_renewed(ready: Harness) -> None:
    """A token of an endpoint with keys would open nothing, nor would new keys of one without."""

    def asked(name: str, body: Any = None) -> tuple[int, str]:
        answer = ready.send("POST", f"{ENDPOINT}/{name}", body)
        return answer.status_code, answer.json()["error"]["target"] if answer.status_code == 400 else ""

    assert asked("token") == (400, "authMode")
    for mode in ("AMLToken", "AADToken"):
        ready.put(ENDPOINT, {"properties": {"authMode": mode}})
        ready.settle()
        assert asked("listKeys") == asked("regenerateKeys", {"keyType": "Primary"}) == (400, "authMode")
        assert asked("token")[0] == (200 if mode == "AMLToken" else 400)


def test_an_image_with_a_server_of_its_own_is_refused_in_words(ready: Harness) -> None:
    route = {"port": 5001, "path": "/"}
    routes = {"livenessRoute": route, "readinessRoute": route, "scoringRoute": route}
    ready.put(f"{WORKSPACE}/environments/own/versions/1", {"properties": {"image": "base", "inferenceConfig": routes}})
    answer = ready.put(BLUE, EXAMPLES[KEY].body(codeConfiguration=None, model=None, environmentId="azureml:own:1"))
    assert answer.status_code == 400 and answer.json()["error"]["target"] == "properties.codeConfiguration"
    assert "inferenceConfig" in answer.text and "a scoring script is needed" in answer.text
