"""All that has to do with blobs, on any store: data assets, blobs that grow, artifacts, a job. `read` finds what `write` made."""

import sys
from pathlib import Path

import mlflow
from azure.ai.ml import Input, Output, command
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import Data, Environment, Model
from azure.storage.blob import BlobServiceClient
from mlflow.tracking import MlflowClient
from session import PLAIN_IMAGE, completed, connect, refused, scratch, step

NAME, LARGE = "kept", bytes(range(256)) * (40 << 10)
ml = connect()
workspace = ml.workspaces.get(ml.workspace_name)
mlflow.set_tracking_uri(workspace.mlflow_tracking_uri)
client = MlflowClient()


def blobs():
    account = ml.datastores.get_default()
    secrets = ml.datastores._list_secrets(account.name)
    address = f"{account.protocol}://{account.account_name}.blob.{account.endpoint}"
    return BlobServiceClient(address, credential=secrets.sas_token), account.container_name


def job_on(data: str):
    return ml.jobs.create_or_update(
        command(
            command="cp ${{inputs.data}}/one.txt ${{outputs.out}}/copied.txt && echo said by the job",
            inputs={"data": Input(type=AssetTypes.URI_FOLDER, path=data)},
            outputs={"out": Output(type=AssetTypes.URI_FOLDER)},
            environment=Environment(image=PLAIN_IMAGE),
        )
    )


def write() -> None:
    with step("a folder becomes a data asset, and a model is registered from a file"):
        folder = scratch / "folder"
        (folder / "deep").mkdir(parents=True)
        (folder / "one.txt").write_text("one")
        (folder / "deep" / "large.bin").write_bytes(LARGE)
        ml.data.create_or_update(Data(name=NAME, path=str(folder), type=AssetTypes.URI_FOLDER, version="1"))
        (scratch / "model.pkl").write_bytes(b"a model")
        ml.models.create_or_update(Model(name=NAME, path=str(scratch / "model.pkl"), version="1"))
    with step("a blob grows"):
        service, container = blobs()
        log = service.get_blob_client(container, "logs/growing.txt")
        log.create_append_blob(metadata={"of": "me"})
        for number in range(40):
            log.append_block(f"line {number}\n".encode())
        with refused():
            log.append_block(b"elsewhere", appendpos_condition=3)
    with step("a run logs artifacts, small ones and a large one"):
        mlflow.set_experiment(NAME)
        with mlflow.start_run(run_name=NAME) as run:
            mlflow.log_text("a note", "notes/note.txt")
            mlflow.log_dict({"a": 1}, "data.json")
            (scratch / "large.bin").write_bytes(LARGE)
            mlflow.log_artifact(str(scratch / "large.bin"))
            mlflow.log_text("gone", "gone/one.txt")
            mlflow.log_text("twice", "notes/note.txt")
        print("RUN", run.info.run_id)


def read() -> None:
    with step("the data asset, with the storage SDK and with the ML SDK"):
        service, container = blobs()
        path = ml.data.get(NAME, version="1").path.partition("/paths/")[2]
        named = service.get_container_client(container).list_blobs(name_starts_with=path)
        found = {one.name[len(path) :]: one.size for one in named}
        assert found == {"one.txt": 3, "deep/large.bin": len(LARGE)}, found
        large = service.get_blob_client(container, f"{path}deep/large.bin")
        assert large.download_blob().readall() == LARGE
        assert large.download_blob(offset=250, length=20).readall() == LARGE[250:270]
        ml.models.download(NAME, version="1", download_path=str(scratch / "down"))
        assert [one.read_bytes() for one in (scratch / "down").rglob("model.pkl")] == [b"a model"]
    with step("the blob that grew"):
        log = service.get_blob_client(container, "logs/growing.txt")
        whole = "".join(f"line {number}\n" for number in range(40)).encode()
        properties = log.get_blob_properties()
        assert (properties.blob_type, properties.size, properties.metadata) == ("AppendBlob", len(whole), {"of": "me"})
        assert log.download_blob().readall() == whole
        log.append_block(b"more")
        assert log.download_blob(offset=len(whole) - 2).readall() == b"9\nmore"
    with step("the artifacts, listed, whole and in parts"):
        run = mlflow.search_runs(experiment_names=[NAME]).run_id[0]
        listed = {one.path: (one.is_dir, one.file_size) for one in client.list_artifacts(run)}
        assert listed["large.bin"] == (False, len(LARGE)) or listed["large.bin"][0] is False, listed
        assert listed["notes"][0] and {"data.json", "gone"} <= listed.keys(), listed
        back = mlflow.artifacts.download_artifacts(run_id=run, dst_path=str(scratch / "back"))
        assert (Path(back) / "large.bin").read_bytes() == LARGE
        assert (Path(back) / "notes" / "note.txt").read_text() == "twice"
        client.download_artifacts(run, "data.json", str(scratch))
    with step("a job reads the data asset, and what it writes and says is there"):
        job = completed(ml, job_on(f"azureml:{NAME}:1").name)
        ml.jobs.download(job.name, download_path=str(scratch / "job"), output_name="out")
        assert [one.read_text() for one in (scratch / "job").rglob("copied.txt")] == ["one"]
        logs = MlflowClient().list_artifacts(job.name, "user_logs")
        text = mlflow.artifacts.load_text(f"runs:/{job.name}/{logs[0].path}")
        assert "said by the job" in text, text


write() if sys.argv[1] == "write" else read()
print("PASSED")
