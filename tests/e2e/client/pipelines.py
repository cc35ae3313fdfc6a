"""Pipelines as the official client submits them: branches, components, nested ones, reuse, failure, cancel, bad input."""

import time

from azure.ai.ml import Input, Output, command, dsl, load_component, load_job
from azure.ai.ml.entities import AmlCompute, Data, Environment
from session import PLAIN_IMAGE, completed, connect, ended, refused, scratch, step, unique, until

ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"pipe-{unique}", image=PLAIN_IMAGE))
ENVIRONMENT = f"azureml:{plain.name}:{plain.version}"
CLUSTER = f"pipes{unique}"[:16]
ml.compute.begin_create_or_update(
    AmlCompute(name=CLUSTER, size="Standard_DS3_v2", min_instances=0, max_instances=4)
).result()
source = scratch / "src"
source.mkdir()
(source / "add.py").write_text(
    """
import argparse, pathlib, time
parser = argparse.ArgumentParser()
parser.add_argument("--data"), parser.add_argument("--made"), parser.add_argument("--word", default="nothing")
given = parser.parse_args()
made = pathlib.Path(given.made)
made.mkdir(parents=True, exist_ok=True)
lines = [line for path in sorted(pathlib.Path(given.data).rglob("*.txt")) for line in path.read_text().split()]
(made / "lines.txt").write_text(" ".join([*lines, given.word]))
print("added", given.word)
"""
)
add = command(
    name="add",
    code=str(source),
    command="python add.py --data ${{inputs.data}} $[[--word ${{inputs.word}}]] --made ${{outputs.made}}",
    inputs={"data": Input(type="uri_folder"), "word": Input(type="string", optional=True)},
    outputs={"made": Output(type="uri_folder")},
    environment=ENVIRONMENT,
)
join = command(
    name="join",
    command="cat ${{inputs.one}}/*.txt ${{inputs.two}}/*.txt | tee ${{outputs.both}}/all.txt",
    inputs={"one": Input(type="uri_folder"), "two": Input(type="uri_folder")},
    outputs={"both": Output(type="uri_folder")},
    environment=ENVIRONMENT,
)
folder = scratch / "folder"
folder.mkdir()
(folder / "begin.txt").write_text("begin")
data = ml.data.create_or_update(Data(name=f"pipe-{unique}", path=str(folder), type="uri_folder"))
raw = Input(type="uri_folder", path=f"azureml:{data.name}:{data.version}")


@dsl.pipeline(compute=CLUSTER, description="two branches")
def branches(raw, word="left", floor=0.5):
    first = add(data=raw)
    left = add(data=first.outputs.made, word=word)
    right = add(data=first.outputs.made, word="right")
    right.outputs.made.mode = "upload"
    last = join(one=left.outputs.made, two=right.outputs.made)
    return {"both": last.outputs.both, "right": right.outputs.made}


def submitted(job, **more):
    job.experiment_name = "pipes"
    return ml.jobs.create_or_update(job, **more)


def children(name):
    return {child.display_name: child for child in ml.jobs.list(parent_job_name=name)}


def text_of(name, output, file):
    place = scratch / f"out-{time.time_ns()}"
    ml.jobs.download(name, download_path=place, output_name=output)
    return next(place.rglob(file)).read_text()


with step("branches run side by side; the named output becomes data; the document comes back as it was sent"):
    job = branches(raw=raw)
    job.outputs.both.name = f"both-{unique}"
    sent = submitted(job)
    assert sent.type == "pipeline" and set(sent.jobs) == {"first", "left", "right", "last"}
    ml.jobs.stream(sent.name)
    done = completed(ml, sent.name)
    assert done.display_name == "branches" and done.inputs["word"]._data == "left", done.inputs["word"]
    assert text_of(done.name, "both", "all.txt") == "begin nothing leftbegin nothing right"
    assert ml.data.get(f"both-{unique}", version="1").path
    steps = children(done.name)
    assert set(steps) == {"first", "left", "right", "last"} and {one.status for one in steps.values()} == {"Completed"}
    listed = [one.name for one in ml.jobs.list()]
    assert done.name in listed and not {one.name for one in steps.values()} & set(listed)
    assert ml.jobs.get(steps["left"].name).status == "Completed"
    ml.jobs.download(done.name, download_path=scratch / "everything", all=True)
    log = next((scratch / "everything").rglob("executionlogs.txt")).read_text()
    assert "Step 'left' is Completed" in log and "The pipeline ends: Completed." in log

with step("the same again takes what was made; another word runs what depends on it; force_rerun runs all"):
    began = time.perf_counter()
    again = completed(ml, submitted(branches(raw=raw)).name)
    print(f"      reused in {time.perf_counter() - began:.2f} s")
    reused = children(again.name)
    assert all(one.properties["azureml.isreused"] == "true" for one in reused.values()), reused
    assert reused["left"].properties["azureml.reusedrunid"] == steps["left"].name
    assert text_of(again.name, "both", "all.txt") == "begin nothing leftbegin nothing right"
    ml.jobs.download(reused["last"].name, download_path=scratch / "reused", output_name="both")
    other = completed(ml, submitted(branches(raw=raw, word="other")).name)
    assert {name for name, one in children(other.name).items() if "azureml.isreused" in one.properties} == {
        "first",
        "right",
    }
    assert text_of(other.name, "both", "all.txt") == "begin nothing otherbegin nothing right"
    forced = branches(raw=raw)
    forced.settings.force_rerun = True
    forced = completed(ml, submitted(forced).name)
    assert not any("azureml.isreused" in one.properties for one in children(forced.name).values())

with step("a step that fails fails the pipeline, and says which"):
    broken = command(name="broken", command="echo no good; exit 3", environment=ENVIRONMENT)

    @dsl.pipeline(compute=CLUSTER)
    def failing(raw):
        first = add(data=raw, word="first")
        bad = broken()
        bad.comment = "this one"
        never = join(one=first.outputs.made, two=first.outputs.made)
        never.outputs.both.mode = "upload"

    bad = ended(ml, submitted(failing(raw=raw)).name)
    assert bad.status == "Failed"
    with refused("'bad'", "no good", "StepFailed"):
        ml.jobs.stream(bad.name)
    assert children(bad.name)["bad"].status == "Failed"

with step("registered components, from YAML too; a pipeline of a pipeline, with default and optional inputs"):
    (scratch / "add.yml").write_text(
        f"""
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: add_{unique}
version: 1
display_name: Adds a word
inputs:
  data: {{type: uri_folder}}
  word: {{type: string, default: yaml}}
  times: {{type: integer, default: 2, min: 1, max: 9}}
outputs:
  made: {{type: uri_folder}}
code: src
environment: {ENVIRONMENT}
command: python add.py --data ${{{{inputs.data}}}} --word ${{{{inputs.word}}}} --made ${{{{outputs.made}}}}
"""
    )
    registered = ml.components.create_or_update(load_component(scratch / "add.yml"))
    assert ml.components.get(registered.name, label="latest").version == registered.version
    assert ml.components.create_or_update(load_component(scratch / "add.yml")).id == registered.id
    adder = ml.components.get(registered.name, registered.version)

    @dsl.pipeline()
    def inner(start: Input(type="uri_folder"), word="inner"):
        one = adder(data=start)
        two = adder(data=one.outputs.made, word=word, times=3)
        return {"end": two.outputs.made}

    @dsl.pipeline(default_compute=CLUSTER)
    def outer(raw):
        below = inner(start=raw)
        after = adder(data=below.outputs.end, word="after")
        return {"result": after.outputs.made, "middle": below.outputs.end}

    nested = completed(ml, submitted(outer(raw=raw)).name)
    assert text_of(nested.name, "result", "lines.txt") == "begin yaml inner after"
    assert text_of(nested.name, "middle", "lines.txt") == "begin yaml inner"
    below = children(nested.name)["below"]
    assert set(children(below.name)) == {"one", "two"}
    assert [one.name for one in ml.jobs.list() if one.name in (below.name, nested.name)] == [nested.name]
    (scratch / "twice.yml").write_text(
        f"""
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: twice_{unique}
version: 1
inputs:
  raw: {{type: uri_folder}}
  word: {{type: string, default: twice}}
outputs:
  made: {{type: uri_folder}}
jobs:
  one:
    type: command
    component: azureml:{registered.name}:1
    inputs: {{data: "${{{{parent.inputs.raw}}}}", word: "${{{{parent.inputs.word}}}}"}}
  two:
    type: command
    component: ./add.yml
    inputs: {{data: "${{{{parent.jobs.one.outputs.made}}}}", word: "${{{{parent.inputs.word}}}}"}}
    outputs: {{made: "${{{{parent.outputs.made}}}}"}}
"""
    )
    twice = ml.components.create_or_update(load_component(scratch / "twice.yml"))
    (scratch / "registered.yml").write_text(
        f"""
type: pipeline
component: azureml:{twice.name}:{twice.version}
experiment_name: pipes
settings: {{default_compute: azureml:{CLUSTER}}}
inputs: {{raw: {{type: uri_folder, path: ./folder}}}}
"""
    )
    root = completed(ml, ml.jobs.create_or_update(load_job(scratch / "registered.yml")).name)
    assert text_of(root.name, "made", "lines.txt") == "begin twice twice" and set(children(root.name)) == {"one", "two"}

with step("a pipeline in YAML, with inline steps, a component by name and one by file"):
    (scratch / "pipeline.yml").write_text(
        f"""
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: from yaml
experiment_name: pipes
settings:
  default_compute: azureml:{CLUSTER}
  default_datastore: azureml:workspaceblobstore
inputs:
  raw: {{type: uri_folder, path: ./folder}}
  word: hello
outputs:
  result: {{type: uri_folder, mode: upload, path: "azureml://datastores/${{{{default_datastore}}}}/paths/yaml/${{{{name}}}}/"}}
jobs:
  inline:
    type: command
    command: echo ${{{{inputs.word}}}} > ${{{{outputs.said}}}}/said.txt; env > ${{{{outputs.said}}}}/env
    environment: {ENVIRONMENT}
    environment_variables: {{LEVEL: "9"}}
    inputs: {{word: "${{{{parent.inputs.word}}}}"}}
    outputs: {{said: {{type: uri_folder}}}}
    resources: {{instance_count: 1}}
    limits: {{timeout: 100}}
  named:
    type: command
    component: azureml:add_{unique}@latest
    inputs: {{data: "${{{{parent.jobs.inline.outputs.said}}}}", word: "${{{{parent.inputs.word}}}}"}}
  file:
    type: command
    component: ./add.yml
    inputs: {{data: "${{{{parent.jobs.named.outputs.made}}}}"}}
    outputs: {{made: "${{{{parent.outputs.result}}}}"}}
"""
    )
    job = load_job(scratch / "pipeline.yml")
    yaml = completed(ml, ml.jobs.create_or_update(job).name)
    assert text_of(yaml.name, "result", "lines.txt") == "hello hello yaml"
    assert yaml.outputs["result"].path.endswith(f"/paths/yaml/{yaml.name}/")

with step("cancel ends what runs below, nested pipelines too"):
    wait = command(name="wait", command="sleep 100", environment=ENVIRONMENT)
    other = command(name="wait", command="sleep 101", environment=ENVIRONMENT)  # of two that are equal one would wait

    @dsl.pipeline()
    def waiting():
        other()

    @dsl.pipeline(default_compute=CLUSTER)
    def long():
        wait()
        waiting()

    job = submitted(long())
    found = until(lambda: len(below := children(job.name)) == 2 and below, "two steps")
    deep = until(lambda: children(found["waiting"].name), "the step of a step")
    until(lambda: children(found["waiting"].name)["wait"].status == "Running", "a running step")
    ml.jobs.begin_cancel(job.name).result()
    assert ended(ml, job.name).status == "Canceled"
    assert {one.status for one in children(job.name).values()} == {"Canceled"}
    assert {one.status for one in children(found["waiting"].name).values()} == {"Canceled"}

with step("what is wrong is refused before anything runs, naming the field"):

    @dsl.pipeline(default_compute=CLUSTER)
    def wrong(raw):
        first = add(data=raw)
        second = add(data=first.outputs.made)
        second.inputs.data = "${{parent.jobs.first.outputs.mode}}"

    with refused("properties.jobs.second.inputs.data", "no output 'mode'", status=400):
        ml.jobs.create_or_update(wrong(raw=raw), skip_validation=True)
    lost = branches(raw=Input(type="uri_folder", path="azureml:not-there:1"))
    with refused("not-there"):
        submitted(lost)

print("PASSED")
