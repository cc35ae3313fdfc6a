"""A churn model from data to production, on the Azure Machine Learning SDK. Change it and run it again.

Nothing here is Smalt's: the same lines run against Azure. What points them at this machine are
the variables of `smalt env`.
"""

import json
import logging
import os
import tempfile
from pathlib import Path

import mlflow
import requests
from azure.ai.ml import Input, MLClient, command
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import AmlCompute, Data, Job, ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from customers import FEATURES, customers
from progress import Progress

ENVIRONMENT = "AzureML-sklearn-1.5-ubuntu22.04-py311-cpu@latest"
SIZE = "Standard_DS3_v2"
DATASET, CLUSTER, MODEL, ENDPOINT = "quickstart-customers", "quickstart-cluster", "quickstart-churn", "quickstart-churn"
CUSTOMER = dict(zip(FEATURES, [3, 99.0, 297.0, 1, 4, 1, 2, 0, 0, 1], strict=True))

logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # it warns of experimental classes of its own
here = Path(__file__).parent
scratch = Path(tempfile.mkdtemp(prefix="churn-"))
progress = Progress(steps=10)
ml_client = MLClient(
    DefaultAzureCredential(),
    os.environ["AZURE_SUBSCRIPTION_ID"],
    os.environ["AZUREML_ARM_RESOURCEGROUP"],
    os.environ["AZUREML_ARM_WORKSPACE_NAME"],
)


def register_data() -> None:
    """Version 1 of a data asset; a version never changes."""
    try:
        ml_client.data.get(DATASET, version="1")
    except ResourceNotFoundError:
        path = scratch / "customers.csv"
        customers(10_000, seed=1).to_csv(path, index=False)
        asset = Data(name=DATASET, version="1", type=AssetTypes.URI_FILE, path=str(path))
        ml_client.data.create_or_update(asset)


def train(trees: int) -> Job:
    job = command(
        code=str(here / "src"),
        command="python train_churn.py --data ${{inputs.customers}} --trees ${{inputs.trees}}",
        inputs={"customers": Input(type=AssetTypes.URI_FILE, path=f"azureml:{DATASET}:1"), "trees": trees},
        environment=ENVIRONMENT,
        compute=CLUSTER,
        experiment_name="quickstart-churn",
        display_name=f"churn-{trees}-trees",
    )
    return ml_client.jobs.create_or_update(job)


def register_model(job: Job) -> Model:
    path = f"azureml://jobs/{job.name}/outputs/artifacts/paths/churn_model/"
    return ml_client.models.create_or_update(Model(name=MODEL, path=path, type=AssetTypes.MLFLOW_MODEL))


def deploy(name: str, model: Model) -> None:
    deployment = ManagedOnlineDeployment(
        name=name,
        endpoint_name=ENDPOINT,
        model=f"azureml:{MODEL}:{model.version}",
        instance_type=SIZE,
        instance_count=1,
    )
    ml_client.online_deployments.begin_create_or_update(deployment).result()


def send_traffic(**percent: int) -> None:
    endpoint = ml_client.online_endpoints.get(ENDPOINT)
    endpoint.traffic = percent
    ml_client.online_endpoints.begin_create_or_update(endpoint).result()


with progress.step("Register 10,000 customers as a versioned data asset"):
    register_data()

with progress.step("Create a cluster that grows from 0 to 2 nodes"):
    cluster = AmlCompute(name=CLUSTER, size=SIZE, min_instances=0, max_instances=2, idle_time_before_scale_down=120)
    ml_client.compute.begin_create_or_update(cluster).result()

with progress.step("Train on the cluster; the first time, its environment is built. The log, live", counting=False):
    first = train(trees=50)
    ml_client.jobs.stream(first.name)

with progress.step("Train again with 100 trees; the environment is there already", counting=False):
    second = train(trees=100)
    ml_client.jobs.stream(second.name)

with progress.step("Read the metrics from MLflow"):
    workspace = ml_client.workspaces.get(ml_client.workspace_name)
    mlflow.set_tracking_uri(workspace.mlflow_tracking_uri)
    auc, better = (mlflow.get_run(job.name).data.metrics["auc"] for job in (first, second))
progress.say(f"AUC {auc:.4f} with 50 trees, {better:.4f} with 100")

with progress.step("Register both models, each with the way back to its job"):
    old, new = register_model(first), register_model(second)
progress.say(f"{MODEL}, versions {old.version} and {new.version}")

with progress.step("Create an endpoint and deploy the first model as blue"):
    endpoint = ManagedOnlineEndpoint(name=ENDPOINT, auth_mode="key")
    ml_client.online_endpoints.begin_create_or_update(endpoint).result()
    deploy("blue", old)
    send_traffic(blue=100)

with progress.step("Ask it about one customer"):
    question = {"input_data": {"columns": FEATURES, "data": [list(CUSTOMER.values())]}}
    request = scratch / "request.json"
    request.write_text(json.dumps(question))
    answer = json.loads(ml_client.online_endpoints.invoke(endpoint_name=ENDPOINT, request_file=str(request)))
prediction = "will leave" if answer[0] else "will stay"
progress.say(f"the customer {prediction}")

with progress.step("Deploy the second model as green and give it 10 % of the traffic"):
    deploy("green", new)
    send_traffic(blue=90, green=10)
    live = ml_client.online_endpoints.get(ENDPOINT)
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {ml_client.online_endpoints.get_keys(ENDPOINT).primary_key}"
    served = []
    for _ in range(300):
        response = session.post(live.scoring_uri, json=question, timeout=30)
        response.raise_for_status()
        served.append(response.headers["azureml-model-deployment"])
progress.say(
    f"of {len(served)} requests blue answered {served.count('blue')} and green {served.count('green')}; none failed"
)

with progress.step("Send everything back to blue and delete green"):
    send_traffic(blue=100)
    ml_client.online_deployments.begin_delete(name="green", endpoint_name=ENDPOINT).result()

print(f"\nDone in {progress.total_s():.0f} s.")
print(f"AUC:          {auc:.4f}")
print(
    f"Prediction:   a customer of {CUSTOMER['tenure']} months"
    f" with {CUSTOMER['num_support_tickets']} support tickets {prediction}"
)
print(f"Scoring URI:  {live.scoring_uri}")
