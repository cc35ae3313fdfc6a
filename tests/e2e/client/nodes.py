"""A cluster whose node is another machine: a job with an input and an output there, its live log, what it left."""

import contextlib
import io
import pathlib
import sys
import time

import requests
from azure.ai.ml import Input, Output, command
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import Data, Environment
from session import PLAIN_IMAGE, connect, ended, scratch, step, unique, until

cluster, node = sys.argv[1:]
ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"bare-{unique}", image=PLAIN_IMAGE))
environment = f"azureml:{plain.name}:{plain.version}"


def run(text, **more):
    arguments = {"environment": environment, "experiment_name": "nodes", "compute": cluster, **more}
    return ml.jobs.create_or_update(command(command=text, **arguments))


def log_address(job, log="user_logs/std_log.txt"):
    return until(lambda: (ml.jobs._runs_operations.get_run_details(job.name).log_files or {}).get(log), log, 120)


with step("the client sees a cluster with that node"):
    (found,) = map(vars, ml.compute.list_nodes(cluster))  # this client keeps the names of the wire
    assert (found["nodeId"], found["nodeState"]) == (node, "idle"), found
    assert ml.compute.get(cluster).type == "amlcompute"

with step("its environment is built there"):
    first = run("true")
    ml.jobs.stream(first.name)  # and this client has imported what it reads logs with
    assert ended(ml, first.name).status == "Completed"
    assert "Interpreter" in requests.get(log_address(first, "azureml-logs/20_image_build_log.txt"), timeout=90).text

with step("a job with an input and an output"):
    rows = scratch / "rows.csv"
    rows.write_text("a,b\n1,2\n")
    data = ml.data.create_or_update(Data(name=f"in-{unique}", path=str(rows), type=AssetTypes.URI_FILE))
    source = scratch / "src"
    source.mkdir()
    (source / "far.py").write_text(
        "import os, pathlib, sys, time\n"
        "given, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])\n"
        "print('prefix', sys.prefix, flush=True)\n"
        "for _ in range(5):\n"
        "    print(f'printed {time.time()}', flush=True)\n"
        "    time.sleep(1)\n"
        "(out / 'copy.csv').write_text(given.read_text() * 2)\n"
        "os.makedirs('outputs', exist_ok=True)\n"
        "pathlib.Path('outputs/note.txt').write_text('from afar')\n"
        "print('last')\n"
    )
    job = run(
        "python far.py ${{inputs.rows}} ${{outputs.out}}",
        code=str(source),
        inputs={"rows": Input(type=AssetTypes.URI_FILE, path=f"azureml:{data.name}:{data.version}")},
        outputs={"out": Output(type=AssetTypes.URI_FOLDER)},
    )
    address = log_address(job)

    def printed():
        lines = requests.get(address, timeout=90).text.splitlines(keepends=True)
        return [float(one.split()[1]) for one in lines if one.startswith("printed ") and one.endswith("\n")]

    late = []
    while not late or (late[-1] >= 2 and len(late) < 5):  # the next one, where the machine stood still
        late.append(-until(lambda: printed()[len(late) :], "a line", 180, 0.02)[0] + time.time())
    print(f"   a line was seen {late[-1]:.2f} s after its print")
    assert min(late) < 2, late
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ml.jobs.stream(job.name)
    assert "last" in said.getvalue(), said.getvalue()
    assert ended(ml, job.name).status == "Completed"
    ml.jobs.download(job.name, download_path=str(scratch / "left"), all=True)
    left = {one.name: one.read_text() for one in (scratch / "left").rglob("*") if one.is_file()}
    assert left["copy.csv"] == "a,b\n1,2\na,b\n1,2\n", sorted(left)
    assert left["note.txt"] == "from afar"
    prefix = left["std_log.txt"].split("prefix ")[1].split("\n")[0]
    print(f"   {prefix}")

with step("the next one finds the environment"):
    begun = time.time()
    job = run("date +%s.%N")
    assert ended(ml, job.name).status == "Completed"
    log = requests.get(log_address(job), timeout=90).text
    print(f"   its command began {float(log) - begun:.2f} s after it was submitted")

with step("a cancelled job ends there"):
    job = run("echo begun; sleep 600")
    until(lambda: "begun" in requests.get(log_address(job), timeout=90).text, "its begin")
    (busy,) = map(vars, ml.compute.list_nodes(cluster))
    assert (busy["nodeState"], busy["runId"]) == ("running", job.name), busy
    ml.jobs.begin_cancel(job.name).wait()
    assert ended(ml, job.name).status == "Canceled"

with step("a job that fails says how"):
    job = run("echo oh no >&2; exit 7")
    assert ended(ml, job.name).status == "Failed"
    with contextlib.suppress(Exception), contextlib.redirect_stdout(said):
        ml.jobs.stream(job.name)
    assert "oh no" in requests.get(log_address(job), timeout=90).text

print("PASSED", pathlib.Path(prefix).name)
