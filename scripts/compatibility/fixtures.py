"""What upstream's own set-up scripts leave in a workspace before any example runs."""

from __future__ import annotations

from pathlib import Path

from azure.ai.ml import MLClient, load_component, load_data, load_environment, load_model
from azure.ai.ml.entities import AmlCompute, Data, ManagedOnlineEndpoint, Model, Registry, RegistryRegionDetails
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from mlflow.tracking import MlflowClient

from compatibility.examples import REGISTRY, Example, fill_in_file

CLUSTERS = ("cpu-cluster", "gpu-cluster", "batch-cluster")  # the second is only a name: none of these needs a GPU
SEEDS = {
    "example-data/iris.csv": "cli/assets/data/example-data/iris.csv",
    "data/titanic.csv": "cli/jobs/spark/data/titanic.csv",
}
_DATA = "cli/jobs/pipelines-with-components/basics/4d_data_input/data.yml"
_INFERENCE_SCHEMA = "cli/endpoints/online/managed/inference-schema"
_REGISTERED_COMPONENTS = "cli/jobs/pipelines-with-components/basics/1b_e2e_registered_components"
_SCORING = "cli/endpoints/batch/deploy-pipelines/batch-scoring-with-preprocessing"
_TRAINING = "cli/endpoints/batch/deploy-pipelines/training-with-components"
_HEART = "cli/endpoints/batch/deploy-models/heart-classifier-mlflow"
_REGISTERS = {
    "tutorials/": "credit_defaults_model",
    "sdk/python/using-mlflow/deploy/": "heart-classifier",
}
_REGISTERED = "cli/endpoints/online/managed/minimal/single-model-registered"

# What upstream's script sets on the command line (`az ml job create --set`).
SET = {
    f"{_SCORING}/pipeline-job.yml": {"inputs.input_data.path": "data/unlabeled"},
    f"{_TRAINING}/deployment-ordinal/pipeline-job.yml": {
        "inputs.input_data.path": "azureml:heart-classifier-train@latest"
    },
}


def set_up(client: MLClient, top: Path) -> None:
    """Clusters, the seeded files of the default datastore, and the data asset that several examples share."""
    for name in CLUSTERS:
        _cluster(client, name)
    _seed(client, top)
    client.data.create_or_update(load_data(top / _DATA))


def before(client: MLClient, top: Path, example: Example, endpoint: str) -> None:
    """What another file of upstream's creates first: the endpoint of a deployment, and the assets that the row names.

    A notebook that registers a model begins without the one that another row registered under the same name.
    """
    for folder, model in _REGISTERS.items():
        if example.path.startswith(folder):
            _remove_model(client, model)
    if example.path in SET or (example.kind == "batch-deployment" and example.path.startswith((_SCORING, _TRAINING))):
        _pipelines_assets(client, top, example.path)
    if example.path.startswith(_HEART):
        model = str(top / _HEART / "deployment-simple/model")
        client.models.create_or_update(Model(name="heart-classifier-mlflow", type="mlflow_model", path=model))
    if example.path.startswith(_REGISTERED_COMPONENTS):
        for name in ("train", "score", "eval"):
            client.components.create_or_update(load_component(top / _REGISTERED_COMPONENTS / f"{name}.yml"))
    if "/from-registry/" in example.path:
        there = Registry(
            name=REGISTRY, location="local", replication_locations=[RegistryRegionDetails(location="local")]
        )
        client.registries.begin_create(there).result()
    if example.kind != "online-deployment":
        return
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=endpoint, auth_mode="key")).result()
    if example.path.startswith(_INFERENCE_SCHEMA):
        client.models.create_or_update(load_model(top / _INFERENCE_SCHEMA / "model.yml"))
    if example.path.startswith(_REGISTERED):
        model = top / _REGISTERED / "model.yml"
        fill_in_file(model, endpoint)
        client.models.create_or_update(load_model(model))


def _remove_model(client: MLClient, name: str) -> None:
    registry = MlflowClient(client.workspaces.get(client.workspace_name).mlflow_tracking_uri)
    for model in registry.search_registered_models(filter_string=f"name = '{name}'"):
        registry.delete_registered_model(model.name)


def _pipelines_assets(client: MLClient, top: Path, path: str) -> None:
    """As `deploy-and-run.sh` beside the pipelines makes them."""
    folder = top / (_SCORING if path.startswith(_SCORING) else _TRAINING)
    client.environments.create_or_update(load_environment(folder / "environment/xgboost-sklearn-py38.yml"))
    if path.startswith(_TRAINING):
        client.data.create_or_update(
            Data(name="heart-classifier-train", type="uri_folder", path=str(folder / "data/train"))
        )
        return
    for name, type_, source in (
        ("heart-classifier", "mlflow_model", "model"),
        ("heart-classifier-transforms", "custom_model", "transformations"),
    ):
        client.models.create_or_update(Model(name=name, type=type_, path=str(folder / source)))
    for name in ("prepare", "score"):
        client.components.create_or_update(load_component(folder / f"components/{name}/{name}.yml"))


def _cluster(client: MLClient, name: str) -> None:
    try:
        client.compute.get(name)
    except ResourceNotFoundError:
        cluster = AmlCompute(name=name, size="Standard_DS3_v2", min_instances=0, max_instances=4)
        client.compute.begin_create_or_update(cluster).result()


def _seed(client: MLClient, top: Path) -> None:
    store = client.datastores.get("workspaceblobstore", include_secrets=True)
    address = f"{store.protocol}://{store.account_name}.blob.{store.endpoint}"
    secrets = store.credentials
    credential = getattr(secrets, "account_key", None) or secrets.sas_token
    container = BlobServiceClient(address, credential=credential).get_container_client(store.container_name)
    for blob, source in SEEDS.items():
        container.upload_blob(blob, (top / source).read_bytes(), overwrite=True)
