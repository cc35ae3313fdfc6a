"""What upstream's own set-up scripts leave in a workspace before any example runs."""

from __future__ import annotations

from pathlib import Path

from azure.ai.ml import MLClient, load_component, load_data, load_model
from azure.ai.ml.entities import AmlCompute, ManagedOnlineEndpoint
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

from compatibility.examples import Example, fill_in_file

CLUSTERS = ("cpu-cluster", "gpu-cluster", "batch-cluster")  # the second is only a name: none of these needs a GPU
SEEDS = {
    "example-data/iris.csv": "cli/assets/data/example-data/iris.csv",
    "data/titanic.csv": "cli/jobs/spark/data/titanic.csv",
}
_DATA = "cli/jobs/pipelines-with-components/basics/4d_data_input/data.yml"
_INFERENCE_SCHEMA = "cli/endpoints/online/managed/inference-schema"
_REGISTERED_COMPONENTS = "cli/jobs/pipelines-with-components/basics/1b_e2e_registered_components"
_TUTORIALS_MODEL = "credit_defaults_model"
_REGISTERED = "cli/endpoints/online/managed/minimal/single-model-registered"


def set_up(client: MLClient, top: Path) -> None:
    """Clusters, the seeded files of the default datastore, and the data asset that several examples share."""
    for name in CLUSTERS:
        _cluster(client, name)
    _seed(client, top)
    client.data.create_or_update(load_data(top / _DATA))


def before(client: MLClient, top: Path, example: Example, endpoint: str) -> None:
    """What another file of upstream's creates first: the endpoint of a deployment, and the model that it names.

    A tutorial that trains a model begins without the one that another tutorial registered under the same name.
    """
    if example.path.startswith("tutorials/"):
        for model in client.models.list(name=_TUTORIALS_MODEL):
            client.models.archive(_TUTORIALS_MODEL, version=model.version)
    if example.path.startswith(_REGISTERED_COMPONENTS):
        for name in ("train", "score", "eval"):
            client.components.create_or_update(load_component(top / _REGISTERED_COMPONENTS / f"{name}.yml"))
    if example.kind != "online-deployment":
        return
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=endpoint, auth_mode="key")).result()
    if example.path.startswith(_INFERENCE_SCHEMA):
        client.models.create_or_update(load_model(top / _INFERENCE_SCHEMA / "model.yml"))
    if example.path.startswith(_REGISTERED):
        model = top / _REGISTERED / "model.yml"
        fill_in_file(model, endpoint)
        client.models.create_or_update(load_model(model))


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
