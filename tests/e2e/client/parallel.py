"""Parallel jobs as the official client submits them: files and tables of files, thresholds, bad input; and one that is slow.

parallel.py              all of them
parallel.py slow FOLDER  submit one whose mini-batches write to FOLDER/ran when they ran, and no more than FOLDER/gate says
parallel.py check NAME   each of its results is there, once
"""

import sys
from pathlib import Path

from azure.ai.ml import Input, Output, dsl, load_job
from azure.ai.ml.constants import InputOutputModes
from azure.ai.ml.entities import Environment
from azure.ai.ml.parallel import RunFunction, parallel_run_function
from session import PLAIN_IMAGE, completed, connect, ended, refused, scratch, step, unique

FILES = 60
ml = connect()
source = scratch / "src"
source.mkdir()
(source / "count.py").write_text(
    """
import argparse, time
from pathlib import Path
from azureml_user.parallel_run import EntryScript
def init():
    global said
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--ran"), parser.add_argument("--bad", type=int)
    said, _ = parser.parse_known_args()
    EntryScript().logger.info("ready")
def run(mini_batch, context):
    while said.ran and len(list(Path(said.ran, "ran").iterdir())) >= int(Path(said.ran, "gate").read_text()):
        time.sleep(0.05)
    rows = []
    for one in map(Path, mini_batch):
        if said.bad is not None and int(one.stem) < said.bad:
            raise ValueError(f"{one.name} is bad")
        if said.ran:
            with open(Path(said.ran, "ran", one.name), "a") as file:
                file.write("x")
        rows.append(f"{one.name},{len(one.read_text())}")
    return rows
"""
)
many = scratch / "many"
many.mkdir()
for at in range(FILES):
    (many / f"{at:03}.txt").write_text("y" * at)
ROWS = sorted(f"{at:03}.txt,{at}" for at in range(FILES))


def environment() -> str:
    plain = ml.environments.create_or_update(Environment(name=f"parallel-{unique}", image=PLAIN_IMAGE))
    return f"azureml:{plain.name}:{plain.version}"


def counter(arguments="", **more):
    settings = {"mini_batch_size": "5", "instance_count": 2, "max_concurrency_per_instance": 2, **more}
    return parallel_run_function(
        name="count",
        inputs={"files": Input(type="uri_folder", mode=InputOutputModes.RO_MOUNT)},
        outputs={"rows": Output(type="uri_file")},
        input_data="${{inputs.files}}",
        retry_settings={"max_retries": 1, "timeout": 600},
        task=RunFunction(
            code=str(source),
            entry_script="count.py",
            environment=environment(),
            program_arguments=arguments,
            append_row_to="${{outputs.rows}}",
        ),
        **settings,
    )


def submitted(count, files=None):
    @dsl.pipeline(compute="serverless")
    def counting(files):
        return {"rows": count(files=files).outputs.rows}

    job = counting(files=files or Input(type="uri_folder", path=str(many)))
    job.settings.force_rerun = True
    return ml.jobs.create_or_update(job).name


def rows_of(name):
    place = scratch / f"out-{name}"
    ml.jobs.download(name, download_path=place, output_name="rows")
    return sorted(next(path for path in place.rglob("*") if path.is_file()).read_text().splitlines())


def child_of(name):
    (found,) = ml.jobs.list(parent_job_name=name)
    return found


if sys.argv[1:2] == ["slow"]:
    print(submitted(counter(f"--ran {sys.argv[2]}", mini_batch_size="1")))
    sys.exit()
if sys.argv[1:2] == ["check"]:
    name = completed(ml, sys.argv[2]).name
    assert rows_of(name) == ROWS, rows_of(name)
    print("PASSED")
    sys.exit()

with step("forty files in mini-batches on two nodes; one row for each result"):
    name = completed(ml, submitted(counter("--copy_logs_to_parent True"))).name
    assert rows_of(name) == ROWS, rows_of(name)
    child = child_of(name)
    assert child.status == "Completed"
    ml.jobs.get(child.name), ml.jobs.stream(child.name)
    ml.jobs.download(child.name, download_path=scratch / "logs", all=True)
    logs = {path.name: path.read_text() for path in (scratch / "logs").rglob("*.txt")}
    assert logs["job_result.txt"].startswith(f"Completed\n{FILES // 5} of {FILES // 5}"), logs["job_result.txt"]
    assert "ready" in "".join(text for path, text in logs.items() if path.endswith(".log.txt"))
    assert not list((scratch / "logs").rglob("*.records")), "what was done is removed"
    ml.jobs.download(name, download_path=scratch / "parent", all=True)
    assert list((scratch / "parent").rglob("job_result.txt")), "its logs are the pipeline's too"

with step("a table of files, in YAML"):
    table = scratch / "table"
    table.mkdir()
    (table / "MLTable").write_text("paths:\n  - pattern: ./*.txt\n")
    for path in many.iterdir():
        (table / path.name).write_text(path.read_text())
    (scratch / "pipeline.yml").write_text(
        f"""
type: pipeline
settings: {{default_compute: serverless, force_rerun: true}}
outputs: {{rows: {{type: uri_folder}}}}
jobs:
  count:
    type: parallel
    inputs: {{files: {{type: mltable, path: ./table, mode: eval_mount}}}}
    outputs: {{rows: "${{{{parent.outputs.rows}}}}"}}
    input_data: ${{{{inputs.files}}}}
    mini_batch_size: "7"
    max_concurrency_per_instance: 2
    error_threshold: 0
    task: {{type: run_function, code: ./src, entry_script: count.py, append_row_to: "${{{{outputs.rows}}}}",
      environment: "{environment()}"}}
"""
    )
    name = completed(ml, ml.jobs.create_or_update(load_job(scratch / "pipeline.yml")).name).name
    assert rows_of(name) == ROWS

with step("what fails beyond a threshold fails the job, and says why"):
    job = ended(ml, submitted(counter("--bad 20", mini_batch_error_threshold=3)))
    assert job.status == "Failed"
    log = Path(scratch / "failed")
    ml.jobs.download(child_of(job.name).name, download_path=log, all=True)
    result = next(log.rglob("job_result.txt")).read_text()
    assert result.startswith("Failed: 4 mini-batches failed, more than mini_batch_error_threshold"), result
    name = completed(ml, submitted(counter("--bad 20", mini_batch_error_threshold=4))).name
    assert rows_of(name) == ROWS[20:]

with step("bad input is refused with its field"):
    with refused("task.entry_script", "gone.py"):
        bad = counter()
        bad.component.task.entry_script = bad.task.entry_script = "gone.py"
        submitted(bad)
    with refused("task.program_arguments", "--allowed_failed_percent"):
        submitted(counter("--allowed_failed_percent 1000"))

print("PASSED")
