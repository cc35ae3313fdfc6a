"""Batch endpoints as the official client uses them: a model with a script, and a pipeline component; and without a client."""

import os
from pathlib import Path

import requests
from azure.ai.ml import Input, MLClient, dsl, load_component
from azure.ai.ml.entities import (
    BatchEndpoint,
    BatchRetrySettings,
    CodeConfiguration,
    Data,
    Environment,
    Model,
    ModelBatchDeployment,
    ModelBatchDeploymentSettings,
    PipelineComponentBatchDeployment,
)
from session import PLAIN_IMAGE, connect, ended, refused, scratch, step, unique

ml: MLClient = connect()
NAME = f"nightly-{unique}"
source, model, data = scratch / "src", scratch / "weights", scratch / "data"
for one in (source, model, data):
    one.mkdir()
(model / "factor.txt").write_text("3")
(source / "score.py").write_text(
    """
import os
from pathlib import Path
def init():
    global factor
    factor = int(Path(os.environ["AZUREML_MODEL_DIR"], "weights", "factor.txt").read_text())
def run(mini_batch):
    for one in mini_batch:
        Path(os.environ["AZUREML_BI_OUTPUT_PATH"], Path(one).name + ".seen").touch()
    return [f"{Path(one).name},{factor * int(Path(one).read_text())}" for one in mini_batch]
"""
)
for at in range(12):
    (data / f"{at:02}.txt").write_text(str(at))
ROWS = [f"{at:02}.txt,{3 * at}" for at in range(12)]
environment = ml.environments.create_or_update(Environment(name=f"batch-{unique}", image=PLAIN_IMAGE))


def deployment(name, **settings):
    return ModelBatchDeployment(
        name=name,
        endpoint_name=NAME,
        model=registered,
        environment=environment,
        code_configuration=CodeConfiguration(code=str(source), scoring_script="score.py"),
        compute="serverless",
        settings=ModelBatchDeploymentSettings(
            mini_batch_size=5, retry_settings=BatchRetrySettings(max_retries=1, timeout=60), **settings
        ),
    )


def rows(job, file="predictions.csv"):
    folder = scratch / job.name
    assert ended(ml, job.name).status == "Completed"
    ml.jobs.download(job.name, download_path=folder, output_name="score")
    return sorted(next(folder.rglob(file)).read_text().splitlines())


with step("an endpoint and a deployment, which becomes its default"):
    registered = ml.models.create_or_update(Model(path=str(model), name=f"weights-{unique}"))
    ml.batch_endpoints.begin_create_or_update(BatchEndpoint(name=NAME, tags={"a": "b"})).result()
    with refused("no default deployment", status=400):
        ml.batch_endpoints.invoke(endpoint_name=NAME, input=Input(type="uri_folder", path=str(data)))
    made = ml.batch_deployments.begin_create_or_update(deployment("v1", max_concurrency_per_instance=2)).result()
    assert (made.mini_batch_size, made.output_action, made.provisioning_state) == (5, "append_row", "Succeeded")
    stored = ml.batch_endpoints.get(NAME)
    stored.defaults.deployment_name = "v1"
    ml.batch_endpoints.begin_create_or_update(stored).result()
    assert ml.batch_endpoints.get(NAME).defaults.deployment_name == "v1"
    assert NAME in [one.name for one in ml.batch_endpoints.list()]

with step("a folder of this machine is scored, and so is one file"):
    job = ml.batch_endpoints.invoke(endpoint_name=NAME, input=Input(type="uri_folder", path=str(data)))
    ml.jobs.stream(job.name)
    assert rows(job) == ROWS
    assert len(list((scratch / job.name).rglob("*.seen"))) == 12
    (score,) = ml.jobs.list(parent_job_name=job.name)
    ml.jobs.download(score.name, download_path=scratch / "child", output_name="score")
    assert sorted(next((scratch / "child").rglob("predictions.csv")).read_text().splitlines()) == ROWS
    one = Input(type="uri_file", path=str(data / "07.txt"))
    sized = [{"mini_batch_size": 1}, {"output_file_name": "seven.csv"}]
    job = ml.batch_endpoints.invoke(endpoint_name=NAME, deployment_name="v1", input=one, params_override=sized)
    assert rows(job, "seven.csv") == ["07.txt,21"]

with step("a table says which files are scored"):
    (data / "MLTable").write_text("paths:\n- pattern: ./*1.txt\n")
    table = Data(name=f"ones-{unique}", version="1", type="mltable", path=str(data))
    ml.data.create_or_update(table)
    named = Input(type="mltable", path=f"azureml:{table.name}:1")
    assert rows(ml.batch_endpoints.invoke(endpoint_name=NAME, inputs={"table": named})) == ["01.txt,3", "11.txt,33"]

with step("as people ask without a client"):
    token = ml._credential.get_token("https://ml.azure.com/.default").token
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    uri = "azureml://datastores/workspaceblobstore/paths/none-such/"
    body = {"properties": {"InputData": {"x": {"JobInputType": "UriFolder", "Uri": uri}}}}
    ca, address = os.environ["REQUESTS_CA_BUNDLE"], ml.batch_endpoints.get(NAME).scoring_uri
    assert requests.post(address, json=body, timeout=60, verify=ca).status_code == 401
    answer = requests.post(address, json=body, headers=headers, timeout=60, verify=ca)
    assert answer.status_code in (200, 201), answer.text
    name = answer.json()["name"]
    assert requests.get(f"{address}/{name}", headers=headers, timeout=60, verify=ca).json()["properties"]["status"]
    assert ended(ml, name).status == "Failed"
    jobs = [one.name for one in ml.batch_endpoints.list_jobs(endpoint_name=NAME)]
    assert jobs[0] == name and len(jobs) == 4
    assert jobs == [one.name for one in ml.batch_deployments.list_jobs(endpoint_name=NAME, name="v1")]

with step("a pipeline component takes values and gives its outputs"):
    (scratch / "say.yml").write_text(
        f"name: say\ntype: command\ncommand: echo ${{{{inputs.word}}}} > ${{{{outputs.said}}}}/word.txt\n"
        f"environment: azureml:{environment.name}:{environment.version}\n"
        "inputs: {word: {type: string}}\noutputs: {said: {type: uri_folder}}\n"
    )
    say = load_component(scratch / "say.yml")

    @dsl.pipeline
    def saying(word: str):
        return {"said": say(word=word).outputs.said}

    component = ml.components.create_or_update(saying._pipeline_builder.build(), version=unique)
    settings = {"default_compute": "serverless", "continue_on_step_failure": False}
    flow = PipelineComponentBatchDeployment(name="flow", endpoint_name=NAME, component=component, settings=settings)
    ml.batch_deployments.begin_create_or_update(flow).result()
    word = {"word": Input(type="string", default="hello")}
    job = ml.batch_endpoints.invoke(endpoint_name=NAME, deployment_name="flow", inputs=word)
    assert ended(ml, job.name).status == "Completed"
    ml.jobs.download(job.name, download_path=scratch / "flow", output_name="said")
    assert next(Path(scratch / "flow").rglob("word.txt")).read_text() == "hello\n"

ml.batch_deployments.begin_delete(name="flow", endpoint_name=NAME).result()
ml.batch_endpoints.begin_delete(NAME).result()
assert NAME not in [one.name for one in ml.batch_endpoints.list()]
print("PASSED")
