"""Endpoints with scoring scripts: several instances, logs, keys, traffic, failures that leave blue serving, updates."""

import json
import threading
from unittest.mock import ANY

import requests
from azure.ai.ml.entities import (
    AzureMLOnlineInferencingServer,
    BaseEnvironment,
    CodeConfiguration,
    Environment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    ModelPackage,
)
from azure.core.exceptions import ResourceNotFoundError
from session import PLAIN_IMAGE, connect, refused, scratch, step, unique, until

ml = connect()
name = f"scores-{unique}"
source = scratch / "src"
source.mkdir()
(source / "score.py").write_text(
    """
import json, os
def init():
    global factor, where
    where = os.environ["AZUREML_MODEL_DIR"]
    factor = int(open(os.path.join(where, "factor.txt")).read())
    print("init was called")
def run(raw):
    body = json.loads(raw)
    if body.get("fail"):
        raise ValueError("told to fail")
    return {"result": body["x"] * factor, "task": os.environ["SMALT_TASK"], "note": os.environ.get("NOTE")}
"""
)
(source / "broken.py").write_text(
    "def init():\n    raise RuntimeError('the init is broken')\ndef run(raw):\n    return 1\n"
)
weights = scratch / "factor.txt"
weights.write_text("3")
model = ml.models.create_or_update(Model(name=f"factor-{unique}", path=str(weights)))
environment = ml.environments.create_or_update(
    Environment(
        name=f"serve-{unique}",
        image=PLAIN_IMAGE,
        conda_file={"dependencies": ["python=3.11", "pip", {"pip": ["azureml-inference-server-http"]}]},
    )
)


def deployment(which, script="score.py", instances=1, note="first"):
    return ManagedOnlineDeployment(
        name=which,
        endpoint_name=name,
        model=model,
        environment=environment,
        instance_type="Standard_DS3_v2",
        instance_count=instances,
        code_configuration=CodeConfiguration(code=str(source), scoring_script=script),
        environment_variables={"NOTE": note},
    )


with step("an endpoint, and a deployment of two instances"):
    endpoint = ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode="key")).result()
    assert endpoint.provisioning_state == "Succeeded" and endpoint.scoring_uri.endswith(f"/endpoints/{name}/score")
    ml.online_deployments.begin_create_or_update(deployment("blue", instances=2)).result()
    endpoint.traffic = {"blue": 100}
    endpoint = ml.online_endpoints.begin_create_or_update(endpoint).result()
    assert ml.online_endpoints.get(name).traffic == {"blue": 100}
    body = scratch / "body.json"
    body.write_text(json.dumps({"x": 2}))
    assert json.loads(ml.online_endpoints.invoke(endpoint_name=name, request_file=str(body)))["result"] == 6

keys = ml.online_endpoints.get_keys(name)
session = requests.Session()
session.headers["Authorization"] = f"Bearer {keys.primary_key}"


def ask(json_body=None, **headers):
    return session.post(endpoint.scoring_uri, json=json_body or {"x": 2}, headers=headers, timeout=90)


with step("both instances answer; errors of the script are the client's to see"):
    tasks = set()
    until(lambda: tasks.add(ask().json()["task"]) or len(tasks) == 2, "answers of both instances")
    failed = ask({"fail": True})
    assert failed.status_code in (424, 500), failed.status_code
    assert ask().headers["azureml-model-deployment"] == "blue"

with step("logs: what the script printed and logged"):
    logs = ml.online_deployments.get_logs(name="blue", endpoint_name=name, lines=200)
    assert "init was called" in logs and "told to fail" in logs, logs

with step("keys: the second works too, a new one ends the old"):
    assert requests.post(
        endpoint.scoring_uri, json={"x": 1}, headers={"Authorization": f"Bearer {keys.secondary_key}"}, timeout=90
    ).ok
    ml.online_endpoints.begin_regenerate_keys(name, key_type="primary").result()
    fresh = ml.online_endpoints.get_keys(name)
    assert fresh.primary_key != keys.primary_key and fresh.secondary_key == keys.secondary_key
    assert ask().status_code == 401
    session.headers["Authorization"] = f"Bearer {fresh.primary_key}"
    assert ask().ok

with step("traffic that cannot be is refused, and nothing changes"):
    for traffic in ({"blue": 70}, {"blue": 50, "green": 50}, {"blue": 150}):
        wrong = ManagedOnlineEndpoint(name=name, auth_mode="key")
        wrong.traffic = traffic
        with refused(status=400):
            ml.online_endpoints.begin_create_or_update(wrong).result()
    assert ask().ok

with step("a deployment that does not come up says why; blue goes on"):
    with refused("the init is broken"):
        ml.online_deployments.begin_create_or_update(deployment("green", script="broken.py")).result()
    assert ml.online_deployments.get("green", name).provisioning_state == "Failed"
    assert "RuntimeError" in ml.online_deployments.get_logs(name="green", endpoint_name=name, lines=100)
    traffic = ml.online_endpoints.get(name).traffic
    assert ask().ok and {which: share for which, share in traffic.items() if share} == {"blue": 100}, traffic
    ml.online_deployments.begin_delete(name="green", endpoint_name=name).result()

with step("an update loses no request"):
    stop, answers = threading.Event(), []

    def keep_asking():
        with requests.Session() as own:
            own.headers["Authorization"] = f"Bearer {fresh.primary_key}"
            while not stop.is_set():
                reply = own.post(endpoint.scoring_uri, json={"x": 2}, timeout=90)
                answers.append((reply.status_code, reply.json().get("note") if reply.ok else reply.text))

    asking = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in asking:
        thread.start()
    ml.online_deployments.begin_create_or_update(deployment("blue", instances=2, note="second")).result()
    until(lambda: answers[-1][1] == "second", "the new one")
    stop.set()
    for thread in asking:
        thread.join()
    assert {code for code, _ in answers} == {200}, [one for one in answers if one[0] != 200][:5]
    assert {note for _, note in answers} == {"first", "second"}
    print(f"   {len(answers)} requests during the update")

with step("a broken update fails, and what was live stays"):
    with refused("the init is broken"):
        ml.online_deployments.begin_create_or_update(deployment("blue", script="broken.py", instances=2)).result()
    assert ask().json()["note"] == "second"

with step("a package of the model is all that a deployment needs"):
    server = AzureMLOnlineInferencingServer(
        code_configuration=CodeConfiguration(code=str(source), scoring_script="score.py")
    )
    packed = ml.models.package(
        model.name,
        model.version,
        ModelPackage(
            target_environment=f"packed-{unique}",
            inferencing_server=server,
            base_environment_source=BaseEnvironment(
                "EnvironmentAsset", f"azureml:{environment.name}:{environment.version}"
            ),
            environment_variables={"NOTE": "packed"},
        ),
    )
    assert packed.name == f"packed-{unique}" and packed.version == "1", packed
    lone = ManagedOnlineDeployment(
        name="lone", endpoint_name=name, environment=packed, instance_type="Standard_DS3_v2", instance_count=1
    )
    ml.online_deployments.begin_create_or_update(lone).result()
    assert ask(**{"azureml-model-deployment": "lone"}).json() == {**ask().json(), "note": "packed", "task": ANY}

with step("deleted"):
    with refused(status=409):
        ml.online_deployments.begin_delete(name="blue", endpoint_name=name).result()
    ml.online_endpoints.begin_delete(name).result()
    with refused(kind=ResourceNotFoundError):
        ml.online_endpoints.get(name)
    until(lambda: ask().status_code == 404, "404 at the scoring URI")

print("PASSED")
