"""`smalt logs`: what a job says, on one of its nodes; with --follow until it has ended."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from smalt.cli.api import TERMINAL, Api, Document, opened
from smalt.cli.root import CliError

FAILED = 1
BUILD = "azureml-logs/20_image_build_log.txt"
_OF_PARENTS = ("logs/azureml/executionlogs.txt", "azureml-logs/hyperdrive.txt")  # of jobs that run others
_OF_RANK = re.compile(r"user_logs/std_log_process_([0-9]+)(_ps)?\.txt")  # with zeros before, where there are many
_LOOK_S = 0.5  # a log that grows tells nobody


class Tail:
    """One log, by its name. `copy` writes what has come since the last time, as the bytes that they are."""

    def __init__(self, api: Api, to_errors: bool = False) -> None:
        self._api = api
        self._to = sys.stderr.buffer if to_errors else sys.stdout.buffer
        self._at = 0
        self._url = ""

    def find(self, files: dict[str, str], names: Iterable[str]) -> None:
        self._url = next((files[name] for name in names if name in files), self._url)

    @property
    def found(self) -> bool:
        return bool(self._url)

    def copy(self) -> None:
        while self._url and (more := self._api.read(self._url, self._at)):
            self._at += len(more)
            self._to.write(more)
            self._to.flush()


def run(root: Path | None, job: str, workspace: str, node: int, follow: bool) -> int:
    with opened(root, workspace) as api:
        properties = api.job(job)
        _check_node(properties, job, node)
        said = Tail(api)
        if follow:
            return _follow(api, job, node, said)
        said.find(files := api.files(job), names(properties, node, files))
        if not said.found:
            raise CliError(f"job '{job}' has said nothing on node {node} yet; it is {properties['status']}")
        said.copy()
        return 0


def _follow(api: Api, job: str, node: int, said: Tail) -> int:
    """The exit code is 0 only where the job has completed."""
    news, built, status, told = _news(api, job), Tail(api, to_errors=True), "", ""
    properties = Document()
    while True:
        news.wait(_LOOK_S)
        if news.is_set() or not status:
            news.clear()
            properties = api.job(job)
            if (now := _standing(properties)) != told:
                told = now
                print(f"{job}: {now}", file=sys.stderr)
            status = properties["status"]
            if not said.found:
                files = api.files(job)
                said.find(files, names(properties, node, files))
                built.find(files, [BUILD])
        elif not said.found:
            said.find(files := api.files(job), names(properties, node, files))
        if status == "Preparing":
            built.copy()
        said.copy()
        if status in TERMINAL:
            said.find(files := api.files(job), names(properties, node, files))
            said.copy()
            break
    if status != "Failed":
        return 0 if status == "Completed" else FAILED
    error = (api.get(f"/history/v1.0{api.workspace}/runs/{job}/details").get("error") or {}).get("error") or {}
    raise CliError(f"job '{job}' failed: {error.get('message') or 'no reason is known'}")


def _standing(properties: Document) -> str:
    """How a job stands, for people: where in the queue, or what failed and until when its node is kept."""
    shown = properties.get("properties") or {}
    if place := shown.get("smalt.queue_position"):
        return f"{properties['status']}, place {place} in the queue"
    if until := shown.get("smalt.held_until"):
        return f"has failed, and its node is held until {until[:19]}Z (smalt connect): {shown['smalt.held_why']}"
    return str(properties["status"])


def _news(api: Api, job: str) -> threading.Event:
    """Set whenever the job may be another than it was."""
    told = threading.Event()

    def listen() -> None:
        try:
            for _ in api.changes(f"jobs/{job}"):
                told.set()
        except CliError:
            told.set()  # who asks next is told

    threading.Thread(target=listen, name="changes", daemon=True).start()
    return told


def _check_node(properties: Document, job: str, node: int) -> None:
    count = _nodes(properties)
    if not 0 <= node < count:
        raise CliError(f"job '{job}' has {count} node{'s' * (count > 1)}: --node is from 0 to {count - 1}")


def _nodes(properties: Document) -> int:
    return int((properties.get("resources") or {}).get("instanceCount") or 1)


def names(properties: Document, node: int, files: Iterable[str]) -> list[str]:
    """Of its `files` those that say what the job says on a node, the best first: there its first process's is."""
    spread = properties.get("distribution") or {}
    if str(spread.get("distributionType")).lower() == "ray":
        return [f"system_logs/ray-node-{node}.log" if node else "user_logs/std_log.txt"]
    each = int(spread.get("processCountPerInstance") or 1) if _nodes(properties) > 1 else 1
    said = {(int(found[1]), found[2]): one for one in files if (found := _OF_RANK.fullmatch(one))}
    rank, workers = node * each, int(spread.get("workerCount") or _nodes(properties) * each)
    key = (rank, None) if rank < workers else (rank - workers, "_ps")  # TensorFlow's parameter servers come last
    first = [said[key]] if key in said else []
    return first if _nodes(properties) > 1 else ["user_logs/std_log.txt", *first, *_OF_PARENTS]
