"""Sweep jobs: Bayesian, grid, random; early termination, failures, limits, outputs, logs, downloads; from code and from YAML."""

import contextlib
import io
import json

import mlflow
from azure.ai.ml import Output, command, load_job
from azure.ai.ml.entities import AmlCompute, Environment, Model
from azure.ai.ml.sweep import (
    BanditPolicy,
    Choice,
    LogUniform,
    MedianStoppingPolicy,
    Normal,
    QUniform,
    RandomSamplingAlgorithm,
    TruncationSelectionPolicy,
    Uniform,
)
from session import PLAIN_IMAGE, completed, connect, ended, refused, scratch, step, unique, until

ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"bare-{unique}", image=PLAIN_IMAGE))
environment = f"azureml:{plain.name}:{plain.version}"
cluster = f"four-{unique}"
ml.compute.begin_create_or_update(
    AmlCompute(name=cluster, size="Standard_DS1_v2", min_instances=0, max_instances=4, idle_time_before_scale_down=60)
).result()
source = scratch / "src"
source.mkdir()
# logs as MLflow's client does, in an environment that has none
(source / "log.py").write_text(
    "import json, os, time, urllib.request\n"
    "def log(value, name='acc', step=0):\n"
    "    body = {'run_id': os.environ['MLFLOW_RUN_ID'], 'key': name, 'value': value, 'step': step,\n"
    "            'timestamp': int(time.time() * 1000)}\n"
    "    request = urllib.request.Request(os.environ['MLFLOW_TRACKING_URI'] + '/api/2.0/mlflow/runs/log-metric',\n"
    "        json.dumps(body).encode(), {'Authorization': 'Bearer ' + os.environ['MLFLOW_TRACKING_TOKEN'],\n"
    "        'Content-Type': 'application/json'})\n"
    "    urllib.request.urlopen(request).read()\n"
)
(source / "train.py").write_text(
    "import os, pathlib, sys\nfrom log import log\nlr, depth = float(sys.argv[1]), int(sys.argv[2])\n"
    "assert os.environ['AZUREML_SWEEP_lr'] == sys.argv[1], os.environ\n"
    "score = 1 - (lr - 0.7) ** 2 - abs(depth - 3) / 10\nlog(score)\n"
    "if len(sys.argv) > 3: pathlib.Path(sys.argv[3], 'score.txt').write_text(str(score))\n"
    "pathlib.Path('outputs/said.txt').write_text(sys.argv[1])\nprint('lr', lr)\n"
)
(source / "curve.py").write_text(  # a trial that is bad logs on until it is stopped
    "import sys, time\nfrom log import log\nlevel = float(sys.argv[1])\n"
    "for step in range(3 if level > 0.5 else 600):\n    log(level, step=step)\n    time.sleep(0.3)\n"
)
train = command(
    code=str(source),
    command="python train.py ${{inputs.lr}} ${{inputs.depth}}",
    inputs={"lr": 0.1, "depth": 1},
    environment=environment,
    compute=cluster,
)


def swept(node, algorithm="random", trials=4, at_once=4, policy=None, metric="acc", goal="maximize", **limits):
    job = node.sweep(compute=cluster, sampling_algorithm=algorithm, primary_metric=metric, goal=goal)
    job.set_limits(max_total_trials=trials, max_concurrent_trials=at_once, **{"timeout": 1200, **limits})
    job.early_termination = policy
    job.experiment_name = f"sweeps-{unique}"
    return ml.jobs.create_or_update(job)


def trials_of(job):
    return {one.name: one for one in ml.jobs.list(parent_job_name=job.name)}


def values_of(trial):
    return json.loads(trial.tags["hyperparameters"])


with step("a Bayesian sweep: the best of its trials is found, and the run and its children say so"):
    job = swept(train(lr=Uniform(0.0, 1.0), depth=QUniform(1, 5, 1)), "bayesian", 12)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ml.jobs.stream(job.name)
    assert "hyperdrive.txt" in said.getvalue() and f"id='{job.name}_11'" in said.getvalue(), said.getvalue()
    done = completed(ml, job.name)
    children = trials_of(job)
    assert sorted(children) == sorted(f"{job.name}_{number}" for number in range(12))
    assert {child.status for child in children.values()} == {"Completed"}
    assert job.name not in {one.name for one in ml.jobs.list() if one.name in children}
    mlflow.set_tracking_uri(ml.workspaces.get(ml.workspace_name).mlflow_tracking_uri)
    runs = {name: mlflow.get_run(name) for name in children}
    scores = {name: run.data.metrics["acc"] for name, run in runs.items()}
    best = done.properties["best_child_run_id"]
    assert scores[best] == max(scores.values()) == float(done.properties["score"])
    assert mlflow.get_run(job.name).data.metrics["acc"] == scores[best]
    for name, run in runs.items():
        assert run.data.tags["mlflow.parentRunId"] == job.name
        assert run.data.params == {key: str(value) for key, value in values_of(children[name]).items()}
    found = mlflow.search_runs([runs[best].info.experiment_id], f"tags.mlflow.parentRunId = '{job.name}'")
    assert set(found["run_id"]) == set(children)

with step("the document that was read describes the sweep, and is the same job again"):
    read = ml.jobs.get(job.name)
    assert (read.sampling_algorithm.type, read.objective.primary_metric, read.limits.max_total_trials) == (
        "bayesian",
        "acc",
        12,
    )
    read.display_name = "tuned"
    assert ml.jobs.create_or_update(read).display_name == "tuned"

with step("a grid tries every combination once"):
    job = swept(train(lr=Choice([0.1, 0.7]), depth=Choice([2, 3, 4])), "grid", 50)
    assert completed(ml, job.name).properties["best_child_run_id"]
    tried = sorted(tuple(sorted(values_of(trial).items())) for trial in trials_of(job).values())
    assert tried == sorted((("depth", depth), ("lr", lr)) for lr in (0.1, 0.7) for depth in (2, 3, 4))

with step("the same seed draws the same values"):
    drawn = []
    for _ in range(2):
        sampling = RandomSamplingAlgorithm(seed=123, rule="sobol")
        job = swept(train(lr=LogUniform(-5, -1), depth=Choice([1, 2, 3])), sampling, 4)
        completed(ml, job.name)
        drawn.append(sorted(str(values_of(trial)) for trial in trials_of(job).values()))
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 4, drawn

with step("a bandit stops trials that are worse while they run"):
    curve = command(
        code=str(source), command="python curve.py ${{inputs.level}}", inputs={"level": 0.5}, environment=environment
    )
    bandit = BanditPolicy(slack_factor=0.2, evaluation_interval=1, delay_evaluation=2)
    job = swept(curve(level=Choice([0.9, 0.2, 0.1, 0.95])), "grid", 4, policy=bandit)
    done = completed(ml, job.name)
    states = {values_of(trial)["level"]: trial.status for trial in trials_of(job).values()}
    assert states == {0.9: "Completed", 0.95: "Completed", 0.1: "Canceled", 0.2: "Canceled"}, states
    assert values_of(trials_of(job)[done.properties["best_child_run_id"]])["level"] == 0.95

with step("median stopping and truncation stop the worst, too"):
    for policy, left in (
        (MedianStoppingPolicy(delay_evaluation=2, evaluation_interval=1), {"Completed", "Canceled"}),
        (TruncationSelectionPolicy(truncation_percentage=50, evaluation_interval=1), {"Completed", "Canceled"}),
    ):
        job = swept(curve(level=Choice([0.9, 0.2, 0.95])), "grid", 3, policy=policy)
        completed(ml, job.name)
        states = {values_of(trial)["level"]: trial.status for trial in trials_of(job).values()}
        assert states[0.2] == "Canceled" and states[0.95] == "Completed" and set(states.values()) == left, states

with step("the best trial's outputs are the sweep's: downloaded, and registered under their name"):
    writing = command(
        code=str(source),
        command="python train.py ${{inputs.lr}} ${{inputs.depth}} ${{outputs.model}}",
        inputs={"lr": 0.1, "depth": 3},
        outputs={"model": Output(type="custom_model", name=f"tuned-{unique}")},
        environment=environment,
    )
    job = swept(writing(lr=Choice([0.1, 0.7])), "grid", 2)
    done = completed(ml, job.name)
    best = done.properties["best_child_run_id"]
    assert values_of(trials_of(job)[best])["lr"] == 0.7
    ml.jobs.download(job.name, download_path=str(scratch / "model"), output_name="model")
    assert float(next((scratch / "model").rglob("score.txt")).read_text()) == float(done.properties["score"])
    ml.jobs.download(job.name, download_path=str(scratch / "all"), all=True)
    assert (scratch / "all" / "artifacts" / "outputs" / "said.txt").read_text() == "0.7"
    assert (scratch / "all" / "named-outputs" / "model" / "model" / "score.txt").exists() or list(
        (scratch / "all" / "named-outputs").rglob("score.txt")
    )
    assert list((scratch / "all" / "hd-artifacts").rglob("hyperdrive.txt"))
    model = ml.models.get(f"tuned-{unique}", version="1")
    assert f"/{best}/" in model.path or best in model.path, model.path
    again = ml.models.create_or_update(
        Model(path=f"azureml://jobs/{best}/outputs/model", name=f"again-{unique}", type="custom_model")
    )
    assert again.version

with step("a sweep from YAML, with nested choices, an input and a metric that is to be small"):
    data = scratch / "data.csv"
    data.write_text("a,b\n1,2\n")
    (scratch / "sweep.yml").write_text(
        f"""
$schema: https://azuremlschemas.azureedge.net/latest/sweepJob.schema.json
type: sweep
trial:
  code: src
  command: >-
    python -c "import json, sys; sys.path.insert(0, '.'); from log import log; m = json.loads(sys.argv[1]);
    assert open(sys.argv[2]).read(); log(m['size'] + float(sys.argv[3]) * 0, 'loss')"
    ${{{{search_space.model}}}} ${{{{inputs.data}}}} ${{{{search_space.noise}}}}
  environment: {environment}
inputs:
  data:
    type: uri_file
    path: data.csv
sampling_algorithm: random
search_space:
  model:
    type: choice
    values:
      - {{kind: tree, size: {{type: choice, values: [3, 4]}}}}
      - {{kind: net, size: {{type: randint, upper: 2}}, rate: {{type: uniform, min_value: 0.1, max_value: 0.2}}}}
  noise:
    type: normal
    mu: 0
    sigma: 1
objective:
  goal: minimize
  primary_metric: loss
compute: azureml:{cluster}
limits:
  max_total_trials: 6
  max_concurrent_trials: 3
"""
    )
    done = completed(ml, ml.jobs.create_or_update(load_job(str(scratch / "sweep.yml"))).name)
    sizes = [values_of(trial)["model"]["size"] for trial in trials_of(done).values()]
    assert len(sizes) == 6 and float(done.properties["score"]) == min(sizes)

failing = command(
    code=str(source),
    command="python -c \"from log import log; assert ${{inputs.n}} < 1, 'no'; log(1)\"",
    inputs={"n": 0},
    environment=environment,
)

with step("a trial that fails does not fail the sweep; the first three that fail do, and it says why"):
    job = swept(failing(n=Choice([0, 1])), "grid", 2)
    assert completed(ml, job.name).properties["best_child_run_id"] == f"{job.name}_0"
    job = swept(failing(n=Choice([1, 2, 3, 4, 5, 6, 7])), "grid", 7, at_once=2)
    assert ended(ml, job.name).status == "Failed"
    assert len(trials_of(job)) < 7
    with refused("trials have failed", "The first of them", "status code 1"):
        ml.jobs.stream(job.name)

with step("a metric that no trial logs is named"):
    job = swept(train(lr=Choice([0.1, 0.2])), "grid", 2, metric="accuracy")
    assert ended(ml, job.name).status == "Failed"
    with refused("accuracy"):
        ml.jobs.stream(job.name)

with step("cancel ends the trials that run"):
    waiting = command(command="sleep ${{inputs.s}}", inputs={"s": 1}, environment=environment)
    job = swept(waiting(s=Choice([301, 302, 303, 304, 305])), "grid", 5, at_once=3)
    until(lambda: [one.status for one in trials_of(job).values()].count("Running") == 3, "three trials running")
    ml.jobs.begin_cancel(job.name).result()
    assert ended(ml, job.name).status == "Canceled"
    assert {one.status for one in trials_of(job).values()} == {"Canceled"} and len(trials_of(job)) == 3

with step("what cannot be searched is refused, and the field is named"):
    node = train(lr=Normal(0, 1))
    with refused("Bayesian", "normal", status=400):
        swept(node, "bayesian")
    with refused("grid", "normal", status=400):
        swept(node, "grid")
    with refused("earlyTermination", "Bayesian", status=400):
        swept(train(lr=Uniform(0, 1)), "bayesian", policy=MedianStoppingPolicy())
    with refused("slackFactor", status=400):
        swept(node, policy=BanditPolicy())
    with refused("maxTotalTrials", status=400):
        swept(node, trials=1001)
    with refused("min_value", status=400):
        swept(train(lr=Uniform(1, 0)))
    with refused("trial.environmentId", status=400):
        swept(command(command="echo ${{inputs.x}}", inputs={"x": 1}, environment="azureml:none:7")(x=Choice([1])))

with step("many trials: lists give all of them"):
    job = swept(train(lr=Uniform(0, 1)), "random", 30)
    completed(ml, job.name)
    assert len(trials_of(job)) == 30

print("PASSED")
