"""The life of command jobs: nodes, limits, cancelling, failing, describing, finding, environments."""

import time

from azure.ai.ml import command
from azure.ai.ml.entities import AmlCompute, Environment
from session import PLAIN_IMAGE, completed, connect, ended, refused, scratch, step, unique, until

ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"bare-{unique}", image=PLAIN_IMAGE))
environment = f"azureml:{plain.name}:{plain.version}"
cluster = f"one-{unique}"
ml.compute.begin_create_or_update(
    AmlCompute(name=cluster, size="Standard_DS3_v2", min_instances=0, max_instances=2, idle_time_before_scale_down=60)
).result()


def run(text, **more):
    arguments = {"environment": environment, "experiment_name": "life", "compute": cluster, **more}
    return ml.jobs.create_or_update(command(command=text, **arguments))


def log_of(job, name="std_log.txt"):
    target = scratch / f"log-{job.name}-{time.monotonic_ns()}"
    ml.jobs.download(job.name, download_path=str(target), all=True)
    return {one.name: one.read_text() for one in target.rglob("*") if one.is_file()}[name]


with step("two nodes: a log each, told apart by their rank"):
    job = completed(ml, run("echo I am $NODE_RANK of $AZUREML_NODE_COUNT", instance_count=2).name)
    assert "I am 0 of 2" in log_of(job, "std_log_process_0.txt")
    assert "I am 1 of 2" in log_of(job, "std_log_process_1.txt")
    with refused("instance", status=400):
        run("true", instance_count=3)

with step("it fails: the exit code and the end of its errors are in what the client raises"):
    job = run("echo fine; echo 'ValueError: the reason' >&2; exit 7")
    assert ended(ml, job.name).status == "Failed"
    with refused("7", "the reason"):
        ml.jobs.stream(job.name)

with step("a timeout ends it, and says so"):
    job = run("sleep 600", timeout=1)
    assert ended(ml, job.name).status == "Failed"
    with refused("1 s"):
        ml.jobs.stream(job.name)

with step("cancelled: a running one gets SIGTERM, a queued one never starts, the next takes its place"):
    polite = run(
        "trap 'echo told to stop; exit 0' TERM; mkdir -p outputs; echo up; while true; do sleep 0.1; done",
        instance_count=2,
    )
    until(lambda: ml.jobs.get(polite.name).status == "Running", "running")
    queued = run("echo never")
    behind = run("echo my turn")
    until(lambda: ml.jobs.get(behind.name).status == "Queued", "queued")
    assert ml.jobs.get(queued.name).status == "Queued"
    ml.jobs.begin_cancel(queued.name).result()
    assert ended(ml, queued.name).status == "Canceled"
    ml.jobs.begin_cancel(polite.name).result()
    assert ended(ml, polite.name).status == "Canceled"
    assert "told to stop" in log_of(polite, "std_log_process_0.txt")
    completed(ml, behind.name)
    ml.jobs.begin_cancel(behind.name).result()  # too late, and no error
    assert ml.jobs.get(behind.name).status == "Completed"

with step("described, tagged, archived, listed"):
    job = run("true", display_name="a name", description="words", tags={"a": "1"})
    completed(ml, job.name)
    read = ml.jobs.get(job.name)
    assert read.display_name == "a name" and read.description == "words" and read.tags == {"a": "1"}, read.tags
    assert read.experiment_name == "life"
    read.display_name, read.description = "another", "other words"
    read.tags["b"] = "2"
    ml.jobs.create_or_update(read)
    changed = ml.jobs.get(job.name)
    assert changed.display_name == "another" and changed.tags == {"a": "1", "b": "2"}, changed.tags
    assert changed.status == "Completed"
    assert job.name in {one.name for one in ml.jobs.list(max_results=100)}
    ml.jobs.archive(job.name)
    assert job.name not in {one.name for one in ml.jobs.list(max_results=100)}
    assert job.name in {one.name for one in ml.jobs.list(max_results=100, list_view_type="ArchivedOnly")}
    ml.jobs.restore(job.name)
    assert job.name in {one.name for one in ml.jobs.list(max_results=100)}

with step("without a compute, and on the machine itself"):
    here = run("echo $AZUREML_ARM_WORKSPACE_NAME", compute=None)
    own = run("echo $AZUREML_RUN_ID", compute="local")
    assert ml.workspace_name in log_of(completed(ml, here.name))
    assert own.name in log_of(completed(ml, own.name))

with step("the link to the job's page"):
    assert here.studio_url.startswith("https://localhost:") and here.name in here.studio_url, here.studio_url
    assert ml.jobs.get(here.name).services["Studio"].endpoint == here.studio_url

with step("pip install in a command works, and only for that job"):
    packages = ml.environments.create_or_update(
        Environment(
            name=f"six-{unique}",
            image=PLAIN_IMAGE,
            conda_file={"dependencies": ["python=3.11", "pip", {"pip": ["six==1.16.0"]}]},
        )
    )
    used = f"azureml:{packages.name}:{packages.version}"
    show = "python -c 'import six; print(\"six\", six.__version__)'"
    first = completed(ml, run(f"pip install -q six==1.17.0 && {show}", environment=used).name)
    second = completed(ml, run(show, environment=used).name)
    assert "six 1.17.0" in log_of(first), log_of(first)
    assert "six 1.16.0" in log_of(second), log_of(second)

with step("an environment that cannot be built names the package"):
    broken = ml.environments.create_or_update(
        Environment(
            name=f"broken-{unique}",
            image=PLAIN_IMAGE,
            conda_file={"dependencies": ["python=3.11", "pip", {"pip": [f"no-such-package-{unique}==1.2.3"]}]},
        )
    )
    job = run("true", environment=f"azureml:{broken.name}:{broken.version}")
    assert ended(ml, job.name).status == "Failed"
    with refused(f"no-such-package-{unique}"):
        ml.jobs.stream(job.name)
    assert f"no-such-package-{unique}" in log_of(job, "20_image_build_log.txt")

print("PASSED")
