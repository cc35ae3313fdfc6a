"""MLflow's own client of deployments, of the plugin azureml-mlflow: endpoints without azure-ai-ml."""

import json

import mlflow
import pandas as pd
from azure.core.exceptions import HttpResponseError
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException
from session import connect, scratch, step, unique

ml = connect()
uri = ml.workspaces.get(ml.workspace_name).mlflow_tracking_uri
mlflow.set_tracking_uri(uri)
name, table = f"flow-{unique}", pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
client = get_deploy_client(uri)


class Sums(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input.sum(axis=1).to_frame("sum")


def config(kind, **said):
    path = scratch / f"{kind}.json"
    path.write_text(json.dumps(said))
    return {f"{kind}-config-file": str(path)}


with step("an endpoint, a deployment of a run's model, traffic"):
    mlflow.set_experiment(f"flow-{unique}")
    with mlflow.start_run() as run:
        signature = mlflow.models.infer_signature(table, Sums().predict(None, table))
        mlflow.pyfunc.log_model("model", python_model=Sums(), signature=signature)
    mlflow.register_model(f"runs:/{run.info.run_id}/model", f"sums-{unique}")
    made = client.create_endpoint(name, config("endpoint", auth_mode="key", identity={"type": "system_assigned"}))
    assert made["name"] == name and made["properties"]["provisioningState"] == "Succeeded", made
    asked = config("deploy", instance_type="Standard_DS2_v2", instance_count=1)
    made = client.create_deployment("blue", f"models:/sums-{unique}/1", endpoint=name, config=asked)
    assert made["name"] == "blue" and made["flavor"] == "python_function", made
    changed = client.update_endpoint(name, config("endpoint", traffic={"blue": 100}))
    assert changed["properties"]["traffic"] == {"blue": 100}, changed

with step("predictions of a table, an array, and of a named deployment"):
    wanted = {"sum": [4.0, 6.0]}
    assert client.predict(endpoint=name, df=table).to_dict("list") == wanted
    assert client.predict(deployment_name="blue", endpoint=name, df=table).to_dict("list") == wanted

with step("lists, and what is not there"):
    assert [one["name"] for one in client.list_deployments(name)] == ["blue"]
    assert name in {one["name"] for one in client.list_endpoints()}
    assert (name, "blue") in {(one["endpointName"], one["name"]) for one in client.list_deployments()}
    for missing in (lambda: client.get_deployment("nothing"), lambda: client.predict("nothing", table)):
        try:
            missing()
        except MlflowException as error:
            assert "No deployment with name nothing" in str(error), error
        else:
            raise SystemExit("it was not refused")
    try:
        client._mms_client._client.services.create(
            ml.subscription_id, ml.resource_group_name, ml.workspace_name, body={"name": "aci"}
        )
    except HttpResponseError as error:
        assert "endpoint=ENDPOINT" in str(error), error

with step("a deployment that had all traffic is deleted, and its endpoint"):
    client.delete_deployment("blue", endpoint=name)
    assert client.get_endpoint(name)["properties"]["traffic"] == {}
    client.delete_endpoint(name)
    assert name not in {one["name"] for one in client.list_endpoints()}

print("PASSED")
