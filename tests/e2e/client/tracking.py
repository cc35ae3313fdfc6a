"""MLflow from outside and inside: both forms of the tracking URI, metrics, artifacts, autologging, search."""

import os
from pathlib import Path

import mlflow
from azure.ai.ml import command
from azure.identity import DefaultAzureCredential
from mlflow.tracking import MlflowClient
from session import CURATED, completed, connect, scratch, step, unique

ml = connect()
azureml = ml.workspaces.get(ml.workspace_name).mlflow_tracking_uri

with step("azureml://: a run of one's own, with everything that can be logged"):
    assert azureml.startswith("azureml://"), azureml
    mlflow.set_tracking_uri(azureml)
    mlflow.set_experiment(f"outside-{unique}")
    text = scratch / "note.txt"
    text.write_text("a note")
    with mlflow.start_run(run_name="by hand") as run:
        mlflow.log_param("rate", 0.1)
        mlflow.log_metrics({"loss": 0.5})
        for at in range(5):
            mlflow.log_metric("step", at, step=at)
        mlflow.set_tag("who", "me")
        mlflow.log_artifact(str(text), "notes")
        mlflow.log_dict({"a": 1}, "data.json")
    read = mlflow.get_run(run.info.run_id)
    assert read.info.status == "FINISHED" and read.data.params == {"rate": "0.1"}, read.data
    assert read.data.metrics["loss"] == 0.5 and read.data.tags["who"] == "me"
    client = MlflowClient()
    assert [one.value for one in client.get_metric_history(run.info.run_id, "step")] == [0, 1, 2, 3, 4]
    assert {one.path for one in client.list_artifacts(run.info.run_id)} == {"notes", "data.json"}
    back = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="notes/note.txt", dst_path=str(scratch / "back")
    )
    assert Path(back).read_text() == "a note"

with step("https:// with a token: the same runs"):
    token = DefaultAzureCredential().get_token(
        os.environ["ARM_CLOUD_METADATA_URL"].rpartition("/metadata")[0] + "/.default"
    )
    os.environ["MLFLOW_TRACKING_TOKEN"] = token.token
    mlflow.set_tracking_uri(azureml.replace("azureml://", "https://").replace("/v2.0/", "/v1.0/"))
    assert mlflow.get_run(run.info.run_id).data.params == {"rate": "0.1"}
    mlflow.set_experiment(f"outside-{unique}")
    with mlflow.start_run() as second:
        mlflow.log_metric("loss", 0.25)
        mlflow.log_text("x" * 100_000, "long.txt")
    assert len(mlflow.artifacts.load_text(f"{second.info.artifact_uri}/long.txt")) == 100_000
    best = mlflow.search_runs(experiment_names=[f"outside-{unique}"], order_by=["metrics.loss ASC"])
    assert list(best.run_id) == [second.info.run_id, run.info.run_id], best.run_id
    del os.environ["MLFLOW_TRACKING_TOKEN"]
    mlflow.set_tracking_uri(azureml)

with step("a job is a run: autologging in it, its model among its outputs"):
    source = scratch / "src"
    source.mkdir()
    (source / "train.py").write_text(
        "import mlflow, numpy\nfrom sklearn.linear_model import LogisticRegression\nmlflow.autolog()\n"
        "X = numpy.arange(40).reshape(20, 2); y = (X[:, 0] > 20).astype(int)\n"
        "with mlflow.start_run():\n    LogisticRegression(C=0.5).fit(X, y)\n    mlflow.log_metric('own', 1.5)\n"
        "    with mlflow.start_run(nested=True, run_name='child'):\n        mlflow.log_metric('inner', 2)\n"
    )
    job = completed(
        ml,
        ml.jobs.create_or_update(
            command(
                command="python train.py",
                code=str(source),
                environment=CURATED,
                experiment_name=f"inside-{unique}",
                display_name="auto",
                tags={"team": "a"},
            )
        ).name,
    )
    run = mlflow.get_run(job.name)
    assert run.info.status == "FINISHED" and run.data.params["C"] == "0.5", run.data.params
    assert run.data.metrics["own"] == 1.5 and "training_score" in run.data.metrics, run.data.metrics
    assert run.info.run_name == "auto" and run.data.tags["team"] == "a", run.data.tags
    assert "model" in {one.path for one in MlflowClient().list_artifacts(job.name)}
    ml.jobs.download(job.name, download_path=str(scratch / "job"), all=True)
    assert list((scratch / "job" / "artifacts" / "model").glob("MLmodel")), list((scratch / "job").rglob("*"))
    children = mlflow.search_runs(
        experiment_names=[f"inside-{unique}"], filter_string=f"tags.mlflow.parentRunId = '{job.name}'"
    )
    assert list(children["metrics.inner"]) == [2.0], children

with step("tags and the name set on the job are the run's"):
    job.tags["later"] = "yes"
    job.display_name = "renamed"
    ml.jobs.create_or_update(job)
    run = mlflow.get_run(job.name)
    assert run.data.tags["later"] == "yes" and run.info.run_name == "renamed", (run.info.run_name, run.data.tags)

print("PASSED")
