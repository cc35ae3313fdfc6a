"""Data collection with the official client: `azureml-ai-monitoring` in a script, two instances, a rolling update."""

import json
import tempfile
import threading
import time
from pathlib import Path

import requests
from azure.ai.ml._artifacts._artifact_utilities import download_artifact
from azure.ai.ml.entities import (
    CodeConfiguration,
    DataCollector,
    DeploymentCollection,
    Environment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
)
from azure.ai.ml.entities._deployment.request_logging import RequestLogging
from session import PLAIN_IMAGE, connect, scratch, unique, until

ENDPOINT = f"collected-{unique}"
COLLECTIONS = ("model_inputs", "model_outputs", "request")
SCRIPT = """
import json
import pandas as pd
from azureml.ai.monitoring import Collector
def init():
    global inputs, outputs
    inputs, outputs = Collector(name="model_inputs"), Collector(name="model_outputs")
def run(raw_data):
    frame = pd.DataFrame(json.loads(raw_data)["rows"])
    context = inputs.collect(frame)
    outputs.collect(pd.DataFrame({"sum": frame.sum(axis=1)}), context)
    return frame.sum(axis=1).tolist()
"""
ml_client = connect()
(scratch / "code").mkdir()
(scratch / "code" / "score.py").write_text(SCRIPT)
(scratch / "conda.yml").write_text(
    "dependencies:\n- python=3.11\n- pip\n- pip:\n  - pandas<3\n  - azureml-ai-monitoring\n"
)
environment = Environment(image=PLAIN_IMAGE, conda_file=str(scratch / "conda.yml"))


def blue(release: str) -> ManagedOnlineDeployment:
    collector = DataCollector(
        collections={name: DeploymentCollection(enabled="true") for name in COLLECTIONS},
        rolling_rate="day",
        request_logging=RequestLogging(capture_headers=["X-Team"]),
    )
    return ManagedOnlineDeployment(
        name="blue",
        endpoint_name=ENDPOINT,
        environment=environment,
        instance_type="Standard_DS3_v2",
        instance_count=2,
        code_configuration=CodeConfiguration(code=str(scratch / "code"), scoring_script="score.py"),
        environment_variables={"RELEASE": release},
        data_collector=collector,
    )


deployments = ml_client.online_deployments
endpoint = ManagedOnlineEndpoint(name=ENDPOINT, auth_mode="key")
ml_client.online_endpoints.begin_create_or_update(endpoint).result()
deployments.begin_create_or_update(blue("1")).result()
endpoint.traffic = {"blue": 100}
url = ml_client.online_endpoints.begin_create_or_update(endpoint).result().scoring_uri
key = ml_client.online_endpoints.get_keys(ENDPOINT).primary_key

stored = deployments.get("blue", ENDPOINT).data_collector
assert {name for name, one in stored.collections.items() if one.enabled == "true"} == set(COLLECTIONS)
assert stored.rolling_rate == "Day" and stored.request_logging.capture_headers == ["X-Team"]
asset = ml_client.data.get(f"{ENDPOINT}-blue-model_inputs", version="1")
assert stored.collections["model_inputs"].data.endswith(f"/data/{asset.name}/versions/1"), stored.collections[
    "model_inputs"
].data
assert asset.path.rstrip("/").endswith(f"/paths/modelDataCollector/{ENDPOINT}/blue/model_inputs"), asset.path

sent: list[int] = []
headers, stop = {"Authorization": f"Bearer {key}", "X-Team": "risk"}, threading.Event()


def post(first: int) -> None:
    with requests.Session() as session:
        number = first
        while not stop.is_set():
            answer = session.post(url, json={"rows": [{"a": number, "b": 0.5}]}, headers=headers, timeout=90)
            assert (answer.status_code, answer.json()) == (200, [number + 0.5]), answer.text
            sent.append(number)
            number += 2


clients = [threading.Thread(target=post, args=(first,)) for first in (0, 1)]
for one in clients:
    one.start()
update = deployments.begin_create_or_update(blue("2"))
update.result()
time.sleep(0.2)
stop.set()
for one in clients:
    one.join()


def collected(name: str) -> list[dict]:
    target = Path(tempfile.mkdtemp(dir=scratch))
    folder = f"modelDataCollector/{ENDPOINT}/blue/{name}"
    download_artifact(
        starts_with=folder,
        destination=str(target),
        datastore_operation=ml_client.datastores,
        datastore_name="workspaceblobstore",
    )
    return [json.loads(line) for path in target.rglob("*.jsonl") for line in path.read_text().splitlines()]


def all_there() -> list[list[dict]]:
    found = [collected(name) for name in COLLECTIONS]
    return found if min(map(len, found)) >= len(sent) else []


inputs, outputs, asked = until(all_there, f"{len(sent)} lines of each", 30, 0.2)
assert len(sent) > 10 and sorted(one["data"][0]["a"] for one in inputs) == sorted(sent), "no line twice or lost"
sums = {one["correlationid"]: one["data"][0]["sum"] for one in outputs}
assert all(sums[one["correlationid"]] == one["data"][0]["a"] + 0.5 for one in inputs)
assert sorted(one["data"]["rows"][0]["a"] for one in asked) == sorted(sent)
assert {one["headers"]["x-team"] for one in asked} == {"risk"}
ml_client.online_endpoints.begin_delete(ENDPOINT).result()
print(f"{len(sent)} requests PASSED")
