"""A model from raw data to a deployment, with the official client alone; what came of what is asked afterwards."""

import json
import os
import subprocess

import mlflow
from azure.ai.ml import Input, Output, command
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import (
    CodeConfiguration,
    Data,
    Environment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
)
from session import PLAIN_IMAGE, completed, connect, scratch, step, unique

ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"bare-{unique}", image=PLAIN_IMAGE))
environment = f"azureml:{plain.name}:{plain.version}"
rows = scratch / "rows"
rows.mkdir()
(rows / "rows.csv").write_text("a,b\n1,2\n")
source = scratch / "src"
source.mkdir()
(source / "score.py").write_text("def init():\n    pass\ndef run(raw):\n    return 1\n")
(source / "train.py").write_text(
    "import pathlib, sys\npathlib.Path(sys.argv[2], 'model.txt').write_text(pathlib.Path(sys.argv[1], 'rows.csv').read_text())\n"
)
git = ["git", "-c", "user.name=ada", "-c", "user.email=ada@bank.example", "-C", str(source)]
for words in (["init", "-q", "-b", "main"], ["remote", "add", "origin", "https://git.example/churn.git"], ["add", "."]):
    subprocess.run([*git, *words], check=True)
subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
os.chdir(source)  # the client tells of the folder that it is in

with step("two jobs: raw data to a table, the table to a model"):
    raw = ml.data.create_or_update(Data(name=f"raw-{unique}", path=str(rows), type=AssetTypes.URI_FOLDER))
    clean = ml.jobs.create_or_update(
        command(
            command="cp ${{inputs.raw}}/rows.csv ${{outputs.table}}/",
            environment=environment,
            experiment_name="lineage",
            inputs={"raw": Input(type=AssetTypes.URI_FOLDER, path=f"azureml:{raw.name}:{raw.version}")},
            outputs={"table": Output(type=AssetTypes.URI_FOLDER, name=f"table-{unique}")},
        )
    )
    completed(ml, clean.name)
    train = ml.jobs.create_or_update(
        command(
            command="python train.py ${{inputs.table}} ${{outputs.model}} && echo ${{inputs.rate}}",
            code=str(source),
            environment=environment,
            experiment_name="lineage",
            display_name="train",
            inputs={"table": Input(type=AssetTypes.URI_FOLDER, path=f"azureml:table-{unique}@latest"), "rate": 0.1},
            outputs={"model": Output(type=AssetTypes.URI_FOLDER)},
        )
    )
    completed(ml, train.name)

with step("a model of the job's output, one of its run, and a deployment"):
    model = ml.models.create_or_update(
        Model(
            name=f"model-{unique}",
            path=f"azureml://jobs/{train.name}/outputs/model/paths/",
            type=AssetTypes.CUSTOM_MODEL,
        )
    )
    mlflow.set_tracking_uri(ml.workspaces.get(ml.workspace_name).mlflow_tracking_uri)
    client = mlflow.MlflowClient()
    client.create_registered_model(f"run-{unique}")
    client.create_model_version(f"run-{unique}", f"{mlflow.get_run(train.name).info.artifact_uri}/model", train.name)
    name = f"serve-{unique}"
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode="key")).result()
    blue = ManagedOnlineDeployment(
        name="blue",
        endpoint_name=name,
        model=model,
        environment=environment,
        instance_type="Standard_DS3_v2",
        instance_count=1,
        code_configuration=CodeConfiguration(code=str(source), scoring_script="score.py"),
    )
    ml.online_deployments.begin_create_or_update(blue).result()
    assert ml.models.get(model.name, model.version).properties["smalt.made_by"] == train.name
    assert ml.jobs.get(train.name).properties["smalt.made"].split() == [
        f"model:{model.name}:1",
        f"model:run-{unique}:1",
    ]

print(
    json.dumps(
        {
            "unique": unique,
            "clean": clean.name,
            "train": train.name,
            "commit": subprocess.run(
                [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
            ).stdout.strip(),
        }
    )
)
print("PASSED")
