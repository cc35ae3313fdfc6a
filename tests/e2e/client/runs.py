"""A job and its run are one, whichever client writes; and a run made outside of a job is a job to the SDK."""

import contextlib
import io
from pathlib import Path

import mlflow
from azure.ai.ml import Input, command
from azure.ai.ml.entities import Model
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from session import CURATED, completed, connect, scratch, step, unique

ml = connect()
mlflow.set_tracking_uri(ml.workspaces.get(ml.workspace_name).mlflow_tracking_uri)
runs = MlflowClient()
experiment = f"runs-{unique}"
mlflow.set_experiment(experiment)


def jobs(view: str = "ActiveOnly") -> list[str]:
    return [one.name for one in ml.jobs.list(list_view_type=view)]


with step("a run made outside of a job: got, listed, downloaded, its files used"):
    folder = scratch / "model"
    folder.mkdir()
    (folder / "weights.txt").write_text("w")
    with mlflow.start_run(run_name="notebook", description="By hand") as run:
        mlflow.log_param("lr", 0.1)
        mlflow.set_tag("team", "x")
        mlflow.log_artifacts(str(folder), "model")
        name = run.info.run_id
        assert ml.jobs.get(name).status == "Running"
        with mlflow.start_run(run_name="inner", nested=True) as inner:
            mlflow.log_metric("m", 1)
    job = ml.jobs.get(name)
    assert (job.status, job.display_name, job.description) == ("Completed", "notebook", "By hand"), job
    assert (job.tags, job.parameters, job.experiment_name) == ({"team": "x"}, {"lr": "0.1"}, experiment), job
    assert name in jobs() and inner.info.run_id not in jobs()
    assert [(one.name, one.display_name) for one in ml.jobs.list(parent_job_name=name)] == [
        (inner.info.run_id, "inner")
    ]
    ml.jobs.download(name, download_path=str(scratch / "run"))
    assert (scratch / "run" / "artifacts" / "model" / "weights.txt").read_text() == "w"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        ml.jobs.stream(name)
    assert name in out.getvalue()
    for number, path in enumerate((f"runs:/{name}/model", f"azureml://jobs/{name}/outputs/artifacts/paths/model")):
        model = ml.models.create_or_update(Model(name=f"outside-{unique}-{number}", path=path, type="custom_model"))
        ml.models.download(model.name, model.version, download_path=str(scratch / f"model-{number}"))
        assert [one.read_text() for one in (scratch / f"model-{number}").rglob("weights.txt")] == ["w"]
    uses = command(
        command="cat ${{inputs.m}}/weights.txt",
        environment=CURATED,
        inputs={"m": Input(type="uri_folder", path=f"azureml://jobs/{name}/outputs/artifacts/paths/model")},
    )
    completed(ml, ml.jobs.create_or_update(uses).name)

with step("the SDK describes a run, and MLflow's clients a job"):
    job = ml.jobs.get(name)
    job.tags["later"] = "yes"
    job.display_name = "renamed"
    ml.jobs.create_or_update(job)
    found = runs.get_run(name)
    assert (found.info.run_name, found.data.tags["later"]) == ("renamed", "yes"), found
    assert len(runs.search_runs([found.info.experiment_id], "tags.later = 'yes'")) == 1
    ml.jobs.archive(name)
    assert name not in jobs() and name in jobs("ArchivedOnly")
    assert name not in [one.info.run_id for one in runs.search_runs([found.info.experiment_id])]
    ml.jobs.restore(name)
    assert name in jobs() and runs.get_run(name).info.lifecycle_stage == "active"
    with mlflow.start_run(run_name="to cancel") as other:
        ml.jobs.begin_cancel(other.info.run_id).result()
        assert runs.get_run(other.info.run_id).info.status == "KILLED"
        assert ml.jobs.get(other.info.run_id).status == "Canceled"
        mlflow.end_run("KILLED")

with step("a job with nested runs, described and ended by its own script"):
    source = scratch / "src"
    source.mkdir()
    (source / "train.py").write_text(
        "import mlflow\n"
        "with mlflow.start_run() as run:\n"
        "    mlflow.log_param('depth', 3); mlflow.set_tag('from', 'script'); mlflow.set_tag('mlflow.note.content', 'Said')\n"
        "    for at in range(3):\n"
        "        with mlflow.start_run(run_name=f'kid {at}', nested=True):\n            mlflow.log_metric('m', at)\n"
        "    mlflow.MlflowClient().update_run(run.info.run_id, name='named by the script')\n"
        "mlflow.MlflowClient().set_terminated(run.info.run_id, 'FAILED')\n"
    )
    job = ml.jobs.create_or_update(
        command(
            command="python train.py",
            code=str(source),
            environment=CURATED,
            experiment_name=experiment,
            display_name="submitted",
            tags={"a": "1", "b": "2"},
        )
    )
    job = completed(ml, job.name)
    assert (job.display_name, job.description) == ("named by the script", "Said"), job
    assert (job.tags, job.parameters) == ({"a": "1", "b": "2", "from": "script"}, {"depth": "3"}), job
    assert runs.get_run(job.name).info.status == "FINISHED"
    kids = list(ml.jobs.list(parent_job_name=job.name))
    assert [one.display_name for one in kids] == ["kid 2", "kid 1", "kid 0"], kids
    assert {one.status for one in kids} == {"Completed"} and {one.experiment_name for one in kids} == {experiment}
    assert ml.jobs.get(kids[0].name).display_name == "kid 2"

with step("what one client changed the other's next update leaves alone"):
    runs.update_run(job.name, name="from MLflow")
    runs.delete_tag(job.name, "a")
    runs.set_tag(job.name, "b", "3")
    runs.log_batch(job.name, tags=[mlflow.entities.RunTag("c", "4")])
    job = ml.jobs.get(job.name)
    assert (job.display_name, job.tags) == ("from MLflow", {"b": "3", "c": "4", "from": "script"}), job
    job.tags["d"] = "5"
    ml.jobs.create_or_update(job)
    found = runs.get_run(job.name)
    assert found.info.run_name == "from MLflow" and "a" not in found.data.tags, found
    assert {key: found.data.tags[key] for key in "bcd"} == {"b": "3", "c": "4", "d": "5"}
    runs.delete_run(job.name)
    assert job.name not in jobs() and job.name in jobs("ArchivedOnly")
    assert len(runs.search_runs([found.info.experiment_id], run_view_type=ViewType.DELETED_ONLY)) == 1
    runs.restore_run(job.name)
    assert job.name in jobs()
    with mlflow.start_run(run_id=job.name):
        mlflow.log_metric("afterwards", 1)
    assert ml.jobs.get(job.name).status == "Completed" and runs.get_run(job.name).info.status == "FINISHED"

with step("a job says where its run is tracked, as MLflow takes it"):
    mlflow.set_tracking_uri(job.services["Tracking"].endpoint)
    assert mlflow.get_run(job.name).data.metrics["afterwards"] == 1
    assert Path(mlflow.artifacts.download_artifacts(run_id=name, artifact_path="model/weights.txt")).read_text() == "w"

print("PASSED")
