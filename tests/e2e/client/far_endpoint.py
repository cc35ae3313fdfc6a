"""An endpoint whose instances are on machines of a cluster: the client's classes for clusters of one's own."""

import json
import sys
import tempfile
import threading
from pathlib import Path

import requests
from azure.ai.ml._artifacts._artifact_utilities import download_artifact
from azure.ai.ml.entities import (
    CodeConfiguration,
    DataCollector,
    DeploymentCollection,
    Environment,
    KubernetesOnlineDeployment,
    KubernetesOnlineEndpoint,
    Model,
    ResourceRequirementsSettings,
    ResourceSettings,
)
from azure.core.exceptions import HttpResponseError
from session import PLAIN_IMAGE, connect, scratch, step, unique, until

cluster, endpoint = sys.argv[1:]
ml = connect()
(scratch / "code").mkdir()
(scratch / "code" / "score.py").write_text(
    "import json, os, pathlib, socket\n"
    "def init():\n"
    "    global factor\n"
    "    (path,) = pathlib.Path(os.environ['AZUREML_MODEL_DIR']).rglob('factor.txt')\n"
    "    factor = int(path.read_text())\n"
    "    print('init of release', os.environ['RELEASE'], flush=True)\n"
    "def run(raw):\n"
    "    return [json.loads(raw)['x'] * factor, os.environ['RELEASE'], socket.gethostname()]\n"
)
(scratch / "factor.txt").write_text("3")
model = ml.models.create_or_update(
    Model(name=f"factor-{unique}", path=str(scratch / "factor.txt"), type="custom_model")
)
environment = ml.environments.create_or_update(Environment(name=f"bare-{unique}", image=PLAIN_IMAGE))


def blue(release, name="blue", count=2, resources=None):
    collector = DataCollector(collections={"request": DeploymentCollection(enabled="true")})
    return KubernetesOnlineDeployment(
        name=name,
        endpoint_name=endpoint,
        model=model,
        environment=environment,
        instance_count=count,
        resources=resources,  # without: one core, 2 GiB
        code_configuration=CodeConfiguration(code=str(scratch / "code"), scoring_script="score.py"),
        environment_variables={"RELEASE": release},
        data_collector=collector,
    )


with step("it names a cluster that is not there"):
    try:
        ml.online_endpoints.begin_create_or_update(KubernetesOnlineEndpoint(name=endpoint, compute="nowhere")).result()
        raise AssertionError("it was taken")
    except HttpResponseError as error:
        assert "there is no compute 'nowhere'" in str(error), error

with step("an endpoint on the cluster"):
    one = KubernetesOnlineEndpoint(name=endpoint, compute=cluster, auth_mode="key")
    made = ml.online_endpoints.begin_create_or_update(one).result()
    assert made.compute.endswith(f"/computes/{cluster}"), made.compute
    ml.online_deployments.begin_create_or_update(blue("1")).result()
    one.traffic = {"blue": 100}
    url = ml.online_endpoints.begin_create_or_update(one).result().scoring_uri
    key = ml.online_endpoints.get_keys(endpoint).primary_key
    found = ml.online_deployments.get("blue", endpoint)
    assert (type(found).__name__, found.provisioning_state) == ("KubernetesOnlineDeployment", "Succeeded"), found

headers, stop, answers = {"Authorization": f"Bearer {key}"}, threading.Event(), []


def post():
    with requests.Session() as session:
        while not stop.is_set():
            answer = session.post(url, json={"x": 2}, headers=headers, timeout=90)
            assert answer.status_code == 200, answer.text
            answers.append(answer.json())


with step("a rolling update under load, not one request failed"):
    clients = [threading.Thread(target=post, daemon=True) for _ in range(2)]
    for client in clients:
        client.start()
    ml.online_deployments.begin_create_or_update(blue("2")).result()
    until(lambda: [6, "2"] in [one[:2] for one in answers], "an answer of the new one")
    stop.set()
    for client in clients:
        client.join()
    assert {tuple(one[:2]) for one in answers} == {(6, "1"), (6, "2")}
    assert len({one[2] for one in answers if one[1] == "2"}) <= 2

with step("a third instance on two machines shares one of them"):
    asked = ResourceRequirementsSettings(requests=ResourceSettings(cpu="0.5", memory="512Mi"))
    made = ml.online_deployments.begin_create_or_update(blue("3", "green", 1, asked)).result()
    assert made.resources.requests == asked.requests, made.resources
    answer = requests.post(url, json={"x": 2}, headers={**headers, "azureml-model-deployment": "green"}, timeout=90)
    assert answer.json()[:2] == [6, "3"], answer.text

with step("its log and what it collects"):
    logs = ml.online_deployments.get_logs
    until(lambda: "init of release 2" in logs("blue", endpoint, lines=100), "the log, a second late at most")

    def collected():
        target = tempfile.mkdtemp(dir=scratch)
        download_artifact(
            starts_with=f"modelDataCollector/{endpoint}/blue/request",
            destination=target,
            datastore_operation=ml.datastores,
            datastore_name="workspaceblobstore",
        )
        return [json.loads(line) for path in Path(target).rglob("*.jsonl") for line in path.read_text().splitlines()]

    until(lambda: len(collected()) >= len(answers), f"{len(answers)} lines")

print("PASSED")
print(json.dumps({"url": url, "key": key}))
