"""`az ml` on the real az with the extension that the platform serves, and `smalt ml`: one script for both.

The script goes through a project: workspace, cluster, environment, data, component, jobs, model, schedule, endpoint. Each
command's exit code and what it prints are checked. At the end what `smalt ml` printed is compared with an SDK that runs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from live.azure_cli import QUIET, AzureCli, azure_cli_python, no_way_out
from live.clients import clean_environment
from live.forked import Forked
from live.patience import PATIENCE_S
from live.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
Here = tuple[str, ...]  # the options that name the workspace
Run = Callable[..., subprocess.CompletedProcess[str]]
SMALTS_IMPORTS = "import azure.ai.ml, smalt.cli.commands.ml"
AZS_IMPORTS = """
from azure.cli.core import get_default_cli
assert get_default_cli().invoke(["ml", "compute", "list"]) == 0  # it finds its extensions
import azure.ai.ml
"""
ENOUGH = 40  # commands: what the script must not fall below
FILES = {
    "d.csv": "a,b\n1,2\n",
    "src/main.py": "import sys, pathlib\nprint('n is', sys.argv[1])\npathlib.Path(sys.argv[2], 'x.txt').write_text('x')\n",
    "src/score.py": "import json\ndef init(): pass\ndef run(body): return {'n': len(json.loads(body))}\n",
    "src/nightly.py": "def run(mini_batch):\n    return [one.rsplit('/', 1)[-1] for one in mini_batch]\n",
    "nightly.yml": "name: nightly\ntype: model\ncode_configuration: {code: ./src, scoring_script: nightly.py}\n"
    "environment: azureml:plain:1\ncompute: azureml:cpu\nsettings: {mini_batch_size: 2}\n",
    "env.yml": "name: plain\nversion: '1'\nimage: python:3.11\ntags: {team: churn}\n",
    "data.yml": "name: churn\nversion: '1'\ntype: uri_file\npath: ./d.csv\ndescription: first\n",
    "job.yml": "display_name: hello\ncode: ./src\ncommand: python main.py ${{inputs.n}} ${{outputs.o}}\n"
    "environment: azureml:plain:1\ncompute: azureml:cpu\ninputs: {n: 3}\noutputs: {o: {type: uri_folder}}\n",
    "fails.yml": "command: echo broken && exit 3\nenvironment: azureml:plain:1\ncompute: azureml:cpu\n",
    "long.yml": "command: sleep 600\nenvironment: azureml:plain:1\ncompute: azureml:cpu\n",
    "prep.yml": "name: prep\nversion: '1'\ntype: command\ninputs: {n: {type: integer, default: 1}}\n"
    "outputs: {o: {type: uri_folder}}\ncode: ./src\ncommand: python main.py ${{inputs.n}} ${{outputs.o}}\n"
    "environment: azureml:plain:1\n",
    "pipe.yml": "type: pipeline\nsettings: {default_compute: azureml:cpu}\ninputs: {n: 4}\njobs:\n  one:\n"
    "    component: azureml:prep:1\n    inputs: {n: '${{parent.inputs.n}}'}\n",
    "daily.yml": "name: daily\ntrigger: {type: cron, expression: '0 3 * * *', time_zone: UTC}\ncreate_job: ./pipe.yml\n",
    "blue.yml": "name: blue\nmodel: azureml:m:1\ncode_configuration: {code: ./src, scoring_script: score.py}\n"
    "environment: azureml:plain:1\ninstance_type: Standard_DS3_v2\ninstance_count: 1\n",
    "request.json": "[1, 2, 3]",
}


class Script:
    """One command after the other, by `az ml` or by `smalt ml`. Counts them.

    `started`: each eighth as its user starts it; `copied`: the others by a process that has imported what they all would.
    """

    def __init__(self, started: Run, copied: Run) -> None:
        self._started, self._copied = started, copied
        self.count = 0

    def __call__(self, line: str, *more: str) -> Any:
        """What it printed, as JSON. `line` is split at spaces, `more` are arguments as they are."""
        done = self._done(line, *more)
        assert done.returncode == 0, f"{line} failed:\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def text(self, line: str, *more: str) -> str:
        done = self._done(line, *more)
        assert done.returncode == 0, f"{line} failed:\n{done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, code: int, told: str, line: str, *more: str) -> None:
        done = self._done(line, *more)
        assert done.returncode == code, f"{line} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert told in done.stderr and "Traceback" not in done.stderr, done.stderr

    def _done(self, line: str, *more: str) -> subprocess.CompletedProcess[str]:
        self.count += 1
        run = self._started if self.count % 8 == 1 else self._copied
        return run(*line.split(), *more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def by_smalt(platform: Platform) -> Iterator[Script]:
    def started(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "smalt.cli", "ml", *arguments, *root]
        return subprocess.run(
            command, env=clean_environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    root = ("--root", str(platform.root))
    with Forked(
        Path(sys.executable), "smalt.cli", SMALTS_IMPORTS, clean_environment(), patience_s=PATIENCE_S
    ) as copies:
        yield Script(started, lambda *arguments: copies.run("ml", *arguments, *root))


def project(ml: Script, folder: Path, workspace: str) -> None:
    made = ml(f"workspace create -n {workspace} -l local --description churn")
    assert (made["name"], made["resourceGroup"], made["description"]) == (workspace, "smalt", "churn")
    here = ("-w", workspace)
    assert workspace in ml("workspace list --query [].name")
    assert ml(f"workspace show -n {workspace}")["mlflow_tracking_uri"].endswith(workspace)

    compute(ml, here)
    assets(ml, here, folder)
    jobs(ml, here, folder, workspace)
    models(ml, here, folder, workspace)
    schedules(ml, here, folder)
    serving(ml, here, folder, f"ep-{workspace}")
    batch(ml, here, folder, f"be-{workspace}")
    errors(ml, here)
    assert ml.count >= ENOUGH
    assert ml(f"workspace delete -n {workspace} -y") is None


def compute(ml: Script, here: Here) -> None:
    cluster = ml("compute create -n cpu --type amlcompute --size STANDARD_DS3_V2 --max-instances 2", *here)
    assert (cluster["max_instances"], cluster["type"], cluster["provisioning_state"]) == (2, "amlcompute", "Succeeded")
    assert ml("compute update -n cpu --max-instances 3", *here)["max_instances"] == 3
    assert ml("compute show -n cpu --query size", *here) == "STANDARD_DS3_V2"
    assert ml("compute list --query [].name", *here) == ["cpu"]


def assets(ml: Script, here: Here, folder: Path) -> None:
    assert ml(f"environment create -f {folder}/env.yml", *here)["image"] == "python:3.11"
    assert ml("environment show -n plain -v 1 --query tags", *here) == {"team": "churn"}
    assert ml("environment list -n plain --query [].version", *here) == ["1"]

    assert ml(f"data create -f {folder}/data.yml --set tags.a=b", *here)["tags"] == {"a": "b"}
    second = ml(f"data create -n churn -v 2 --type uri_file --path {folder}/d.csv", *here)
    assert (second["version"], second["type"]) == ("2", "uri_file") and second["path"].endswith("/d.csv")
    assert ml("data show -n churn -l latest --query version", *here) == "2"
    assert ml("data update -n churn -v 1 --set description=old", *here)["description"] == "old"
    assert ml("data archive -n churn -v 2", *here) is None
    assert ml("data list -n churn --query [].version", *here) == ["1"]
    assert ml("data restore -n churn -v 2", *here) is None

    assert ml(f"component create -f {folder}/prep.yml", *here)["inputs"]["n"]["type"] == "integer"
    assert ml("component show -n prep -v 1 --query environment", *here).startswith("azureml:")
    assert ml("component list --query [].latest_version", *here) == ["1"]


def jobs(ml: Script, here: Here, folder: Path, workspace: str) -> None:
    told = ml.text(f"job create -f {folder}/job.yml --name hello-{workspace} --set inputs.n=5 --stream", *here)
    assert "Streaming user_logs/std_log.txt" in told and "n is 5" in told
    job = ml(f"job show -n hello-{workspace}", *here)
    assert (job["status"], job["display_name"], job["inputs"], job["compute"]) == (
        "Completed",
        "hello",
        {"n": "5"},
        "azureml:cpu",
    )
    assert ml(f"job download -n {job['name']} --output-name o -p {folder}/{workspace}", *here) is None
    assert [one.read_text() for one in (folder / workspace).rglob("x.txt")] == ["x"]
    pipeline = ml(f"job create -f {folder}/pipe.yml", *here)
    assert pipeline["jobs"]["one"]["component"] == "azureml:prep:1"
    assert "Execution Summary" in ml.text(f"job stream -n {pipeline['name']}", *here)
    (child,) = ml(f"job list -p {pipeline['name']}", *here)
    assert (child["display_name"], child["status"]) == ("one", "Completed")
    assert ml(f"job update -n {pipeline['name']} --set tags.stage=done", *here)["tags"] == {"stage": "done"}
    ml.fails(1, "Exception", f"job create -f {folder}/fails.yml --stream -o none", *here)
    long = ml(f"job create -f {folder}/long.yml --query name", *here)
    assert ml(f"job cancel -n {long}", *here) is None
    assert ml(f"job show -n {long} --query status", *here) == "Canceled"
    assert ml(f"job archive -n {long}", *here) is None
    assert len(ml("job list --query [].name", *here)) == 3 and len(ml("job list -r 1", *here)) == 1


def models(ml: Script, here: Here, folder: Path, workspace: str) -> None:
    model = ml(f"model create -n m -v 1 --type custom_model --path {folder}/src", *here)
    assert (model["name"], model["type"]) == ("m", "custom_model")
    assert ml(f"model download -n m -v 1 -p {folder}/{workspace}-m", *here) is None
    assert [one.name for one in (folder / f"{workspace}-m").rglob("score.py")] == ["score.py"]
    assert ml("model list --query [].name", *here) == ["m"]
    assert "workspaceblobstore" in ml("datastore list --query [].name", *here)


def schedules(ml: Script, here: Here, folder: Path) -> None:
    daily = ml(f"schedule create -f {folder}/daily.yml", *here)
    assert (daily["trigger"]["expression"], daily["create_job"]["type"]) == ("0 3 * * *", "pipeline")
    assert ml("schedule trigger -n daily", *here)["jobName"].startswith("daily")
    assert ml("schedule disable -n daily", *here)["is_enabled"] is False
    assert ml("schedule delete -n daily -y", *here) is None


def serving(ml: Script, here: Here, folder: Path, endpoint: str) -> None:
    assert ml(f"online-endpoint create -n {endpoint} --auth-mode key", *here)["auth_mode"] == "key"
    deployment = ml(f"online-deployment create -f {folder}/blue.yml -e {endpoint} --all-traffic", *here)
    assert (deployment["provisioning_state"], deployment["instance_count"]) == ("Succeeded", 1)
    answer = ml(f"online-endpoint invoke -n {endpoint} -r {folder}/request.json", *here)
    assert json.loads(answer) == {"n": 3}
    assert ml(f"online-endpoint update -n {endpoint} --traffic blue=0", *here)["traffic"] == {"blue": 0}
    assert set(ml(f"online-endpoint get-credentials -n {endpoint}", *here)) == {"primaryKey", "secondaryKey"}
    assert ml(f"online-endpoint delete -n {endpoint} -y", *here) is None


def batch(ml: Script, here: Here, folder: Path, endpoint: str) -> None:
    assert ml(f"batch-endpoint create -n {endpoint}", *here)["auth_mode"] == "aad_token"
    deployment = ml(f"batch-deployment create -f {folder}/nightly.yml -e {endpoint} --set-default", *here)
    assert (deployment["mini_batch_size"], deployment["output_action"]) == (2, "append_row")
    update = f"batch-deployment update -n nightly -e {endpoint} --set mini_batch_size=1"
    assert ml(update, *here)["mini_batch_size"] == 1
    assert ml(f"batch-endpoint show -n {endpoint}", *here)["defaults"] == {"deployment_name": "nightly"}
    job = ml(f"batch-endpoint invoke -n {endpoint} --input {folder}/src -m 3", *here)
    assert "Execution Summary" in ml.text(f"job stream -n {job['name']}", *here)
    assert ml(f"batch-deployment list-jobs -n nightly -e {endpoint} --query [].name", *here) == [job["name"]]
    assert ml(f"batch-endpoint list-jobs -n {endpoint} --query [].status", *here) == ["Completed"]
    assert ml(f"batch-endpoint delete -n {endpoint} -y", *here) is None


def errors(ml: Script, here: Here) -> None:
    ml.fails(3, "ResourceNotFound", "job show -n nothing", *here)
    ml.fails(3, "ResourceNotFound", "job show -n nothing -w nowhere")
    ml.fails(2, "--name/-n", "job show", *here)
    ml.fails(1, "No such file", "job create -f nothing.yml", *here)
    ml.fails(3, "no registry", "registry show -n nothing -g smalt")


def test_on_the_real_az(platform: Platform, folder: Path) -> None:
    """`smalt az-setup` first, in which pip fetches azure-ai-ml; from then on nothing leaves the machine."""
    program = azure_cli_python().parent
    environment = {**clean_environment(), **QUIET, "PATH": f"{program}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "smalt.cli", "az-setup", "--root", str(platform.root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=480, check=False)
    assert done.returncode == 0, done.stderr
    configuration = Path(done.stdout.strip().removeprefix("export AZURE_CONFIG_DIR="))
    with no_way_out() as (proxies, came):
        variables = {**platform.variables, **proxies, "AZURE_EXTENSION_DIR": str(configuration / "cliextensions")}
        az = AzureCli(azure_cli_python(), configuration, variables)
        assert az("account", "show")["user"]["type"] == "servicePrincipal"
        assert [one["name"] for one in az("extension", "list")] == ["ml"]
        assert az.run("extension", "add", "-n", "ml", "--upgrade").returncode == 0  # there already
        with az.copied(AZS_IMPORTS) as copies:
            script = Script(
                lambda *arguments: az.run("ml", *arguments), lambda *arguments: copies.run("ml", *arguments)
            )
            assert isinstance(script("compute list"), list)  # of the workspace that az-setup made the default
            project(script, folder, f"az{uuid.uuid4().hex[:6]}")
    assert not came


def test_without_az(by_smalt: Script, folder: Path) -> None:
    project(by_smalt, folder, f"sm{uuid.uuid4().hex[:6]}")


def test_smalt_ml_prints_what_the_sdk_prints(platform: Platform, by_smalt: Script, folder: Path) -> None:
    ml = by_smalt
    name = f"sdk{uuid.uuid4().hex[:6]}"
    ml(f"workspace create -n {name} -l local")
    here = ("-w", name)
    ml("compute create -n cpu --type amlcompute --size STANDARD_DS3_V2 --max-instances 1", *here)
    ml(f"environment create -f {folder}/env.yml", *here)
    ml(f"data create -f {folder}/data.yml", *here)
    ml(f"component create -f {folder}/prep.yml", *here)
    ml(f"schedule create -f {folder}/daily.yml", *here)
    for kind in ("job", "pipe"):
        ml(f"job create -f {folder}/{kind}.yml --name {kind}-{name}", *here)
        ml.text(f"job stream -n {kind}-{name}", *here)
    asked: dict[str, tuple[str, dict[str, str]]] = {
        "compute show -n cpu": ("compute", {"name": "cpu"}),
        "environment show -n plain -v 1": ("environments", {"name": "plain", "version": "1"}),
        "data show -n churn -v 1": ("data", {"name": "churn", "version": "1"}),
        "component show -n prep -v 1": ("components", {"name": "prep", "version": "1"}),
        "schedule show -n daily": ("schedules", {"name": "daily"}),
        "datastore show -n workspaceblobstore": ("datastores", {"name": "workspaceblobstore"}),
        f"job show -n job-{name}": ("jobs", {"name": f"job-{name}"}),
        f"job show -n pipe-{name}": ("jobs", {"name": f"pipe-{name}"}),
    }
    printed = by_the_sdk(platform, name, list(asked.values()))
    for (line, _), expected in zip(asked.items(), printed, strict=True):
        assert without_groups(ml(line, *here)) == expected, line
    ml(f"workspace delete -n {name} -y")


def by_the_sdk(platform: Platform, workspace: str, asked: list[tuple[str, dict[str, str]]]) -> list[Any]:
    code = (
        "import json, os, sys\nfrom azure.ai.ml import MLClient\nfrom azure.identity import DefaultAzureCredential\n"
        "from smalt.azext_ml.sdk import as_json\n"
        f"client = MLClient(DefaultAzureCredential(), os.environ['AZURE_SUBSCRIPTION_ID'], 'smalt', {workspace!r})\n"
        f"print(json.dumps([as_json(getattr(client, kind).get(**names)) for kind, names in {asked!r}]))\n"
    )
    environment = {**os.environ, **platform.variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Its schemas write `str()` of an enum (`CreatedByType.USER`), whose value is meant.
    words = re.compile(r'"[A-Z]\w+\.([A-Z_]+)"')
    return json.loads(words.sub(lambda found: f'"{found[1].title().replace("_", "")}"', done.stdout.splitlines()[-1]))


def without_groups(found: Any) -> Any:
    if isinstance(found, list):
        return [without_groups(one) for one in found]
    if isinstance(found, dict):
        return {key: without_groups(value) for key, value in found.items() if key != "resourceGroup"}
    return found
