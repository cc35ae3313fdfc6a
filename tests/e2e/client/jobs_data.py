"""What goes into a command job and what comes out: every type and mode, literals, outputs, code, variables."""

import json

from azure.ai.ml import Input, Output, command
from azure.ai.ml.constants import AssetTypes, InputOutputModes
from azure.ai.ml.entities import Data, Environment, Model
from session import PLAIN_IMAGE, completed, connect, ended, refused, scratch, step, unique

ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"bare-{unique}", image=PLAIN_IMAGE))
environment = f"azureml:{plain.name}:{plain.version}"


def run(text, **more):
    arguments = {"environment": environment, "experiment_name": "data", **more}
    return ml.jobs.create_or_update(command(command=text, **arguments))


rows = scratch / "rows.csv"
rows.write_text("a,b\n1,2\n")
folder = scratch / "folder"
(folder / "deep").mkdir(parents=True)
(folder / "one.txt").write_text("one")
(folder / "deep" / "two.txt").write_text("two")
table = scratch / "table"
table.mkdir()
(table / "rows.csv").write_text("a,b\n5,6\n")
(table / "MLTable").write_text("paths:\n- file: ./rows.csv\n")
flavored = scratch / "flavored"
flavored.mkdir()
(flavored / "MLmodel").write_text("flavors: {}\n")
weights = scratch / "weights.bin"
weights.write_bytes(b"weights")

with step("every type of input, in every mode"):
    data = ml.data.create_or_update(Data(name=f"in-{unique}", path=str(folder), type=AssetTypes.URI_FOLDER))
    mlflow_model = ml.models.create_or_update(
        Model(name=f"in-mlflow-{unique}", path=str(flavored), type=AssetTypes.MLFLOW_MODEL)
    )
    custom = ml.models.create_or_update(Model(name=f"in-custom-{unique}", path=str(weights)))
    source = scratch / "src"
    source.mkdir()
    (source / "look.py").write_text(
        """
import json, os, pathlib, sys
seen = {}
for name, given in zip(sys.argv[1::2], sys.argv[2::2]):
    path = pathlib.Path(given)
    entry = {"given": given, "variable": os.environ.get("AZURE_ML_INPUT_" + name)}
    if path.is_file():
        entry["content"] = path.read_text()
        target = path
    elif path.is_dir():
        entry["files"] = sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.is_file())
        target = path / "intruder"
    else:
        target = None
    if target is not None:
        try:
            target.write_text("changed")
            entry["written"] = True
        except OSError as error:
            entry["written"] = False
    seen[name] = entry
print("SEEN" + json.dumps(seen))
"""
    )
    inputs = {
        "file": Input(type=AssetTypes.URI_FILE, path=str(rows)),
        "file_copy": Input(type=AssetTypes.URI_FILE, path=str(rows), mode=InputOutputModes.DOWNLOAD),
        "file_uri": Input(type=AssetTypes.URI_FILE, path=str(rows), mode=InputOutputModes.DIRECT),
        "mounted": Input(type=AssetTypes.URI_FOLDER, path=f"azureml:{data.name}:{data.version}"),
        "copied": Input(type=AssetTypes.URI_FOLDER, path=f"{data.name}@latest", mode=InputOutputModes.DOWNLOAD),
        "by_uri": Input(type=AssetTypes.URI_FOLDER, path=data.path, mode=InputOutputModes.RO_MOUNT),
        "table": Input(type=AssetTypes.MLTABLE, path=str(table)),
        "flavored": Input(type=AssetTypes.MLFLOW_MODEL, path=f"azureml:{mlflow_model.name}:1"),
        "custom": Input(type=AssetTypes.CUSTOM_MODEL, path=f"azureml:{custom.name}:1"),
        "text": "a b'c",
        "number": 3,
        "rate": 0.5,
        "yes": True,
    }
    text = "python look.py " + " ".join(
        f"{name} '${{{{inputs.{name}}}}}'" if name != "text" else 'text "${{inputs.text}}"' for name in inputs
    )
    job = completed(ml, run(text, code=str(source), inputs=inputs).name)
    ml.jobs.download(job.name, download_path=str(scratch / "look"), all=True)
    (log,) = (scratch / "look").rglob("std_log.txt")
    (line,) = [one for one in log.read_text().splitlines() if one.startswith("SEEN")]
    seen = json.loads(line.removeprefix("SEEN"))
    assert seen["file"]["content"] == "a,b\n1,2\n" and seen["file"]["written"] is False, seen["file"]
    assert seen["file_copy"]["content"] == "a,b\n1,2\n", seen["file_copy"]
    assert seen["file_uri"]["given"].startswith("azureml://") and "content" not in seen["file_uri"], seen["file_uri"]
    for name in ("mounted", "copied", "by_uri"):
        assert seen[name]["files"] == ["deep/two.txt", "one.txt"], seen[name]
    assert seen["mounted"]["written"] is False and seen["by_uri"]["written"] is False, seen
    assert seen["mounted"]["variable"] == seen["mounted"]["given"], seen["mounted"]
    assert seen["table"]["files"] == ["MLTable", "rows.csv"] and seen["table"]["written"] is False, seen["table"]
    assert seen["flavored"]["files"] == ["MLmodel"] and seen["flavored"]["written"] is False, seen["flavored"]
    assert seen["custom"]["content"] == "weights", seen["custom"]
    assert [seen[name]["given"] for name in ("text", "number", "rate", "yes")] == ["a b'c", "3", "0.5", "True"], seen
    ml.data.get(data.name, version=data.version)
    again = ml.data.create_or_update(Data(name=data.name, path=data.path, type=AssetTypes.URI_FOLDER))
    job = completed(
        ml,
        run(
            "test ! -e ${{inputs.it}}/intruder && test $(cat ${{inputs.it}}/one.txt) = one",
            inputs={"it": Input(type="uri_folder", path=f"{data.name}:{again.version}")},
        ).name,
    )

with step("optional inputs, variables, outputs of both modes, names for them, a snapshot without what is ignored"):
    code = scratch / "code"
    (code / "sub").mkdir(parents=True)
    (code / "keep.py").write_text("print('kept')\n")
    (code / "sub" / "also.txt").write_text("also")
    (code / "big.tmp").write_text("never")
    (code / ".amlignore").write_text("*.tmp\n")
    outputs = {
        "mounted": Output(type=AssetTypes.URI_FOLDER, mode=InputOutputModes.RW_MOUNT),
        "uploaded": Output(type=AssetTypes.URI_FOLDER, mode=InputOutputModes.UPLOAD),
        "single": Output(type=AssetTypes.URI_FILE, mode=InputOutputModes.RW_MOUNT),
        "named": Output(type=AssetTypes.URI_FOLDER, name=f"out-{unique}", version="7"),
        "placed": Output(
            type=AssetTypes.URI_FOLDER,
            path=f"azureml://datastores/workspaceblobstore/paths/mine/{unique}/${{{{name}}}}/",
        ),
    }
    text = (
        "set -e; test ! -e big.tmp; test -e sub/also.txt; python keep.py; "
        "echo options: $[[--extra ${{inputs.extra}}]] $[[--given ${{inputs.given}}]]; "
        'test "$GREETING" = \'hello world\'; test "$AZUREML_RUN_ID" && test "$MLFLOW_RUN_ID"; '
        "echo m > ${{outputs.mounted}}/m.txt; echo u > ${{outputs.uploaded}}/u.txt; echo s > ${{outputs.single}}; "
        "mkdir ${{outputs.named}}/d; echo n > ${{outputs.named}}/d/n.txt; "
        "echo p > $AZURE_ML_OUTPUT_placed/p.txt; "
        "mkdir -p outputs logs; echo o > outputs/o.txt; echo l > logs/l.txt; echo changed > keep.py"
    )
    node = command(
        command=text,
        code=str(code),
        environment=environment,
        inputs={"given": "g"},
        outputs=outputs,
        environment_variables={"GREETING": "hello world"},
        experiment_name="data",
    )
    job = completed(ml, ml.jobs.create_or_update(node).name)
    down = scratch / "down"
    ml.jobs.download(job.name, download_path=str(down), all=True)
    got = {str(one.relative_to(down)): one.read_text() for one in down.rglob("*") if one.is_file()}
    assert got["named-outputs/mounted/m.txt"] == "m\n" and got["named-outputs/uploaded/u.txt"] == "u\n", sorted(got)
    assert "s\n" in [text for name, text in got.items() if "single" in name], sorted(got)
    assert got["artifacts/outputs/o.txt"] == "o\n" and got["artifacts/logs/l.txt"] == "l\n", sorted(got)
    assert "options: --given g" in got["artifacts/user_logs/std_log.txt"], got["artifacts/user_logs/std_log.txt"]
    only = scratch / "only"
    ml.jobs.download(job.name, download_path=str(only), output_name="named")
    (found,) = only.rglob("n.txt")
    assert found.read_text() == "n\n"
    named = ml.data.get(f"out-{unique}", version="7")
    assert named.type == "uri_folder"
    # on its own: the client (1.35) cannot download outputs of a job that has a model among them
    trained = run(
        "echo w > ${{outputs.model}}/w.bin",
        outputs={"model": Output(type=AssetTypes.CUSTOM_MODEL, name=f"out-model-{unique}")},
    )
    completed(ml, trained.name)
    model = ml.models.get(f"out-model-{unique}", label="latest")
    assert model.job_name == trained.name, vars(model)
    assert f"mine/{unique}/{job.name}" in ml.jobs.get(job.name).outputs["placed"].path
    follow = run(
        "test $(cat ${{inputs.a}}/d/n.txt) = n && test $(cat ${{inputs.b}}/w.bin) = w && test $(cat ${{inputs.c}}/o.txt) = o",
        inputs={
            "a": Input(type="uri_folder", path=f"out-{unique}:7"),
            "b": Input(type="custom_model", path=f"azureml:out-model-{unique}:{model.version}"),
            "c": Input(type="uri_folder", path=f"azureml://jobs/{job.name}/outputs/artifacts/paths/outputs/"),
        },
    )
    completed(ml, follow.name)
    placed = ml.data.get(f"azureml_{job.name}_output_data_placed", version="1")
    assert placed.path == ml.jobs.get(job.name).outputs["placed"].path, placed
    assert ml.data.get(placed.name, label="latest").version == "1"
    rerun = completed(ml, ml.jobs.create_or_update(node).name)  # its keep.py is a fresh copy
    assert rerun.name != job.name

with step("what does not exist is told at the submission, all at once, by its name"):
    with refused("missing"):  # this one the client finds
        run("echo ${{inputs.missing}}")
    with refused("no-such-data", "no-such-cluster", status=400):
        run(
            "echo ${{inputs.it}}",
            compute="no-such-cluster",
            inputs={"it": Input(type="uri_folder", path="azureml:no-such-data:1")},
        )
    with refused("no-such-environment", status=400):
        run("true", environment="azureml:no-such-environment:1")
    with refused(plain.name, "99", status=400):
        run("true", environment=f"azureml:{plain.name}:99")
    with refused("no-such-model", status=400):
        run("true", inputs={"m": Input(type="custom_model", path="azureml:no-such-model:1")})

with step("an input that is gone when the job starts fails it with the input's name"):
    gone = run(
        "true", inputs={"it": Input(type="uri_file", path="azureml://datastores/workspaceblobstore/paths/no/file.csv")}
    )
    assert ended(ml, gone.name).status == "Failed"
    with refused("it"):
        ml.jobs.stream(gone.name)

print("PASSED")
