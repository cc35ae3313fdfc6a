"""Registries as users have them: made, filled from files, shared with from a workspace, read from jobs elsewhere."""

import os
import tempfile
from pathlib import Path

from azure.ai.ml import Input, MLClient, command, dsl, load_component
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import Data, Environment, Model, Registry, RegistryRegionDetails
from azure.identity import DefaultAzureCredential

NAME = "shared-e2e"
credential = DefaultAzureCredential()
workspace = MLClient(
    credential,
    os.environ["AZURE_SUBSCRIPTION_ID"],
    os.environ["AZUREML_ARM_RESOURCEGROUP"],
    os.environ["AZUREML_ARM_WORKSPACE_NAME"],
)
here = Path(tempfile.mkdtemp())


def refused(call, *words: str) -> None:
    try:
        call()
    except Exception as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError(f"not refused: {words}")


def file(name: str, text: str) -> Path:
    path = here / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


registry = workspace.registries.begin_create(
    Registry(
        name=NAME,
        location="local",
        tags={"team": "risk"},
        description="for all",
        replication_locations=[RegistryRegionDetails(location="local")],
    )
).result()
assert registry.name == NAME and registry.tags == {"team": "risk"} and registry.replication_locations
assert NAME in [one.name for one in workspace.registries.list()]
assert NAME in [one.name for one in workspace.registries.list(scope="subscription")]
refused(lambda: MLClient(credential, registry_name="nowhere"), "nowhere")
shipped = MLClient(credential, registry_name="azureml")
curated = next(iter(shipped.environments.list()))
same = shipped.environments.get(curated.name, label="latest")
assert same.id == f"azureml://registries/azureml/environments/{curated.name}/versions/{curated.latest_version}"
refused(lambda: shipped.models.get("bert", version="1"), "environments only")
refused(lambda: shipped.environments.create_or_update(same), "cannot be changed")
shared = MLClient(credential, registry_name=NAME)
assert shared.registries.get(NAME).location == "local"

file("model/weights.txt", "42")
made = shared.models.create_or_update(Model(name="scorer", version="1", path=here / "model", tags={"a": "b"}))
assert made.id == f"azureml://registries/{NAME}/models/scorer/versions/1", made.id
shared.models.create_or_update(Model(name="scorer", version="2", path=file("weights.txt", "43"), description="better"))
assert shared.models.get("scorer", label="latest").version == "2"
assert [one.version for one in shared.models.list("scorer")] == ["2", "1"]
assert [one.name for one in shared.models.list()] == ["scorer"]
shared.models.download("scorer", "1", download_path=here / "got")
assert [one.read_text() for one in (here / "got").rglob("weights.txt")] == ["42"]
shared.models.download("scorer", "2", download_path=here / "got2")
assert [one.read_text() for one in (here / "got2").rglob("*") if one.is_file()] == ["43"]
shared.models.archive("scorer", "2")
assert shared.models.get("scorer", label="latest").version == "1"
shared.models.restore("scorer", "2")
refused(lambda: shared.models.create_or_update(Model(name="scorer", version="1", path=file("x.txt", "x"))), "path")

data = shared.data.create_or_update(
    Data(name="table", version="1", type=AssetTypes.URI_FILE, path=file("table.csv", "a,b\n1,2\n"))
)
assert shared.data.get("table", "1").id == data.id
environment = shared.environments.create_or_update(
    Environment(
        name="plain",
        version="1",
        image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04",
        conda_file={"name": "plain", "dependencies": ["python=3.11"]},
    )
)
assert [one.name for one in shared.environments.list()] == ["plain"]

file("step/count.py", "import sys, pathlib; assert len(pathlib.Path(sys.argv[1]).read_text().splitlines()) == 2\n")
file(
    "step/component.yml",
    f"""
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
name: count_rows
version: "1"
type: command
inputs:
  table: {{type: uri_file}}
code: .
environment: {environment.id}
command: python count.py ${{{{inputs.table}}}}
""",
)
for _ in range(2):  # the same again is the same
    shared.components.create_or_update(load_component(here / "step" / "component.yml"))
count = shared.components.get("count_rows", "1")
assert count.id == f"azureml://registries/{NAME}/components/count_rows/versions/1", count.id
assert [one.name for one in shared.components.list()] == ["count_rows"]

own = workspace.models.create_or_update(Model(name="own", path=here / "model", description="ours", tags={"x": "y"}))
copied = workspace.models.share(
    "own", own.version, share_with_name="theirs", share_with_version="7", registry_name=NAME
)
assert copied.id == f"azureml://registries/{NAME}/models/theirs/versions/7" and copied.description == "ours", copied
refused(
    lambda: workspace.models.share("own", "99", share_with_name="no", share_with_version="1", registry_name=NAME), "own"
)
workspace.data.create_or_update(Data(name="mine", version="1", type=AssetTypes.URI_FOLDER, path=str(here / "step")))
workspace.data.share("mine", "1", share_with_name="steps", share_with_version="1", registry_name=NAME)
workspace.environments.create_or_update(Environment(name="wsenv", version="3", image="python:3.11"))
workspace.environments.share("wsenv", "3", share_with_name="wsenv", share_with_version="3", registry_name=NAME)
assert shared.environments.get("wsenv", "3").image == "python:3.11"
shared.models.download("theirs", "7", download_path=here / "got7")
assert [one.read_text() for one in (here / "got7").rglob("weights.txt")] == ["42"]

job = command(
    command="test $(cat ${{inputs.model}}/weights.txt) = 42 && test $(cat ${{inputs.newest}}) = 43"
    " && grep 1,2 ${{inputs.table}} && ls ${{inputs.steps}}/count.py",
    environment=f"azureml://registries/{NAME}/environments/plain/labels/latest",
    inputs={
        "model": Input(type=AssetTypes.CUSTOM_MODEL, path=f"azureml://registries/{NAME}/models/theirs/versions/7"),
        "newest": Input(type=AssetTypes.CUSTOM_MODEL, path=f"azureml://registries/{NAME}/models/scorer/labels/latest"),
        "table": Input(type=AssetTypes.URI_FILE, path=data.id),
        "steps": Input(type=AssetTypes.URI_FOLDER, path=f"azureml://registries/{NAME}/data/steps/versions/1"),
    },
)
job = workspace.jobs.create_or_update(job)
assert job.environment == environment.id, job.environment


@dsl.pipeline(default_compute="local")
def counted(table):
    count(table=table)


pipeline = workspace.jobs.create_or_update(counted(table=Input(type=AssetTypes.URI_FILE, path=data.id)))
for one in (job, pipeline):
    workspace.jobs.stream(one.name)
assert workspace.jobs.get(job.name).inputs["newest"].path == f"azureml://registries/{NAME}/models/scorer/versions/2"

shared.registries.begin_delete(name=NAME).result()
refused(lambda: shared.registries.get(NAME), NAME)
print("PASSED")
