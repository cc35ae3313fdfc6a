"""Data, environments, models, components, datastores: create, read, version, label, archive, list, delete."""

import yaml
from azure.ai.ml import Input, command, load_component
from azure.ai.ml._utils._arm_id_utils import AMLVersionedArmId
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import (
    AzureBlobDatastore,
    BuildContext,
    Data,
    Environment,
    Model,
    SasTokenConfiguration,
)
from azure.core.exceptions import ResourceNotFoundError
from session import CURATED, PLAIN_IMAGE, connect, refused, scratch, step, unique

ml = connect()
rows = scratch / "rows.csv"
rows.write_text("a,b\n1,2\n")
folder = scratch / "folder"
(folder / "deep").mkdir(parents=True)
(folder / "one.txt").write_text("one")
(folder / "deep" / "two.txt").write_text("two")

with step("a file, a folder and a table become data assets"):
    name = f"rows-{unique}"
    first = ml.data.create_or_update(
        Data(name=name, path=str(rows), type=AssetTypes.URI_FILE, version="1", tags={"a": "1"}, description="two rows")
    )
    assert first.version == "1" and first.path.endswith("rows.csv"), first.path
    read = ml.data.get(name, version="1")
    assert read.type == "uri_file" and read.tags == {"a": "1"} and read.description == "two rows"
    assert read.creation_context.created_at is not None
    whole = ml.data.create_or_update(Data(name=f"folder-{unique}", path=str(folder), type=AssetTypes.URI_FOLDER))
    assert whole.version == "1" and whole.path.endswith("/folder/"), whole.path
    table = scratch / "table"
    table.mkdir()
    (table / "rows.csv").write_text("a,b\n1,2\n")
    (table / "MLTable").write_text(
        yaml.safe_dump({"paths": [{"file": "./rows.csv"}], "transformations": [{"read_delimited": {"delimiter": ","}}]})
    )
    made = ml.data.create_or_update(Data(name=f"table-{unique}", path=str(table), type=AssetTypes.MLTABLE))
    assert ml.data.get(made.name, label="latest").type == "mltable"

with step("versions: counted up, looked up by label, immutable, archived and restored"):
    again = ml.data.create_or_update(Data(name=name, path=str(rows), type=AssetTypes.URI_FILE))
    assert again.version == "2", again.version
    assert ml.data.get(name, label="latest").version == "2"
    rows.write_text("a,b\n3,4\n")
    with refused("version"):  # the client words it; the service says that a path cannot be updated
        ml.data.create_or_update(Data(name=name, path=str(rows), type=AssetTypes.URI_FILE, version="1"))
    assert ml.data.get(name, version="1").path == first.path
    again.tags["seen"] = "yes"
    ml.data.create_or_update(again)
    assert ml.data.get(name, version="2").tags["seen"] == "yes"
    assert [one.version for one in ml.data.list(name)] == ["2", "1"]
    ml.data.archive(name, version="2")
    assert [one.version for one in ml.data.list(name)] == ["1"]
    assert ml.data.get(name, label="latest").version == "1"
    ml.data.restore(name, version="2")
    assert ml.data.get(name, label="latest").version == "2"
    ml.data.archive(name)
    assert name not in {one.name for one in ml.data.list()}
    ml.data.restore(name)
    assert name in {one.name for one in ml.data.list()}
    with refused(kind=ResourceNotFoundError):
        ml.data.get(name, version="99")
    with refused():
        ml.data.get(f"nothing-{unique}", label="latest")

with step("data on the web is only a reference"):
    web = ml.data.create_or_update(
        Data(name=f"web-{unique}", path="https://example.com/data/titanic.csv", type=AssetTypes.URI_FILE)
    )
    assert web.path == "https://example.com/data/titanic.csv"

with step("environments: from an image, from conda, curated ones by label"):
    name = f"plain-{unique}"
    plain = ml.environments.create_or_update(Environment(name=name, image=PLAIN_IMAGE, description="bare"))
    assert plain.version == "1" and plain.image == PLAIN_IMAGE
    conda = scratch / "conda.yml"
    conda.write_text("name: x\nchannels: [conda-forge]\ndependencies:\n- python=3.11\n- pip:\n  - tabulate\n")
    second = ml.environments.create_or_update(Environment(name=name, image=PLAIN_IMAGE, conda_file=str(conda)))
    assert second.version == "2", second.version
    assert second.conda_file["dependencies"][-1] == {"pip": ["tabulate"]}
    assert ml.environments.get(name, label="latest").version == "2"
    assert [one.version for one in ml.environments.list(name)] == ["2", "1"]
    curated, _, label = CURATED.partition("@")
    shipped = ml.environments.get(curated, label=label)
    assert shipped.name == curated and shipped.image
    assert curated in {one.name for one in ml.environments.list()}
    ml.environments.archive(name, version="2")
    assert [one.version for one in ml.environments.list(name)] == ["1"]
    ml.environments.restore(name, version="2")
    docker = scratch / "docker"
    docker.mkdir()
    (docker / "Dockerfile").write_text("FROM python:3.11\n")
    built = ml.environments.create_or_update(Environment(name=f"docker-{unique}", build=BuildContext(path=str(docker))))
    assert built.build.dockerfile_path == "Dockerfile", built.build.dockerfile_path

with step("models: a folder of one's own, an mlflow folder, downloads bring them back"):
    weights = scratch / "weights"
    weights.mkdir()
    (weights / "model.bin").write_bytes(b"\x00\x01" * 2048)
    custom = ml.models.create_or_update(
        Model(name=f"weights-{unique}", path=str(weights), type=AssetTypes.CUSTOM_MODEL, tags={"stage": "new"})
    )
    assert custom.version == "1" and ml.models.get(custom.name, label="latest").tags == {"stage": "new"}
    ml.models.download(custom.name, version="1", download_path=str(scratch / "back"))
    (found,) = (scratch / "back").rglob("model.bin")
    assert found.read_bytes() == (weights / "model.bin").read_bytes()
    flavored = scratch / "flavored"
    flavored.mkdir()
    (flavored / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n")
    mlflow_model = ml.models.create_or_update(
        Model(name=f"flavored-{unique}", path=str(flavored), type=AssetTypes.MLFLOW_MODEL)
    )
    assert ml.models.get(mlflow_model.name, version="1").type == "mlflow_model"
    single = ml.models.create_or_update(Model(name=custom.name, path=str(weights / "model.bin")))
    assert single.version == "2" and single.path.endswith("model.bin")
    assert [one.version for one in ml.models.list(custom.name)] == ["2", "1"]
    ml.models.archive(custom.name, version="2")
    assert [one.version for one in ml.models.list(custom.name)] == ["1"]
    ml.models.restore(custom.name, version="2")
    with refused("version"):
        ml.models.create_or_update(Model(name=custom.name, path=str(flavored), type="mlflow_model", version="1"))
    with refused("no-such-job"):
        ml.models.create_or_update(
            Model(name=f"lost-{unique}", path="azureml://jobs/no-such-job/outputs/artifacts/paths/model/")
        )

with step("components: from Python and from YAML"):
    source = scratch / "src"
    source.mkdir()
    (source / "train.py").write_text("print('trained')\n")
    made = command(
        name=f"train_{unique}",
        display_name="Train",
        code=str(source),
        command="python train.py --rate ${{inputs.rate}} --data ${{inputs.data}} > ${{outputs.model}}/log.txt",
        inputs={"rate": Input(type="number", default=0.1), "data": Input(type="uri_folder", path=whole.path)},
        outputs={"model": {"type": "uri_folder"}},
        environment=f"{name}:1",
    )
    component = ml.components.create_or_update(made.component)
    assert component.version, component
    read = ml.components.get(component.name, version=component.version)
    assert read.inputs["rate"]["default"] in (0.1, "0.1") and set(read.outputs) == {"model"}, read.inputs
    for number, wanted in enumerate((component.version, None)):
        back = scratch / f"component-{number}"
        ml.components.download(component.name, version=wanted, download_path=str(back))
        (script,) = back.rglob("train.py")
        assert script.read_text() == "print('trained')\n"
        assert yaml.safe_load((back / "component_spec.yaml").read_text())["name"] == component.name
    code = AMLVersionedArmId(read.code)
    ml.components._code_operations.download(code.asset_name, code.asset_version, scratch / "code")
    assert [one.name for one in (scratch / "code").rglob("*") if one.is_file()] == ["train.py"]
    text = scratch / "component.yml"
    text.write_text(
        f"$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json\nname: show_{unique}\n"
        f"version: 3\ntype: command\ncommand: echo hello\nenvironment: azureml:{name}:1\n"
    )
    shown = ml.components.create_or_update(load_component(source=str(text)))
    assert shown.version == "3"
    assert ml.components.get(shown.name).version == "3"
    assert shown.name in {one.name for one in ml.components.list()}
    ml.components.archive(shown.name)
    assert shown.name not in {one.name for one in ml.components.list()}
    ml.components.restore(shown.name)
    assert shown.name in {one.name for one in ml.components.list()}

with step("datastores: the defaults, one of one's own on the workspace's account, uploads through it"):
    default = ml.datastores.get_default()
    assert default.name == "workspaceblobstore"
    mine = f"mine_{unique}"
    account = default.account_name.rpartition("/")[2]
    store = AzureBlobDatastore(name=mine, account_name=account, container_name=f"mine-{unique}")
    created = ml.datastores.create_or_update(store)
    assert created.container_name == f"mine-{unique}"
    assert mine in {one.name for one in ml.datastores.list()}
    uploaded = ml.data.create_or_update(
        Data(name=f"through-{unique}", path=str(rows), type=AssetTypes.URI_FILE, datastore=mine)
    )
    assert f"/datastores/{mine}/paths/" in uploaded.path, uploaded.path
    elsewhere = ml.datastores.create_or_update(
        AzureBlobDatastore(
            name=f"cloud_{unique}",
            account_name="elsewhere",
            container_name="c",
            endpoint="core.windows.net",
            credentials=SasTokenConfiguration(sas_token="sv=1&sig=secret"),
        )
    )
    assert ml.datastores.get(elsewhere.name).account_name == "elsewhere"
    assert ml.datastores.get(elsewhere.name, include_secrets=True).credentials.sas_token == "sv=1&sig=secret"
    ml.datastores.delete(mine)
    ml.datastores.delete(elsewhere.name)
    assert mine not in {one.name for one in ml.datastores.list()}
    with refused("workspaceblobstore"):
        ml.datastores.delete("workspaceblobstore")

print("PASSED")
