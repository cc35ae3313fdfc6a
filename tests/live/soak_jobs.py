"""The jobs of a soak: of every sort, each writing down what ran of it, so that it is the jobs who count.

A script appends `began NAME MARK` and `ended NAME MARK` to a file in the store. NAME is the script's part in its job (a rank, a
trial's number, a step), MARK what the platform calls this start of it: a script that ran twice has two marks, or one mark twice.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live.platform import HOME, Platform
from live.servers import Servers

TRIALS, FILES, HOLD_S = 3, 6, 600
LEFT_ALONE, CANCELED, LOST = "", "canceled", "agent killed"
PATHS = "azureml://datastores/workspaceblobstore/paths"
_ENVIRONMENT = f"{HOME}/environments/plain/versions/1"
_TALLY = {"type": "uri_folder", "mode": "rw_mount"}
_LOGS_ITS_SCORE = (
    """curl -sSf --retry 60 --retry-all-errors --retry-delay 1 --cacert "$SSL_CERT_FILE" """
    """-H "Authorization: Bearer $MLFLOW_TRACKING_TOKEN" -H 'Content-Type: application/json' """
    """"$MLFLOW_TRACKING_URI/api/2.0/mlflow/runs/log-metric" """
    """-d '{"run_id": "'"$MLFLOW_RUN_ID"'", "key": "score", "value": %s, "timestamp": 1, "step": 0}'"""
)
_TRIAL, _MAKES = "${AZUREML_RUN_ID##*_}", "echo made > ${{outputs.made}}/made"
_COUNTS_FILES = b"""
import argparse, os, time
from pathlib import Path
def run(mini_batch):
    parser = argparse.ArgumentParser()
    parser.add_argument("--pause", type=float)
    time.sleep(parser.parse_args().pause)
    names = [Path(one).stem for one in mini_batch]
    for name in names:
        with open(Path(os.environ["AZURE_ML_INPUT_tally"], "ran"), "a") as file:
            file.write(f"ended {name} {os.environ['SMALT_TASK']}\\n")
    return names
"""
_SCORES = b"""
import time
from pathlib import Path
def init():
    pass
def run(mini_batch):
    for one in mini_batch:
        time.sleep(float(Path(one).read_text()))
    return [Path(one).stem for one in mini_batch]
"""
ENDPOINT = "batchEndpoints/soak-score"


def script(part: str, between: str) -> str:
    """In bash: says that it begins, does what is between, and says that it has ended."""
    say = f'say() {{ echo "$1 {part} $SMALT_TASK" >> "$AZURE_ML_INPUT_tally/ran"; }}'
    return f"{say}; say began && {between} && say ended"


def prepare(platform: Platform, servers: Servers) -> None:
    """What the jobs are made from: components, a script, files to be counted. It may be there already."""
    platform.ensure_environment()
    files = servers.container / "soak" / "files"
    files.mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        files.joinpath(f"file-{number}.txt").write_text("x")
    code = platform.upload_code("soak-count", "count.py", _COUNTS_FILES)
    shared: dict[str, Any] = {"is_deterministic": False, "environment": f"azureml:{_ENVIRONMENT}"}
    pause: dict[str, Any] = {"type": "number", "default": "0"}
    components = {
        "note": {
            "type": "command",
            "command": script("${{inputs.part}}", f"sleep ${{{{inputs.pause}}}} && {_MAKES}"),
            "inputs": {
                "tally": _TALLY,
                "part": {"type": "string"},
                "pause": pause,
                "after": {"type": "uri_folder", "optional": True},
            },
            "outputs": {"made": {"type": "uri_folder"}},
        },
        "trial": {
            "type": "command",
            "command": script(
                _TRIAL, f"sleep ${{{{inputs.pause}}}} && {_MAKES} && {_LOGS_ITS_SCORE % '${{inputs.x}}'}"
            ),
            "inputs": {"tally": _TALLY, "x": {"type": "number"}, "pause": pause, "after": {"type": "uri_folder"}},
            "outputs": {"made": {"type": "uri_folder"}},
        },
        "count": {
            "type": "parallel",
            "input_data": "${{inputs.files}}",
            "mini_batch_size": "1",
            "max_concurrency_per_instance": 1,
            "resources": {"instance_count": 2},
            "retry_settings": {"max_retries": 2, "timeout": 2 * HOLD_S},
            "task": {
                "type": "run_function",
                "code": f"azureml:{code}",
                "entry_script": "count.py",
                "environment": f"azureml:{_ENVIRONMENT}",
                "program_arguments": "--pause ${{inputs.pause}}",
                "append_row_to": "${{outputs.rows}}",
            },
            "inputs": {
                "tally": _TALLY,
                "files": {"type": "uri_folder"},
                "pause": pause,
                "after": {"type": "uri_folder"},
            },
            "outputs": {"rows": {"type": "uri_file"}},
        },
    }
    for name, spec in components.items():
        path = f"components/soak-{name}/versions/1"
        if platform.call("GET", path).status_code != 200:
            platform.put(path, {"componentSpec": {**shared, **spec}})
    if platform.call("GET", f"{ENDPOINT}/deployments/v1").status_code != 200:
        platform.put(ENDPOINT, {"authMode": "AADToken"}, location="local")
        code = platform.upload_code("soak-score", "score.py", _SCORES)
        settings = {
            "codeConfiguration": {"codeId": code, "scoringScript": "score.py"},
            "environmentId": _ENVIRONMENT,
            "miniBatchSize": 1,
            "outputFileName": "rows.txt",
            "resources": {"instanceCount": 2},
            "maxConcurrencyPerInstance": 1,
            "retrySettings": {"maxRetries": 2, "timeout": f"PT{2 * HOLD_S}S"},
        }
        platform.put(f"{ENDPOINT}/deployments/v1", settings, location="local")
        platform.put(ENDPOINT, {"authMode": "AADToken", "defaults": {"deploymentName": "v1"}}, location="local")


@dataclass(frozen=True)
class Sort:
    """A sort of job. `end`: how one ends that nothing happens to; `parts` of it have begun and ended then.

    `document(job)`: what is submitted. `again`: its script may be started more than once. `share` of all jobs.
    """

    name: str
    document: Callable[[Job], dict[str, Any]]
    end: str = "Completed"
    parts: Sequence[str] = ("0",)
    share: int = 2
    again: bool = False
    unfinished: bool = False  # its parts begin and never end
    counts: bool = False  # it leaves a row for each file, once


@dataclass(frozen=True)
class Job:
    """One that is to be: `fate` is what happens to it, `after_s` when; each of its scripts lasts `pause_s`."""

    name: str
    sort: Sort
    fate: str
    after_s: float
    pause_s: float
    seed: int

    @property
    def number(self) -> int:
        return int(self.name.rpartition("-")[2])

    @property
    def uri(self) -> str:
        return f"{PATHS}/soak/{self.name}"

    def inputs(self, **more: Any) -> dict[str, Any]:
        return {"tally": {"jobInputType": "uri_folder", "mode": "ReadWriteMount", "uri": f"{self.uri}/"}, **more}

    def command(self, between: str = "", after: str = "", part: str = "0", **more: Any) -> dict[str, Any]:
        said = script(part, between or f"sleep {self.pause_s:.2f}") + after
        return {"jobType": "Command", "command": said, "environmentId": _ENVIRONMENT, "inputs": self.inputs(), **more}

    def sweep(self) -> dict[str, Any]:
        said = script(_TRIAL, f"sleep {self.pause_s:.2f} && {_LOGS_ITS_SCORE % '${{search_space.x}}'}")
        return {
            "jobType": "Sweep",
            "searchSpace": {"x": ["uniform", [0, 1]]},
            "inputs": self.inputs(),
            "trial": {"command": said, "environmentId": _ENVIRONMENT},
            "samplingAlgorithm": {"samplingAlgorithmType": "Random", "seed": self.seed},
            "objective": {"goal": "maximize", "primaryMetric": "score"},
            "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": TRIALS, "maxConcurrentTrials": 2},
        }

    def pipeline(self) -> dict[str, Any]:
        """first → a sweep and a parallel step side by side → last."""
        tally, pause = _literal("${{parent.inputs.tally}}"), _literal(f"{self.pause_s:.2f}")
        after = {"tally": tally, "pause": pause, "after": _literal("${{parent.jobs.first.outputs.made}}")}
        note = "azureml:soak-note:1"
        steps = {
            "first": {
                "type": "command",
                "componentId": note,
                "inputs": {"tally": tally, "pause": pause, "part": _literal("first")},
            },
            "tune": {
                "type": "sweep",
                "trial": {"componentId": "azureml:soak-trial:1"},
                "inputs": after,
                "search_space": {"x": {"type": "uniform", "min_value": 0, "max_value": 1}},
                "sampling_algorithm": "random",
                "objective": {"goal": "maximize", "primary_metric": "score"},
                "limits": {"max_total_trials": TRIALS, "max_concurrent_trials": 1},
            },
            "count": {
                "type": "parallel",
                "componentId": "azureml:soak-count:1",
                "inputs": {**after, "files": _literal("${{parent.inputs.files}}")},
                "outputs": {"rows": {"value": "${{parent.outputs.rows}}", "type": "literal"}},
            },
            "last": {
                "type": "command",
                "componentId": note,
                "inputs": {**after, "after": _literal("${{parent.jobs.tune.outputs.made}}"), "part": _literal("last")},
            },
        }
        files = {"jobInputType": "uri_folder", "uri": f"{PATHS}/soak/files/"}
        rows = {"jobOutputType": "uri_file", "uri": f"{self.uri}/rows.txt"}
        return {
            "jobType": "Pipeline",
            "jobs": steps,
            "inputs": self.inputs(files=files),
            "outputs": {"rows": rows},
            "settings": {"force_rerun": True},
        }

    def invocation(self) -> dict[str, Any]:
        """Of the batch endpoint. Each file says how long it takes."""
        return {
            "inputData": {"files": {"jobInputType": "UriFolder", "uri": f"{self.uri}/files/"}},
            "outputData": {"score": {"jobOutputType": "UriFolder", "uri": f"{self.uri}/"}},
        }


def _literal(value: str) -> dict[str, str]:
    return {"value": value, "job_input_type": "literal"}


_TRIALS = tuple(str(number) for number in range(TRIALS))
COUNTED = tuple(f"file-{number}" for number in range(FILES))
_TWO_OF_TWO = {
    "resources": {"instanceCount": 2},
    "distribution": {"distributionType": "PyTorch", "processCountPerInstance": 2},
}
QUICK = Sort("command", lambda job: job.command(), share=4)
FAILS = Sort("failing command", lambda job: job.command(after=" && exit 3"), end="Failed")
TIMED = Sort(
    "command that takes too long",
    lambda job: job.command(f"sleep {HOLD_S}", limits={"timeout": "PT4S", "jobLimitsType": "Command"}),
    end="Failed",
    share=1,
    unfinished=True,
)
SPOT = Sort("Spot job", lambda job: job.command(queueSettings={"jobTier": "Spot"}), share=3, again=True)
GANG = Sort("gang", lambda job: job.command(part="$RANK", **_TWO_OF_TWO), parts=("0", "1", "2", "3"))
SWEEP = Sort("sweep", lambda job: job.sweep(), parts=_TRIALS)
PIPELINE = Sort("pipeline", lambda job: job.pipeline(), parts=("first", *_TRIALS, *COUNTED, "last"), counts=True)
SCHEDULED = Sort("schedule", lambda job: job.command(), share=1)
INVOKED = Sort("batch request", lambda job: job.invocation(), parts=(), counts=True)
SORTS = (QUICK, FAILS, TIMED, SPOT, GANG, SWEEP, PIPELINE, SCHEDULED, INVOKED)


def dealt(seed: int, number: int) -> list[Job]:
    """The jobs of a run: of each sort one, if there is room, and then by their shares."""
    chance = random.Random(seed)
    sorts = chance.sample(SORTS, len(SORTS))[:number]
    sorts += chance.choices(SORTS, [one.share for one in SORTS], k=number - len(sorts))
    chance.shuffle(sorts)
    return [_job(f"s{seed}-{at}", sort, chance, seed) for at, sort in enumerate(sorts)]


def _job(name: str, sort: Sort, chance: random.Random, seed: int) -> Job:
    fate = chance.choices((LEFT_ALONE, CANCELED, LOST), (6, 3, 2))[0]
    if sort in (SCHEDULED, TIMED):  # its job is known when it has come; it may end before its agent is found
        fate = LEFT_ALONE
    pause = chance.uniform(0.2, 1.5) * (2 if fate == LOST or sort is SPOT else 1)
    if fate == CANCELED and chance.random() < 0.6:  # it cannot end by itself
        pause = HOLD_S
    return Job(name, sort, fate, chance.uniform(0, 3.0), pause, seed)


class Tally:
    """What ran of a job."""

    def __init__(self, servers: Servers, job: Job) -> None:
        ran, rows = self._files(servers, job)
        self._lines = Counter(tuple(line.split()) for line in (ran.read_text().splitlines() if ran.exists() else ()))
        self.rows = sorted(rows.read_text().split()) if rows.exists() else []

    @staticmethod
    def _files(servers: Servers, job: Job) -> tuple[Path, Path]:
        folder = servers.container / "soak" / job.name
        return folder / "ran", folder / "rows.txt"

    @classmethod
    def begin(cls, servers: Servers, job: Job) -> None:
        """The file is there, for whatever user jobs run as."""
        ran, _ = cls._files(servers, job)
        ran.parent.mkdir(parents=True)
        ran.touch()
        if job.sort is INVOKED:
            ran.parent.joinpath("files").mkdir()
            for name in COUNTED:
                ran.parent.joinpath("files", f"{name}.txt").write_text(f"{job.pause_s:.2f}")
        ran.parent.chmod(0o777)
        ran.chmod(0o666)

    def __str__(self) -> str:
        return "; ".join(" ".join(line) + (f" ×{count}" if count > 1 else "") for line, count in self._lines.items())

    @property
    def repeated(self) -> list[tuple[str, ...]]:
        """What one start of a script said twice."""
        return [line for line, count in self._lines.items() if count > 1]

    def marks(self, event: str, part: str) -> int:
        return sum(1 for line in self._lines if line[:2] == (event, part))

    def starts(self) -> int:
        """How many starts there were of the part that was started most often."""
        began = Counter(line[1] for line in self._lines if line[0] == "began")
        return max(began.values(), default=0)

    def is_whole(self, sort: Sort, missing: int = 0, recounted: bool = False) -> bool:
        """Each part has begun and ended, once; but so many that did not, and files that were counted again."""
        for part in sort.parts:
            counted = part in COUNTED
            begun, ended = counted or self.marks("began", part) > 0, self.marks("ended", part)
            if not begun or (ended == 0) != sort.unfinished:
                missing -= 1
            elif ended > 1 and not sort.again and not (counted and recounted):
                return False
        return missing >= 0 and (not sort.counts or self.rows == sorted(COUNTED))
