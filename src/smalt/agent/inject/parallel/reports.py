"""What people read of a parallel job, in the job's folder of logs, as Azure lays it out (`readme.txt` says it there).

https://learn.microsoft.com/azure/machine-learning/how-to-debug-parallel-run-step
"""

from __future__ import annotations

import csv
import os
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import BinaryIO

from .coordinator import Coordinator
from .ledger import Ledger, Record
from .words import in_a_line

_EVERY_S = 1.0
_SUMMARIES_MOST, _SUMMARY_MOST = 100, 2000
_README = """\
job_result.txt                                how the job ended, and where to look
job_progress_overview.txt                     how far it is
user/error.txt                                what went wrong in the entry script, in short
user/error/<node>/<process>.txt               with the tracebacks
user/stdout/<node>/<process>.stdout.txt       what the entry script prints
user/stderr/<node>/<process>.stderr.txt
user/entry_script_log/<node>/<process>.log.txt  what it writes to EntryScript().logger
sys/job_report/processed_mini-batches.csv     each mini-batch: items, failures, tries, seconds
"""


class NodeLogs:
    """Of one node's workers."""

    def __init__(self, logs: Path, rank: int) -> None:
        self._user, self._node = logs / "user", f"node-{rank}"

    def streams(self, worker: str) -> tuple[BinaryIO, BinaryIO]:
        """Files for what a worker prints, open. What an earlier attempt's process of this name said goes on."""
        return self._open("stdout", worker), self._open("stderr", worker)

    def error(self, worker: str, trace: str) -> None:
        with self._open("error", worker, "") as file:
            file.write(f"{_now()}\n{trace.rstrip()}\n\n".encode(errors="replace"))

    def _open(self, kind: str, worker: str, end: str = ".") -> BinaryIO:
        folder = self._user / kind / self._node
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / f"{worker}{end and end + kind}.txt").open("ab")


class JobLogs:
    """Of the job, from the first node."""

    def __init__(self, logs: Path) -> None:
        self._logs, self._said_at, self._summaries = logs, 0.0, 0
        self._begun = time.time()
        self._printed = ""
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "readme.txt").write_text(_README)

    def error(self, worker: str, error: str, trace: str) -> None:
        self._summaries += 1
        if self._summaries <= _SUMMARIES_MOST:
            (self._logs / "user").mkdir(exist_ok=True)
            with (self._logs / "user" / "error.txt").open("a", errors="replace") as file:
                file.write(f"{_now()} {worker}: {in_a_line(error, _SUMMARY_MOST)}\n")

    def progress(self, coordinator: Coordinator, at_once: bool = False) -> None:
        """At most once a second."""
        now = time.monotonic()
        if not at_once and now - self._said_at < _EVERY_S:
            return
        self._said_at = now
        text = (
            f"{coordinator.finished} of {coordinator.total} mini-batches have come to their end,"
            f" {coordinator.failed_batches} of them failed; {coordinator.running} are running."
        )
        _replace(self._logs / "job_progress_overview.txt", f"{_now()}\n{text}\n{self._more(coordinator)}")
        tenth = f"{10 * coordinator.finished // max(coordinator.total, 1)}"
        if at_once or tenth != self._printed:
            self._printed = tenth
            print(f"[{_now()}] {text}", flush=True)

    def result(self, coordinator: Coordinator, ledger: Ledger) -> None:
        failed = [one for one in ledger.records.values() if one.error]
        if failed and not coordinator.problem:
            told = f"{len(failed)} mini-batches failed, which the thresholds allow. See logs/user/error.txt. The last:"
            print(f"{told} {coordinator.last_error}", flush=True)
        how = f"Failed: {coordinator.problem}" if coordinator.problem else "Completed"
        lines = [how, f"{coordinator.finished} of {coordinator.total} mini-batches, {len(failed)} failed,"]
        lines += [f"{coordinator.failed_items} items failed, {time.time() - self._begun:.1f} s"]
        lines += [
            f"mini-batch {one.batch} failed after {one.tries} tries: {in_a_line(one.error)}" for one in failed[:20]
        ]
        if failed:
            lines.append("See user/error.txt and user/error/.")
        _replace(self._logs / "job_result.txt", "\n".join(lines) + "\n")
        report = self._logs / "sys" / "job_report"
        report.mkdir(parents=True, exist_ok=True)
        with (report / "processed_mini-batches.csv").open("w", newline="", errors="replace") as file:
            table = csv.DictWriter(file, [one.name for one in fields(Record)])
            table.writeheader()
            table.writerows(_row(one) for _, one in sorted(ledger.records.items()))

    def _more(self, coordinator: Coordinator) -> str:
        resumed = f"{coordinator.resumed} of them before the job lost its nodes.\n" if coordinator.resumed else ""
        seconds = time.time() - self._begun
        return f"{resumed}{coordinator.failed_items} items failed. {seconds:.0f} s since the start.\n"


def _row(record: Record) -> dict[str, object]:
    return {**asdict(record), "seconds": f"{record.seconds:.3f}"}


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, errors="replace")
    fresh.replace(path)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
